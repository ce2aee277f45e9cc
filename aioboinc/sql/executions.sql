-- of_workunit [mysql]: a workunit by its name, and each of its results, with the end of what it wrote to stderr
SELECT w.error_mask, w.canonical_resultid, w.min_quorum, r.id, r.server_state, r.outcome, r.validate_state, r.hostid,
    r.received_time, [result.elapsed_time? r.elapsed_time | r.cpu_time AS elapsed_time],
    RIGHT(r.stderr_out, :tail) AS stderr
FROM workunit w LEFT JOIN result r ON r.workunitid = w.id
WHERE w.name = :name ORDER BY r.id

-- of_workunit [sqlite]: a workunit by its name, and each of its results, with the end of what it wrote to stderr
SELECT w.error_mask, w.canonical_resultid, w.min_quorum, r.id, r.server_state, r.outcome, r.validate_state, r.hostid,
    r.received_time, r.elapsed_time, SUBSTR(r.stderr_out, -:tail) AS stderr
FROM workunit w LEFT JOIN result r ON r.workunitid = w.id
WHERE w.name = :name ORDER BY r.id
