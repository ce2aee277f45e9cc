-- batches: the newest batches
SELECT b.id, b.name, p.directory, p.njobs, p.nassimilated, p.nerrors, p.state AS submission, b.state, b.create_time,
    b.completion_time
FROM pyboinc_batch p JOIN batch b ON b.id = p.id
ORDER BY p.id DESC LIMIT :limit

-- hosts: the hosts that have called last
SELECT h.id, h.domain_name, h.p_ncpus, h.p_vendor, h.p_model, h.os_name, h.os_version, h.rpc_time, h.total_credit,
    h.misc, u.name AS account
FROM host h JOIN user u ON u.id = h.userid
ORDER BY h.rpc_time DESC LIMIT :limit

-- hosts_total: all hosts, and those that have called lately
SELECT COUNT(*) AS hosts, COALESCE(SUM(CASE WHEN rpc_time >= :since THEN 1 ELSE 0 END), 0) AS active,
    COALESCE(SUM(CASE WHEN rpc_time >= :since THEN p_ncpus ELSE 0 END), 0) AS cores
FROM host

-- in_progress: how many results of each batch each host has
SELECT batch, hostid, COUNT(*) AS n FROM result WHERE server_state = :in_progress GROUP BY batch, hostid
