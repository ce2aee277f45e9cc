-- due [mysql]: workunits that the transitioner has to look at, the longest overdue first
SELECT id, result_template_file FROM workunit FORCE INDEX (wu_timeout)
WHERE transition_time < :now[workunit.transitioner_flags? AND transitioner_flags <> :none] AND appid = :appid AND id % :modulus = :remainder
ORDER BY transition_time LIMIT :limit

-- due [sqlite]: workunits that the transitioner has to look at, the longest overdue first
SELECT id, result_template_file FROM workunit INDEXED BY wu_timeout
WHERE transition_time < :now[workunit.transitioner_flags? AND transitioner_flags <> :none] AND appid = :appid AND id % :modulus = :remainder
ORDER BY transition_time LIMIT :limit

-- workunits [mysql]: those of some workunits that are still due, locked until the end of the transaction
SELECT id, name, appid, batch, priority, [workunit.size_class? size_class | -1 AS size_class],
    min_quorum, target_nresults, max_error_results,
    max_total_results, delay_bound, need_validate, canonical_resultid, transition_time, error_mask,
    file_delete_state, assimilate_state, result_template_file, hr_class,
    [workunit.transitioner_flags? transitioner_flags | 0 AS transitioner_flags],
    [workunit.app_version_id? app_version_id | 0 AS app_version_id]
FROM workunit FORCE INDEX (PRIMARY)
WHERE id IN (:ids) AND transition_time < :now[workunit.transitioner_flags? AND transitioner_flags <> :none]
ORDER BY id FOR UPDATE

-- workunits [sqlite]: those of some workunits that are still due
SELECT id, name, appid, batch, priority, [workunit.size_class? size_class | -1 AS size_class],
    min_quorum, target_nresults, max_error_results,
    max_total_results, delay_bound, need_validate, canonical_resultid, transition_time, error_mask,
    file_delete_state, assimilate_state, result_template_file, hr_class,
    [workunit.transitioner_flags? transitioner_flags | 0 AS transitioner_flags],
    [workunit.app_version_id? app_version_id | 0 AS app_version_id]
FROM workunit
WHERE id IN (:ids) AND transition_time < :now[workunit.transitioner_flags? AND transitioner_flags <> :none]
ORDER BY id

-- results [mysql]: all results of some workunits
SELECT id, workunitid, name, server_state, outcome, validate_state, file_delete_state, report_deadline,
    received_time, exit_status
FROM result FORCE INDEX (res_wuid) WHERE workunitid IN (:workunits) ORDER BY id

-- results [sqlite]: all results of some workunits
SELECT id, workunitid, name, server_state, outcome, validate_state, file_delete_state, report_deadline,
    received_time, exit_status
FROM result INDEXED BY res_wuid WHERE workunitid IN (:workunits) ORDER BY id

-- change_results [mysql]: results that go from one combination of states to another, unless something else has changed them
UPDATE result FORCE INDEX (PRIMARY) SET server_state = :server_state, outcome = :outcome, validate_state = :validate_state,
    file_delete_state = :file_delete_state
WHERE id IN (:ids) AND server_state = :old_server_state AND outcome = :old_outcome
    AND validate_state = :old_validate_state AND file_delete_state = :old_file_delete_state

-- change_results [sqlite]: results that go from one combination of states to another, unless something else has changed them
UPDATE result SET server_state = :server_state, outcome = :outcome, validate_state = :validate_state,
    file_delete_state = :file_delete_state
WHERE id IN (:ids) AND server_state = :old_server_state AND outcome = :old_outcome
    AND validate_state = :old_validate_state AND file_delete_state = :old_file_delete_state

-- penalize [mysql]: hosts that kept results until they timed out are no longer taken for reliable, and get fewer
UPDATE host_app_version v JOIN result r ON r.hostid = v.host_id AND r.app_version_id = v.app_version_id
SET v.consecutive_valid = 0,
    v.max_jobs_per_day = CASE WHEN v.max_jobs_per_day > 1 THEN v.max_jobs_per_day - 1 ELSE v.max_jobs_per_day END
WHERE r.id IN (:ids)

-- penalize [sqlite]: hosts that kept results until they timed out are no longer taken for reliable, and get fewer
UPDATE host_app_version SET consecutive_valid = 0,
    max_jobs_per_day = CASE WHEN max_jobs_per_day > 1 THEN max_jobs_per_day - 1 ELSE max_jobs_per_day END
WHERE (host_id, app_version_id) IN (SELECT hostid, app_version_id FROM result WHERE id IN (:ids))

-- change_workunits: workunits that get the same states
UPDATE workunit SET need_validate = :need_validate, error_mask = :error_mask, assimilate_state = :assimilate_state,
    file_delete_state = :file_delete_state, hr_class = :hr_class[workunit.app_version_id? , app_version_id = :app_version_id]
WHERE id IN (:ids)

-- next_transition: when the transitioner looks at some workunits again
UPDATE workunit SET transition_time = :transition_time WHERE id IN (:ids)

-- next_transitions [mysql]: the same where the times differ
UPDATE workunit SET transition_time = ELT(FIELD(id, :ids), :times) WHERE id IN (:ids)

-- next_transitions [sqlite]: the same where the times differ, one workunit at a time
UPDATE workunit SET transition_time = :transition_time WHERE id = :id
