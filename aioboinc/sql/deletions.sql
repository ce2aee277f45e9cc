-- workunits [mysql]: workunits whose input files may go
SELECT id, name, xml_doc AS document FROM workunit FORCE INDEX (wu_filedel)
WHERE file_delete_state = :state AND appid = :appid AND id > :after AND id % :modulus = :remainder
ORDER BY id LIMIT :limit

-- workunits [sqlite]: workunits whose input files may go
SELECT id, name, xml_doc AS document FROM workunit INDEXED BY wu_filedel
WHERE file_delete_state = :state AND appid = :appid AND id > :after AND id % :modulus = :remainder
ORDER BY id LIMIT :limit

-- results [mysql]: results whose output files may go
SELECT id, name, xml_doc_in AS document FROM result FORCE INDEX (res_filedel)
WHERE file_delete_state = :state AND appid = :appid AND id > :after AND id % :modulus = :remainder
ORDER BY id LIMIT :limit

-- results [sqlite]: results whose output files may go
SELECT id, name, xml_doc_in AS document FROM result INDEXED BY res_filedel
WHERE file_delete_state = :state AND appid = :appid AND id > :after AND id % :modulus = :remainder
ORDER BY id LIMIT :limit

-- workunits_gone [mysql]: workunits whose input files are gone, or can't be deleted
UPDATE workunit FORCE INDEX (PRIMARY) SET file_delete_state = :new_state WHERE id IN (:ids) AND file_delete_state = :state

-- workunits_gone [sqlite]: workunits whose input files are gone, or can't be deleted
UPDATE workunit SET file_delete_state = :new_state WHERE id IN (:ids) AND file_delete_state = :state

-- results_gone [mysql]: results whose output files are gone, or can't be deleted
UPDATE result FORCE INDEX (PRIMARY) SET file_delete_state = :new_state WHERE id IN (:ids) AND file_delete_state = :state

-- results_gone [sqlite]: results whose output files are gone, or can't be deleted
UPDATE result SET file_delete_state = :new_state WHERE id IN (:ids) AND file_delete_state = :state
