-- find_host: an account's host by its cross-project ID
SELECT id FROM host WHERE userid = :userid AND host_cpid = :cpid ORDER BY id LIMIT 1

-- create_host: a host, as the scheduler makes it at the first request
INSERT INTO host (create_time, userid, rpc_seqno, rpc_time, total_credit, expavg_credit, expavg_time, timezone,
    domain_name, serialnum, last_ip_addr, nsame_ip_addr, on_frac, connected_frac, active_frac, cpu_efficiency,
    duration_correction_factor, p_ncpus, p_vendor, p_model, p_fpops, p_iops, p_membw, os_name, os_version, m_nbytes,
    m_cache, m_swap, d_total, d_free, d_boinc_used_total, d_boinc_used_project, d_boinc_max, n_bwup, n_bwdown,
    credit_per_cpu_sec, venue, nresults_today, avg_turnaround, host_cpid, external_ip_addr, max_results_day,
    error_rate, product_name, gpu_active_frac, p_ngpus, p_gpu_fpops, misc)
VALUES (:now, :userid, 0, :now, 0, 0, 0, 0, :domain_name, '', '', 0, 1, 1, 1, 1, 1, :p_ncpus, '', '', :p_fpops,
    :p_fpops, 1e9, :os_name, :os_version, :m_nbytes, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, '', 0, 0, :cpid, '', 0, 0, '', 1, 0,
    0, '')

-- top_priority: the highest priority of an unsent result below another one
SELECT MAX(priority) AS priority FROM result WHERE server_state = :unsent AND priority < :below

-- count_unsent: how many results no host has, up to a limit
SELECT COUNT(*) AS n FROM (SELECT 1 FROM result WHERE server_state = :unsent LIMIT :limit) u

-- unsent: the oldest unsent results of a priority that a host may get, with all that it needs
SELECT r.id, r.name, r.workunitid, r.xml_doc_in, w.name AS workunit_name, w.xml_doc, w.rsc_fpops_est,
    w.rsc_fpops_bound, w.rsc_memory_bound, w.rsc_disk_bound, w.delay_bound
FROM result r JOIN workunit w ON w.id = r.workunitid
WHERE r.server_state = :unsent AND r.priority = :priority AND r.id > :after
    AND NOT EXISTS (SELECT 1 FROM result o WHERE o.workunitid = r.workunitid AND o.hostid = :hostid
        AND (o.server_state = :in_progress OR o.outcome IN (:counted)))
ORDER BY r.id LIMIT :limit

-- send: results that go to a host; the plus signs here and below keep SQLite off the indexes of all that is unsent
UPDATE result SET server_state = :in_progress, hostid = :hostid, userid = :userid, sent_time = :now,
    report_deadline = :never, app_version_id = :app_version_id, flops_estimate = :flops
WHERE id IN (:ids) AND +server_state = :unsent

-- sent: results that hosts have, by their names
SELECT id, name, workunitid, hostid FROM result WHERE name IN (:names) AND +server_state = :in_progress

-- report: the end of an execution
UPDATE result SET server_state = :over, outcome = :outcome, validate_state = :validate_state,
    client_state = :client_state, exit_status = :exit_status, cpu_time = :cpu_time, elapsed_time = :elapsed_time,
    xml_doc_out = :xml_doc_out, stderr_out = :stderr_out, received_time = :now, app_version_num = :app_version_num,
    peak_working_set_size = :peak_working_set_size, peak_swap_size = :peak_swap_size,
    peak_disk_usage = :peak_disk_usage
WHERE id = :id AND hostid = :hostid AND server_state = :in_progress

-- reported: the transitioner looks at the workunits of reported results
UPDATE workunit SET transition_time = :now WHERE id IN (:ids)

-- take_back: results that a host had and no longer has
UPDATE result SET server_state = :unsent, hostid = 0, userid = 0, sent_time = 0, report_deadline = 0
WHERE name IN (:names) AND +hostid = :hostid AND +server_state = :in_progress

-- take_back_all: results of hosts that are gone
UPDATE result SET server_state = :unsent, hostid = 0, userid = 0, sent_time = 0, report_deadline = 0
WHERE server_state = :in_progress
    AND hostid IN (SELECT id FROM host WHERE userid = :userid AND host_cpid LIKE :cpid_prefix)
