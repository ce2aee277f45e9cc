-- workunits: workunits whose input files may go
SELECT id, name, xml_doc AS document FROM workunit
WHERE file_delete_state = :state AND appid = :appid AND id > :after AND id % :modulus = :remainder
ORDER BY id LIMIT :limit

-- results: results whose output files may go
SELECT id, name, xml_doc_in AS document FROM result
WHERE file_delete_state = :state AND appid = :appid AND id > :after AND id % :modulus = :remainder
ORDER BY id LIMIT :limit

-- workunits_gone: workunits whose input files are gone, or can't be deleted
UPDATE workunit SET file_delete_state = :new_state WHERE id IN (:ids) AND file_delete_state = :state

-- results_gone: results whose output files are gone, or can't be deleted
UPDATE result SET file_delete_state = :new_state WHERE id IN (:ids) AND file_delete_state = :state
