-- find: a batch by its token
SELECT id FROM pyboinc_batch WHERE token = :token

-- count: how many workunits of a batch are to be cancelled
SELECT COUNT(*) AS n FROM workunit WHERE batch = :batch AND assimilate_state <> :done

-- abort: BOINC's row of a batch that nobody wants any more
UPDATE batch SET state = :aborted, completion_time = :now WHERE id = :batch AND state IN (:open)

-- workunits [mysql]: the next workunits of a batch that are to be cancelled, locked until the end of the transaction
SELECT id, name, appid, batch, priority, [workunit.size_class? size_class | -1 AS size_class],
    min_quorum, target_nresults, max_error_results, max_total_results, delay_bound, need_validate,
    canonical_resultid, transition_time, error_mask, file_delete_state, assimilate_state, result_template_file, hr_class,
    [workunit.transitioner_flags? transitioner_flags | 0 AS transitioner_flags],
    [workunit.app_version_id? app_version_id | 0 AS app_version_id]
FROM workunit
WHERE batch = :batch AND id > :after AND assimilate_state <> :done AND (canonical_resultid = 0 OR :finished = 1)
ORDER BY id LIMIT :limit FOR UPDATE

-- workunits [sqlite]: the next workunits of a batch that are to be cancelled
SELECT id, name, appid, batch, priority, size_class, min_quorum, target_nresults, max_error_results,
    max_total_results, delay_bound, need_validate, canonical_resultid, transition_time, error_mask,
    file_delete_state, assimilate_state, result_template_file, hr_class, transitioner_flags, app_version_id
FROM workunit
WHERE batch = :batch AND id > :after AND assimilate_state <> :done AND (canonical_resultid = 0 OR :finished = 1)
ORDER BY id LIMIT :limit

-- unpublished [mysql]: whether there are outputs of a batch that the assimilator has still to publish
SELECT id FROM workunit FORCE INDEX (wu_assim)
WHERE appid = :appid AND assimilate_state = :ready AND batch = :batch LIMIT 1

-- unpublished [sqlite]: whether there are outputs of a batch that the assimilator has still to publish
SELECT id FROM workunit INDEXED BY wu_assim
WHERE appid = :appid AND assimilate_state = :ready AND batch = :batch LIMIT 1

-- hasten: the transitioner looks now at workunits that somebody has cancelled, and not at their deadlines
UPDATE workunit SET transition_time = :now
WHERE id IN (:ids) AND assimilate_state = :init AND error_mask & :cancelled AND transition_time > :now

-- forget_calls: the keys of a batch's calls
DELETE FROM pyboinc_calls WHERE batch = :batch

-- forget: our row of a batch
DELETE FROM pyboinc_batch WHERE id = :batch
