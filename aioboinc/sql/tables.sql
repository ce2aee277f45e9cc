-- drop_batches: what aioboinc knows of batches
DROP TABLE IF EXISTS pyboinc_batch

-- drop_calls: the keys of their calls
DROP TABLE IF EXISTS pyboinc_calls
