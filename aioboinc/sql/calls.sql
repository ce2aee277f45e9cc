-- rows: the keys of a batch's calls, some chunks at a time
SELECT first, call_keys, kinds FROM pyboinc_calls WHERE batch = :batch AND first > :after ORDER BY first LIMIT :limit

-- add: the keys of a chunk of calls
INSERT INTO pyboinc_calls (batch, first, call_keys, kinds) VALUES (:batch, :first, :keys, :kinds)

-- adopt: a batch of version 0.1 of aioboinc, whose calls had no keys
UPDATE pyboinc_batch SET version = :version, digest = :digest WHERE id = :batch AND version = :before

-- row [mysql]: the keys of one chunk of calls, locked
SELECT call_keys, kinds FROM pyboinc_calls WHERE batch = :batch AND first = :first FOR UPDATE

-- row [sqlite]: the keys of one chunk of calls
SELECT call_keys, kinds FROM pyboinc_calls WHERE batch = :batch AND first = :first

-- replace: the keys of one chunk of calls
UPDATE pyboinc_calls SET call_keys = :keys, kinds = :kinds WHERE batch = :batch AND first = :first

-- unfinished [mysql]: those of some workunits that have no output, locked
SELECT id, name, appid, batch, priority, [workunit.size_class? size_class | -1 AS size_class],
    min_quorum, target_nresults, max_error_results, max_total_results, delay_bound, need_validate,
    canonical_resultid, transition_time, error_mask, file_delete_state, assimilate_state, result_template_file, hr_class,
    [workunit.transitioner_flags? transitioner_flags | 0 AS transitioner_flags],
    [workunit.app_version_id? app_version_id | 0 AS app_version_id]
FROM workunit
WHERE name IN (:names) AND assimilate_state = :init AND canonical_resultid = 0
ORDER BY id FOR UPDATE

-- unfinished [sqlite]: those of some workunits that have no output
SELECT id, name, appid, batch, priority, size_class, min_quorum, target_nresults, max_error_results,
    max_total_results, delay_bound, need_validate, canonical_resultid, transition_time, error_mask,
    file_delete_state, assimilate_state, result_template_file, hr_class, transitioner_flags, app_version_id
FROM workunit
WHERE name IN (:names) AND assimilate_state = :init AND canonical_resultid = 0
ORDER BY id

-- cancelled: jobs that nobody will publish count as published
UPDATE pyboinc_batch SET nassimilated = nassimilated + :count WHERE id = :batch

-- change: what unfinished workunits ask of the project; the transitioner sees to what follows. Where replicas differ,
-- the validator may have asked for more results than the options do.
UPDATE workunit SET min_quorum = :min_quorum,
    target_nresults = CASE
        WHEN target_nresults > :target_nresults AND id IN
            (SELECT workunitid FROM result WHERE workunitid IN (:ids) AND validate_state = :inconclusive)
        THEN target_nresults ELSE :target_nresults
    END,
    max_error_results = :max_error_results, max_total_results = :max_total_results,
    max_success_results = :max_success_results, priority = :priority, delay_bound = :delay_bound,
    rsc_fpops_est = :rsc_fpops_est, rsc_fpops_bound = :rsc_fpops_bound, rsc_memory_bound = :rsc_memory_bound,
    rsc_disk_bound = :rsc_disk_bound, transition_time = :now
WHERE id IN (:ids)

-- change_results: results that no host has are sent as their workunits' priority says
UPDATE result SET priority = :priority WHERE workunitid IN (:ids) AND server_state IN (:unsent)

-- run_times: how long some workunits took
SELECT w.name, [result.elapsed_time? r.elapsed_time | r.cpu_time] AS seconds
FROM workunit w JOIN result r ON r.id = w.canonical_resultid WHERE w.name IN (:names)
