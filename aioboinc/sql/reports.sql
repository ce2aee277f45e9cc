-- sent: results that hosts have, or may still report because their deadline alone ended them
SELECT id, name, workunitid, batch, hostid, app_version_id, sent_time FROM result
WHERE name IN (:names)
    AND (+server_state = :in_progress OR +server_state = :over AND outcome = :no_reply AND received_time = 0)

-- report: the end of an execution
UPDATE result SET server_state = :over, outcome = :outcome, validate_state = :validate_state,
    client_state = :client_state, exit_status = :exit_status, cpu_time = :cpu_time, elapsed_time = :elapsed_time,
    xml_doc_out = :xml_doc_out, stderr_out = :stderr_out, received_time = :now, app_version_num = :app_version_num,
    peak_working_set_size = :peak_working_set_size, peak_swap_size = :peak_swap_size,
    peak_disk_usage = :peak_disk_usage
WHERE id = :id AND (server_state = :in_progress OR outcome = :no_reply AND received_time = 0)

-- due: the transitioner looks at workunits now
UPDATE workunit SET transition_time = :now WHERE id IN (:ids)

-- held: the workunits of results that a host has
SELECT workunitid FROM result WHERE hostid = :hostid AND server_state = :in_progress

-- detach: the host has none of its results any more, and will not get them again
UPDATE result SET server_state = :over, outcome = :detached, received_time = :now
WHERE hostid = :hostid AND server_state = :in_progress

-- uploadable: what an output file is for
SELECT xml_doc_in FROM result
WHERE name = :name
    AND (+server_state = :in_progress OR +server_state = :over AND outcome = :no_reply AND received_time = 0)

-- durations: the run times of a batch's first results, where they are valid, in seconds, and on which host: its ID and the
-- operations a second that they were sent for
SELECT hostid, elapsed_time, flops_estimate FROM (
    SELECT hostid, validate_state, elapsed_time, flops_estimate FROM result WHERE batch = :batch ORDER BY id LIMIT :limit
) r
WHERE validate_state = :valid AND elapsed_time > 0
