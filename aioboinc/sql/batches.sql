-- app: the application that runs programs
SELECT id, name, homogeneous_redundancy FROM app WHERE name = :name AND deprecated = 0

-- app_versions: how many usable versions an application has
SELECT COUNT(*) AS n FROM app_version WHERE appid = :appid AND deprecated = 0

-- find: the same, by the batch's token
SELECT p.id, p.njobs, p.digest, p.state, p.nassimilated, p.nerrors, p.version, b.state AS boinc_state, b.completion_time
FROM pyboinc_batch p LEFT JOIN batch b ON b.id = p.id WHERE p.token = :token

-- newest: the batch that was begun last
SELECT id, token FROM pyboinc_batch ORDER BY id DESC LIMIT 1

-- ids: all batches
SELECT id FROM pyboinc_batch

-- forget_batch: BOINC's row of a batch whose ID is not to be used
DELETE FROM batch WHERE id = :id

-- progress: the counters of a batch, and what BOINC's row says of it
SELECT p.id, p.njobs, p.digest, p.state, p.nassimilated, p.nerrors, p.version, b.state AS boinc_state, b.completion_time
FROM pyboinc_batch p LEFT JOIN batch b ON b.id = p.id WHERE p.id = :id

-- submitter: whose batches those of an application are
SELECT COALESCE((SELECT user_id FROM user_submit_app WHERE app_id = :appid ORDER BY [user_submit_app.manage? manage,] user_id LIMIT 1),
    (SELECT MIN(id) FROM user), 0)
    AS user_id

-- create_batch: BOINC's row of a new batch
INSERT INTO batch (user_id, create_time, logical_start_time, logical_end_time, est_completion_time, njobs,
    fraction_done, nerror_jobs, state, completion_time, credit_estimate, credit_canonical, credit_total, name,
    app_id, project_state, description, expire_time)
VALUES (:user_id, :now, 0, 0, 0, 0, 0, 0, :state, 0, 0, 0, 0, :name, :appid, 0, :description, 0)

-- create_pyboinc_batch: our row of a new batch
INSERT INTO pyboinc_batch (id, appid, token, directory, njobs, digest, state, nassimilated, nerrors, create_time,
    version)
VALUES (:id, :appid, :token, :directory, 0, :digest, :state, 0, 0, :now, :version)

-- move: the directory to which the assimilator publishes
UPDATE pyboinc_batch SET directory = :directory WHERE id = :id AND directory <> :directory

-- submitted: no more calls will come
UPDATE pyboinc_batch SET state = :submitted WHERE id = :id AND njobs = :njobs

-- complete: BOINC's row, where the last job was assimilated before the last call was known to be the last
UPDATE batch SET fraction_done = 1, state = :complete, completion_time = :now
WHERE id = :id AND state = :in_progress
    AND EXISTS (SELECT 1 FROM pyboinc_batch p WHERE p.id = :id AND p.nassimilated = p.njobs AND p.state = :submitted)

-- documents: the jobs of a batch with their documents, some at a time, in the order of their IDs
SELECT id, name, xml_doc FROM workunit WHERE batch = :id AND id > :after ORDER BY id LIMIT :limit

-- jobs: what has become of some jobs
SELECT id, name, error_mask, assimilate_state, transition_time FROM workunit WHERE name IN (:names)

-- withdraw: our row of a batch to which nothing was submitted
DELETE FROM pyboinc_batch WHERE id = :id AND njobs = 0

-- withdraw_batch: BOINC's row of it
DELETE FROM batch WHERE id = :id

-- ready [mysql]: whether there are published jobs of a batch that are still to be counted
SELECT id FROM workunit FORCE INDEX (wu_assim)
WHERE appid = :appid AND assimilate_state = :ready AND batch = :id LIMIT 1

-- ready [sqlite]: whether there are published jobs of a batch that are still to be counted
SELECT id FROM workunit INDEXED BY wu_assim
WHERE appid = :appid AND assimilate_state = :ready AND batch = :id LIMIT 1

-- unfinished: whether there is anything of a batch that is still to be counted
SELECT id FROM workunit WHERE batch = :id AND assimilate_state <> :done LIMIT 1

-- settle: the counters of a batch some jobs of which can't be counted, for their workunits are gone
UPDATE pyboinc_batch SET nerrors = nerrors + njobs - nassimilated, nassimilated = njobs
WHERE id = :id AND state = :submitted AND nassimilated < njobs
