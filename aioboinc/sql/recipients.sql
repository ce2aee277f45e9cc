-- quota [sqlite]: how a host does with an app version
SELECT max_jobs_per_day, n_jobs_today, consecutive_valid FROM host_app_version
WHERE host_id = :hostid AND app_version_id = :app_version_id

-- quota [mysql]: how a host does with an app version, locked until the end of the transaction
SELECT max_jobs_per_day, n_jobs_today, consecutive_valid FROM host_app_version
WHERE host_id = :hostid AND app_version_id = :app_version_id FOR UPDATE

-- create_quota: a host's first result of an app version
INSERT INTO host_app_version (host_id, app_version_id, pfc_n, pfc_avg, et_n, et_avg, et_var, et_q, max_jobs_per_day,
    n_jobs_today, turnaround_n, turnaround_avg, turnaround_var, turnaround_q, consecutive_valid)
VALUES (:hostid, :app_version_id, 0, 0, 0, 0, 0, 0, :max_jobs_per_day, :n_jobs_today, 0, 0, 0, 0, 0)

-- change_quota: how many results a host has got today, and how many it may get
UPDATE host_app_version SET max_jobs_per_day = :max_jobs_per_day, n_jobs_today = :n_jobs_today
WHERE host_id = :hostid AND app_version_id = :app_version_id

-- new_day: a host gets its quota anew
UPDATE host_app_version SET n_jobs_today = 0 WHERE host_id = :hostid

-- unlucky: a host's result has failed
UPDATE host_app_version SET consecutive_valid = 0 WHERE host_id = :hostid AND app_version_id = :app_version_id

-- succeeding: batches of which some jobs have been done
SELECT id FROM pyboinc_batch WHERE id IN (:ids) AND nassimilated > nerrors
