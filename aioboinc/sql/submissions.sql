-- advance: count a chunk of calls, unless that was done before
UPDATE pyboinc_batch SET njobs = :njobs, digest = :digest WHERE id = :batch AND njobs = :first AND state = :open

-- njobs: BOINC's own count of a batch's jobs
UPDATE batch SET njobs = :njobs WHERE id = :batch

-- newest: the last workunit of a batch so far
SELECT COALESCE(MAX(id), 0) AS id FROM workunit WHERE batch = :batch
