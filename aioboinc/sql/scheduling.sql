-- find_app: the application with a name
SELECT id FROM app WHERE name = :name

-- create_app: an application, as bin/xadd makes it
INSERT INTO app (create_time, name, min_version, deprecated, user_friendly_name, homogeneous_redundancy, weight, beta,
    target_nresults, min_avg_pfc, host_scale_check, homogeneous_app_version, non_cpu_intensive, locality_scheduling,
    n_size_classes, fraction_done_exact)
VALUES (:now, :name, 0, 0, :friendly_name, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0)

-- find_platform: the platform with a name
SELECT id FROM platform WHERE name = :name

-- create_platform: a platform
INSERT INTO platform (create_time, name, user_friendly_name, deprecated) VALUES (:now, :name, :friendly_name, 0)

-- find_version: a version of an application for a platform
SELECT id FROM app_version
WHERE appid = :appid AND platformid = :platformid AND version_num = :version_num AND plan_class = ''

-- create_version: a version of an application for a platform
INSERT INTO app_version (create_time, appid, version_num, platformid, xml_doc, min_core_version, max_core_version,
    deprecated, plan_class, pfc_n, pfc_avg, pfc_scale, expavg_credit, expavg_time, beta)
VALUES (:now, :appid, :version_num, :platformid, :xml_doc, 0, 0, 0, '', 0, 0, 0, 0, 0, 0)

-- find_user: the account with a name
SELECT id, authenticator FROM user WHERE name = :name

-- create_user: an account
INSERT INTO user (create_time, email_addr, name, authenticator, country, postal_code, total_credit, expavg_credit,
    expavg_time, project_prefs, teamid, venue, send_email, show_hosts, posts, seti_id, seti_nresults,
    seti_last_result_time, seti_total_cpu, has_profile, cross_project_id, passwd_hash, email_validated, donated)
VALUES (:now, :email_addr, :name, :authenticator, 'International', '', 0, 0, 0, '', 0, '', 0, 1, 0, 0, 0, 0, 0, 0,
    :cross_project_id, '', 1, 0)

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

-- unsent: the oldest unsent results of a priority that a host may get, with all that it needs
SELECT r.id, r.name, r.workunitid, r.xml_doc_in, w.name AS workunit_name, w.xml_doc, w.rsc_fpops_est,
    w.rsc_fpops_bound, w.rsc_memory_bound, w.rsc_disk_bound, w.delay_bound
FROM result r JOIN workunit w ON w.id = r.workunitid
WHERE r.server_state = :unsent AND r.priority = :priority AND r.id > :after
    AND NOT EXISTS (SELECT 1 FROM result o WHERE o.workunitid = r.workunitid AND o.hostid = :hostid
        AND (o.server_state = :in_progress OR o.outcome IN (:counted)))
ORDER BY r.id LIMIT :limit

-- send: results that go to a host
UPDATE result SET server_state = :in_progress, hostid = :hostid, userid = :userid, sent_time = :now,
    report_deadline = :deadline, app_version_id = :app_version_id, flops_estimate = :flops
WHERE id IN (:ids) AND server_state = :unsent

-- expect: the transitioner looks at a workunit when a result of it is due, at the latest
UPDATE workunit SET transition_time = :deadline WHERE id IN (:ids) AND transition_time > :deadline

-- sent: results that a host has, by their names
SELECT id, name, workunitid FROM result
WHERE name IN (:names) AND hostid = :hostid AND server_state = :in_progress

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
WHERE name IN (:names) AND hostid = :hostid AND server_state = :in_progress

-- take_back_all: results of hosts that are gone
UPDATE result SET server_state = :unsent, hostid = 0, userid = 0, sent_time = 0, report_deadline = 0
WHERE server_state = :in_progress
    AND hostid IN (SELECT id FROM host WHERE userid = :userid AND host_cpid LIKE :cpid_prefix)
