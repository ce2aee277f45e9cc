-- ready [mysql]: workunits to publish, in the order of their IDs, with the documents of their canonical results
SELECT w.id, w.name, w.batch, w.canonical_resultid, w.error_mask, r.xml_doc_in, r.xml_doc_out
FROM workunit w FORCE INDEX (wu_assim) LEFT JOIN result r ON r.id = w.canonical_resultid
WHERE w.appid = :appid AND w.assimilate_state = :ready AND w.id > :after AND w.id % :modulus = :remainder
    AND w.batch NOT IN (:held)
ORDER BY w.id LIMIT :limit

-- ready [sqlite]: workunits to publish, in the order of their IDs, with the documents of their canonical results
SELECT w.id, w.name, w.batch, w.canonical_resultid, w.error_mask, r.xml_doc_in, r.xml_doc_out
FROM workunit w INDEXED BY wu_assim LEFT JOIN result r ON r.id = w.canonical_resultid
WHERE w.appid = :appid AND w.assimilate_state = :ready AND w.id > :after AND w.id % :modulus = :remainder
    AND w.batch NOT IN (:held)
ORDER BY w.id LIMIT :limit

-- directories: the directories of some batches
SELECT id, directory FROM pyboinc_batch WHERE id IN (:batches)

-- executions [mysql]: the results of failed workunits, with the end of what they wrote to stderr
SELECT r.workunitid, r.name, r.server_state, r.outcome, r.client_state, r.validate_state, r.exit_status,
    RIGHT(r.stderr_out, :tail) AS stderr, r.xml_doc_in,
    CASE WHEN r.outcome = :validate_error THEN w.xml_doc END AS xml_doc
FROM result r FORCE INDEX (res_wuid) JOIN workunit w ON w.id = r.workunitid
WHERE r.workunitid IN (:workunits) ORDER BY r.id

-- executions [sqlite]: the results of failed workunits, with the end of what they wrote to stderr
SELECT r.workunitid, r.name, r.server_state, r.outcome, r.client_state, r.validate_state, r.exit_status,
    SUBSTR(r.stderr_out, -:tail) AS stderr, r.xml_doc_in,
    CASE WHEN r.outcome = :validate_error THEN w.xml_doc END AS xml_doc
FROM result r INDEXED BY res_wuid JOIN workunit w ON w.id = r.workunitid
WHERE r.workunitid IN (:workunits) ORDER BY r.id

-- valid_results [mysql]: the valid results of some workunits, with what names their output files, and what the hosts have said of them
SELECT id, workunitid, xml_doc_in, xml_doc_out FROM result FORCE INDEX (res_wuid)
WHERE workunitid IN (:workunits) AND server_state = :over AND outcome = :success AND validate_state = :valid
ORDER BY id

-- valid_results [sqlite]: the valid results of some workunits, with what names their output files, and what the hosts have said of them
SELECT id, workunitid, xml_doc_in, xml_doc_out FROM result INDEXED BY res_wuid
WHERE workunitid IN (:workunits) AND server_state = :over AND outcome = :success AND validate_state = :valid
ORDER BY id

-- replace: another valid result stands for its workunit, which is not published yet
UPDATE workunit SET canonical_resultid = :new
WHERE id = :id AND canonical_resultid = :old AND assimilate_state = :ready

-- lose_results [mysql]: valid results of some workunits, of which the outputs are lost
UPDATE result FORCE INDEX (res_wuid) SET outcome = :validate_error, validate_state = :invalid
WHERE workunitid IN (:workunits) AND server_state = :over AND outcome = :success AND validate_state = :valid

-- lose_results [sqlite]: valid results of some workunits, of which the outputs are lost
UPDATE result INDEXED BY res_wuid SET outcome = :validate_error, validate_state = :invalid
WHERE workunitid IN (:workunits) AND server_state = :over AND outcome = :success AND validate_state = :valid

-- recheck_results [mysql]: results that there was nothing to compare with
UPDATE result FORCE INDEX (res_wuid) SET validate_state = :init
WHERE workunitid IN (:workunits) AND server_state = :over AND outcome = :success AND validate_state = :too_late

-- recheck_results [sqlite]: results that there was nothing to compare with
UPDATE result INDEXED BY res_wuid SET validate_state = :init
WHERE workunitid IN (:workunits) AND server_state = :over AND outcome = :success AND validate_state = :too_late

-- reopen: workunits that have no canonical result any more; the transitioner gets to see them
UPDATE workunit SET canonical_resultid = 0, need_validate = 0, assimilate_state = :init, transition_time = :now
WHERE id IN (:ids)

-- claim [mysql]: those of some workunits that are still to be published, locked until the end of the transaction
SELECT id, canonical_resultid FROM workunit WHERE id IN (:ids) AND assimilate_state = :ready ORDER BY id FOR UPDATE

-- claim [sqlite]: those of some workunits that are still to be published
SELECT id, canonical_resultid FROM workunit WHERE id IN (:ids) AND assimilate_state = :ready

-- finish: workunits that have been published; the transitioner gets to see them
UPDATE workunit SET assimilate_state = :done, transition_time = :now WHERE id IN (:ids) AND assimilate_state = :ready

-- count: jobs of a batch that have been published, and those of them that have failed
UPDATE pyboinc_batch SET nassimilated = nassimilated + :nassimilated, nerrors = nerrors + :nerrors WHERE id = :batch

-- progress [mysql]: the same in BOINC's own row
UPDATE batch b JOIN pyboinc_batch p ON p.id = b.id
SET b.fraction_done = p.nassimilated / p.njobs, b.nerror_jobs = p.nerrors
WHERE b.id = :batch AND p.njobs > 0

-- progress [sqlite]: the same in BOINC's own row
UPDATE batch SET fraction_done = p.nassimilated * 1.0 / p.njobs, nerror_jobs = p.nerrors
FROM pyboinc_batch p
WHERE p.id = batch.id AND batch.id = :batch AND p.njobs > 0

-- complete: BOINC's row of a batch whose last job has been published
UPDATE batch SET fraction_done = 1, state = :complete, completion_time = :now
WHERE id = :batch AND state = :in_progress
    AND EXISTS (SELECT 1 FROM pyboinc_batch p WHERE p.id = :batch AND p.nassimilated = p.njobs AND p.state = :submitted)
