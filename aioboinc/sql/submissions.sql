-- advance: count some workunits, unless that was done before
UPDATE pyboinc_batch SET njobs = :njobs, digest = :digest, state = :open WHERE id = :batch AND njobs = :before

-- njobs: BOINC's own count of a batch's jobs, unless somebody has ended the batch
UPDATE batch SET njobs = :njobs, state = :in_progress WHERE id = :batch AND state NOT IN (:ended)

-- newest: the last workunit of a batch so far
SELECT COALESCE(MAX(id), 0) AS id FROM workunit WHERE batch = :batch
