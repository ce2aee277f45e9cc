-- account_by_key: the account that a client shows the key of
SELECT id, create_time, email_addr, name, authenticator, total_credit, expavg_credit, teamid, cross_project_id,
    passwd_hash
FROM user WHERE authenticator = :key

-- account_by_email: the account of an e-mail address
SELECT id, create_time, email_addr, name, authenticator, total_credit, expavg_credit, teamid, cross_project_id,
    passwd_hash
FROM user WHERE email_addr = :email_addr

-- account_by_name: the account with a name
SELECT id FROM user WHERE name = :name

-- create_account: an account, as html/user/create_account.php makes it
INSERT INTO user (create_time, email_addr, name, authenticator, country, postal_code, total_credit, expavg_credit,
    expavg_time, project_prefs, teamid, venue, send_email, show_hosts, posts, seti_id, seti_nresults,
    seti_last_result_time, seti_total_cpu, has_profile, cross_project_id, passwd_hash, email_validated, donated)
VALUES (:now, :email_addr, :name, :authenticator, 'International', '', 0, 0, :now, :project_prefs, 0, '', 0, 1, 0, 0,
    0, 0, 0, 0, :cross_project_id, :passwd_hash, 0, 0)

-- host: a host by its ID
SELECT id, userid, create_time, rpc_seqno, rpc_time, total_credit, expavg_credit, p_ncpus, p_vendor, p_model, os_name,
    os_version, max_results_day
FROM host WHERE id = :id

-- host_by_cpid: the account's newest host with a name over all projects
SELECT id, userid, create_time, rpc_seqno, rpc_time, total_credit, expavg_credit, p_ncpus, p_vendor, p_model, os_name,
    os_version, max_results_day
FROM host WHERE userid = :userid AND host_cpid = :host_cpid ORDER BY id DESC LIMIT 1

-- similar_host: the account's newest host that is the same machine by all that it says
SELECT id, userid, create_time, rpc_seqno, rpc_time, total_credit, expavg_credit, p_ncpus, p_vendor, p_model, os_name,
    os_version, max_results_day
FROM host
WHERE userid = :userid AND domain_name = :domain_name AND last_ip_addr = :last_ip_addr AND os_name = :os_name
    AND p_model = :p_model AND m_nbytes = :m_nbytes
ORDER BY id DESC LIMIT 1

-- create_host: a host, as the scheduler makes it at its first request
INSERT INTO host (create_time, userid, rpc_seqno, rpc_time, total_credit, expavg_credit, expavg_time, timezone,
    domain_name, serialnum, last_ip_addr, nsame_ip_addr, on_frac, connected_frac, active_frac, cpu_efficiency,
    duration_correction_factor, p_ncpus, p_vendor, p_model, p_fpops, p_iops, p_membw, os_name, os_version, m_nbytes,
    m_cache, m_swap, d_total, d_free, d_boinc_used_total, d_boinc_used_project, d_boinc_max, n_bwup, n_bwdown,
    credit_per_cpu_sec, venue, nresults_today, avg_turnaround, host_cpid, external_ip_addr, max_results_day,
    error_rate, product_name, gpu_active_frac, p_ngpus, p_gpu_fpops, misc)
VALUES (:now, :userid, 0, :now, 0, 0, :now, :timezone, :domain_name, '', :last_ip_addr, 0, :on_frac, :connected_frac,
    :active_frac, 0, :duration_correction_factor, :p_ncpus, :p_vendor, :p_model, :p_fpops, :p_iops, :p_membw, :os_name,
    :os_version, :m_nbytes, :m_cache, :m_swap, :d_total, :d_free, :d_boinc_used_total, :d_boinc_used_project,
    :d_boinc_max, :n_bwup, :n_bwdown, 0, '', 0, 0, :host_cpid, :external_ip_addr, 0, 0, :product_name,
    :gpu_active_frac, 0, 0, :misc)

-- update_host: what a host says of itself with each request
UPDATE host SET rpc_seqno = :rpc_seqno, rpc_time = :now, timezone = :timezone, domain_name = :domain_name,
    nsame_ip_addr = CASE WHEN last_ip_addr = :last_ip_addr THEN nsame_ip_addr + 1 ELSE 0 END,
    last_ip_addr = :last_ip_addr, on_frac = :on_frac, connected_frac = :connected_frac, active_frac = :active_frac,
    duration_correction_factor = :duration_correction_factor, p_ncpus = :p_ncpus, p_vendor = :p_vendor,
    p_model = :p_model, p_fpops = :p_fpops, p_iops = :p_iops, p_membw = :p_membw, os_name = :os_name,
    os_version = :os_version, m_nbytes = :m_nbytes, m_cache = :m_cache, m_swap = :m_swap, d_total = :d_total,
    d_free = :d_free, d_boinc_used_total = :d_boinc_used_total, d_boinc_used_project = :d_boinc_used_project,
    d_boinc_max = :d_boinc_max, n_bwup = :n_bwup, n_bwdown = :n_bwdown, host_cpid = :host_cpid,
    external_ip_addr = :external_ip_addr, product_name = :product_name, gpu_active_frac = :gpu_active_frac,
    misc = :misc
WHERE id = :hostid

-- active_hosts: how many hosts there are that call
SELECT COUNT(*) AS n FROM host WHERE rpc_time >= :since

-- held: the workunits of results that a host has
SELECT workunitid FROM result WHERE hostid = :hostid AND server_state = :in_progress

-- detach: the host has none of its results any more, and will not get them again
UPDATE result SET server_state = :over, outcome = :detached, received_time = :now
WHERE hostid = :hostid AND server_state = :in_progress

-- due: the transitioner looks at workunits now
UPDATE workunit SET transition_time = :now WHERE id IN (:ids)

-- sent: results that a host has, or may still report because their deadline alone ended them
SELECT id, name, workunitid, batch, app_version_id, sent_time FROM result
WHERE name IN (:names) AND +hostid = :hostid
    AND (+server_state = :in_progress OR +server_state = :over AND outcome = :no_reply AND received_time = 0)

-- report: the end of an execution
UPDATE result SET server_state = :over, outcome = :outcome, validate_state = :validate_state,
    client_state = :client_state, exit_status = :exit_status, cpu_time = :cpu_time, elapsed_time = :elapsed_time,
    xml_doc_out = :xml_doc_out, stderr_out = :stderr_out, received_time = :now, app_version_num = :app_version_num,
    peak_working_set_size = :peak_working_set_size, peak_swap_size = :peak_swap_size,
    peak_disk_usage = :peak_disk_usage
WHERE id = :id AND (server_state = :in_progress OR outcome = :no_reply AND received_time = 0)

-- succeeding: batches of which some jobs have been done
SELECT id FROM pyboinc_batch WHERE id IN (:ids) AND nassimilated > nerrors

-- quota [sqlite]: how a host does with an app version
SELECT max_jobs_per_day, n_jobs_today, consecutive_valid FROM host_app_version
WHERE host_id = :hostid AND app_version_id = :app_version_id

-- quota [mysql]: how a host does with an app version, locked until the end of the transaction
SELECT max_jobs_per_day, n_jobs_today, consecutive_valid FROM host_app_version
WHERE host_id = :hostid AND app_version_id = :app_version_id FOR UPDATE

-- create_quota: a host's first result of an app version
INSERT INTO host_app_version (host_id, app_version_id, pfc_n, pfc_avg, et_n, et_avg, et_var, et_q, max_jobs_per_day,
    n_jobs_today, turnaround_n, turnaround_avg, turnaround_var, turnaround_q, consecutive_valid)
VALUES (:hostid, :app_version_id, 0, 0, 0, 0, 0, 0, :max_jobs_per_day, :n_jobs_today, 0, 0, 0, 0, 0)

-- change_quota: how many results a host has got today, and how many it may get
UPDATE host_app_version SET max_jobs_per_day = :max_jobs_per_day, n_jobs_today = :n_jobs_today
WHERE host_id = :hostid AND app_version_id = :app_version_id

-- new_day: a host gets its quota anew
UPDATE host_app_version SET n_jobs_today = 0 WHERE host_id = :hostid

-- unlucky: a host's result has failed
UPDATE host_app_version SET consecutive_valid = 0 WHERE host_id = :hostid AND app_version_id = :app_version_id

-- uploadable: what an output file is for
SELECT xml_doc_in FROM result
WHERE name = :name
    AND (+server_state = :in_progress OR +server_state = :over AND outcome = :no_reply AND received_time = 0)
