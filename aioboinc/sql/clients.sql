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
