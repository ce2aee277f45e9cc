-- BOINC's tables as far as an embedded project uses them: the same names, columns and indexes.
--
-- A column that has no default in BOINC gets 0 or the empty text here, so that an insert may name just what matters.
-- Blobs take bytes only: MySQL gives bytes back for text that was stored in one, SQLite would give text.
-- IDs are never used again, as in InnoDB: names of files are made from them. mod_time is set by inserts only.

CREATE TABLE IF NOT EXISTS platform (
    id integer NOT NULL PRIMARY KEY AUTOINCREMENT,
    create_time int NOT NULL DEFAULT 0,
    name varchar(191) NOT NULL DEFAULT '',
    user_friendly_name varchar(254) NOT NULL DEFAULT '',
    deprecated tinyint NOT NULL DEFAULT 0
);

CREATE UNIQUE INDEX IF NOT EXISTS platform_name ON platform (name);

CREATE TABLE IF NOT EXISTS app (
    id integer NOT NULL PRIMARY KEY AUTOINCREMENT,
    create_time int NOT NULL DEFAULT 0,
    name varchar(191) NOT NULL DEFAULT '',
    min_version int NOT NULL DEFAULT 0,
    deprecated smallint NOT NULL DEFAULT 0,
    user_friendly_name varchar(254) NOT NULL DEFAULT '',
    homogeneous_redundancy smallint NOT NULL DEFAULT 0,
    weight double NOT NULL DEFAULT 1,
    beta smallint NOT NULL DEFAULT 0,
    target_nresults smallint NOT NULL DEFAULT 0,
    min_avg_pfc double NOT NULL DEFAULT 1,
    host_scale_check tinyint NOT NULL DEFAULT 0,
    homogeneous_app_version tinyint NOT NULL DEFAULT 0,
    non_cpu_intensive tinyint NOT NULL DEFAULT 0,
    locality_scheduling int NOT NULL DEFAULT 0,
    n_size_classes smallint NOT NULL DEFAULT 0,
    fraction_done_exact tinyint NOT NULL DEFAULT 0
);

CREATE UNIQUE INDEX IF NOT EXISTS app_name ON app (name);

CREATE TABLE IF NOT EXISTS app_version (
    id integer NOT NULL PRIMARY KEY AUTOINCREMENT,
    create_time int NOT NULL DEFAULT 0,
    appid int NOT NULL DEFAULT 0,
    version_num int NOT NULL DEFAULT 0,
    platformid int NOT NULL DEFAULT 0,
    xml_doc mediumblob CHECK (typeof(xml_doc) IN ('blob', 'null')),
    min_core_version int NOT NULL DEFAULT 0,
    max_core_version int NOT NULL DEFAULT 0,
    deprecated tinyint NOT NULL DEFAULT 0,
    plan_class varchar(128) NOT NULL DEFAULT '',
    pfc_n double NOT NULL DEFAULT 0,
    pfc_avg double NOT NULL DEFAULT 0,
    pfc_scale double NOT NULL DEFAULT 0,
    expavg_credit double NOT NULL DEFAULT 0,
    expavg_time double NOT NULL DEFAULT 0,
    beta tinyint NOT NULL DEFAULT 0
);

CREATE UNIQUE INDEX IF NOT EXISTS apvp ON app_version (appid, platformid, version_num, plan_class);

CREATE TABLE IF NOT EXISTS user (
    id integer NOT NULL PRIMARY KEY AUTOINCREMENT,
    create_time int NOT NULL DEFAULT 0,
    email_addr varchar(191) NOT NULL DEFAULT '',
    name varchar(191),
    authenticator varchar(191),
    country varchar(254),
    postal_code varchar(254),
    total_credit double NOT NULL DEFAULT 0,
    expavg_credit double NOT NULL DEFAULT 0,
    expavg_time double NOT NULL DEFAULT 0,
    global_prefs blob CHECK (typeof(global_prefs) IN ('blob', 'null')),
    project_prefs blob CHECK (typeof(project_prefs) IN ('blob', 'null')),
    teamid int NOT NULL DEFAULT 0,
    venue varchar(254) NOT NULL DEFAULT '',
    url varchar(254),
    send_email smallint NOT NULL DEFAULT 0,
    show_hosts smallint NOT NULL DEFAULT 0,
    posts smallint NOT NULL DEFAULT 0,
    seti_id int NOT NULL DEFAULT 0,
    seti_nresults int NOT NULL DEFAULT 0,
    seti_last_result_time int NOT NULL DEFAULT 0,
    seti_total_cpu double NOT NULL DEFAULT 0,
    signature varchar(254),
    has_profile smallint NOT NULL DEFAULT 0,
    cross_project_id varchar(254) NOT NULL DEFAULT '',
    passwd_hash varchar(254) NOT NULL DEFAULT '',
    email_validated smallint NOT NULL DEFAULT 0,
    donated smallint NOT NULL DEFAULT 0,
    login_token char(32) NOT NULL DEFAULT '',
    login_token_time double NOT NULL DEFAULT 0,
    previous_email_addr varchar(254) NOT NULL DEFAULT '',
    email_addr_change_time double NOT NULL DEFAULT 0
);

CREATE UNIQUE INDEX IF NOT EXISTS authenticator ON user (authenticator);
CREATE UNIQUE INDEX IF NOT EXISTS email_addr ON user (email_addr);
CREATE INDEX IF NOT EXISTS ind_tid ON user (teamid);
CREATE UNIQUE INDEX IF NOT EXISTS user_name ON user (name);
CREATE INDEX IF NOT EXISTS user_avg ON user (expavg_credit);
CREATE INDEX IF NOT EXISTS user_email_time ON user (email_addr_change_time);
CREATE INDEX IF NOT EXISTS user_tot ON user (total_credit);

CREATE TABLE IF NOT EXISTS team (
    id integer NOT NULL PRIMARY KEY AUTOINCREMENT,
    create_time int NOT NULL DEFAULT 0,
    userid int NOT NULL DEFAULT 0,
    name varchar(191) NOT NULL DEFAULT '',
    name_lc varchar(254),
    url varchar(254),
    type int NOT NULL DEFAULT 0,
    name_html varchar(254),
    description text,
    nusers int NOT NULL DEFAULT 0,
    country varchar(254),
    total_credit double NOT NULL DEFAULT 0,
    expavg_credit double NOT NULL DEFAULT 0,
    expavg_time double NOT NULL DEFAULT 0,
    seti_id int NOT NULL DEFAULT 0,
    ping_user int NOT NULL DEFAULT 0,
    ping_time int NOT NULL DEFAULT 0,
    joinable tinyint NOT NULL DEFAULT 1,
    mod_time timestamp DEFAULT CURRENT_TIMESTAMP
);

CREATE UNIQUE INDEX IF NOT EXISTS team_name ON team (name);
CREATE INDEX IF NOT EXISTS team_avg ON team (expavg_credit);
CREATE INDEX IF NOT EXISTS team_name_desc ON team (name, description);
CREATE INDEX IF NOT EXISTS team_tot ON team (total_credit);
CREATE INDEX IF NOT EXISTS team_userid ON team (userid);

CREATE TABLE IF NOT EXISTS host (
    id integer NOT NULL PRIMARY KEY AUTOINCREMENT,
    create_time int NOT NULL DEFAULT 0,
    userid int NOT NULL DEFAULT 0,
    rpc_seqno int NOT NULL DEFAULT 0,
    rpc_time int NOT NULL DEFAULT 0,
    total_credit double NOT NULL DEFAULT 0,
    expavg_credit double NOT NULL DEFAULT 0,
    expavg_time double NOT NULL DEFAULT 0,
    timezone int NOT NULL DEFAULT 0,
    domain_name varchar(254),
    serialnum varchar(254),
    last_ip_addr varchar(254),
    nsame_ip_addr int NOT NULL DEFAULT 0,
    on_frac double NOT NULL DEFAULT 0,
    connected_frac double NOT NULL DEFAULT 0,
    active_frac double NOT NULL DEFAULT 0,
    cpu_efficiency double NOT NULL DEFAULT 0,
    duration_correction_factor double NOT NULL DEFAULT 0,
    p_ncpus int NOT NULL DEFAULT 0,
    p_vendor varchar(254),
    p_model varchar(254),
    p_fpops double NOT NULL DEFAULT 0,
    p_iops double NOT NULL DEFAULT 0,
    p_membw double NOT NULL DEFAULT 0,
    os_name varchar(254),
    os_version varchar(254),
    m_nbytes double NOT NULL DEFAULT 0,
    m_cache double NOT NULL DEFAULT 0,
    m_swap double NOT NULL DEFAULT 0,
    d_total double NOT NULL DEFAULT 0,
    d_free double NOT NULL DEFAULT 0,
    d_boinc_used_total double NOT NULL DEFAULT 0,
    d_boinc_used_project double NOT NULL DEFAULT 0,
    d_boinc_max double NOT NULL DEFAULT 0,
    n_bwup double NOT NULL DEFAULT 0,
    n_bwdown double NOT NULL DEFAULT 0,
    credit_per_cpu_sec double NOT NULL DEFAULT 0,
    venue varchar(254) NOT NULL DEFAULT '',
    nresults_today int NOT NULL DEFAULT 0,
    avg_turnaround double NOT NULL DEFAULT 0,
    host_cpid varchar(254),
    external_ip_addr varchar(254),
    max_results_day int NOT NULL DEFAULT 0,
    error_rate double NOT NULL DEFAULT 0,
    product_name varchar(254) NOT NULL DEFAULT '',
    gpu_active_frac double NOT NULL DEFAULT 0,
    p_ngpus int NOT NULL DEFAULT 0,
    p_gpu_fpops double NOT NULL DEFAULT 0,
    misc text NOT NULL DEFAULT ''
);

CREATE INDEX IF NOT EXISTS host_avg ON host (expavg_credit);
CREATE INDEX IF NOT EXISTS host_domain_name ON host (domain_name);
CREATE INDEX IF NOT EXISTS host_tot ON host (total_credit);
CREATE INDEX IF NOT EXISTS host_userid_cpid ON host (userid, host_cpid);

CREATE TABLE IF NOT EXISTS host_app_version (
    host_id int NOT NULL DEFAULT 0,
    app_version_id int NOT NULL DEFAULT 0,
    pfc_n double NOT NULL DEFAULT 0,
    pfc_avg double NOT NULL DEFAULT 0,
    et_n double NOT NULL DEFAULT 0,
    et_avg double NOT NULL DEFAULT 0,
    et_var double NOT NULL DEFAULT 0,
    et_q double NOT NULL DEFAULT 0,
    max_jobs_per_day int NOT NULL DEFAULT 0,
    n_jobs_today int NOT NULL DEFAULT 0,
    turnaround_n double NOT NULL DEFAULT 0,
    turnaround_avg double NOT NULL DEFAULT 0,
    turnaround_var double NOT NULL DEFAULT 0,
    turnaround_q double NOT NULL DEFAULT 0,
    consecutive_valid int NOT NULL DEFAULT 0
);

CREATE UNIQUE INDEX IF NOT EXISTS hap ON host_app_version (host_id, app_version_id);

CREATE TABLE IF NOT EXISTS workunit (
    id integer NOT NULL PRIMARY KEY AUTOINCREMENT,
    create_time int NOT NULL DEFAULT 0,
    appid int NOT NULL DEFAULT 0,
    name varchar(191) NOT NULL DEFAULT '',
    xml_doc blob CHECK (typeof(xml_doc) IN ('blob', 'null')),
    batch int NOT NULL DEFAULT 0,
    rsc_fpops_est double NOT NULL DEFAULT 0,
    rsc_fpops_bound double NOT NULL DEFAULT 0,
    rsc_memory_bound double NOT NULL DEFAULT 0,
    rsc_disk_bound double NOT NULL DEFAULT 0,
    need_validate smallint NOT NULL DEFAULT 0,
    canonical_resultid int NOT NULL DEFAULT 0,
    canonical_credit double NOT NULL DEFAULT 0,
    transition_time int NOT NULL DEFAULT 0,
    delay_bound int NOT NULL DEFAULT 0,
    error_mask int NOT NULL DEFAULT 0,
    file_delete_state int NOT NULL DEFAULT 0,
    assimilate_state int NOT NULL DEFAULT 0,
    hr_class int NOT NULL DEFAULT 0,
    opaque double NOT NULL DEFAULT 0,
    min_quorum int NOT NULL DEFAULT 0,
    target_nresults int NOT NULL DEFAULT 0,
    max_error_results int NOT NULL DEFAULT 0,
    max_total_results int NOT NULL DEFAULT 0,
    max_success_results int NOT NULL DEFAULT 0,
    result_template_file varchar(63) NOT NULL DEFAULT '',
    priority int NOT NULL DEFAULT 0,
    mod_time timestamp DEFAULT CURRENT_TIMESTAMP,
    rsc_bandwidth_bound double NOT NULL DEFAULT 0,
    fileset_id int NOT NULL DEFAULT 0,
    app_version_id int NOT NULL DEFAULT 0,
    transitioner_flags tinyint NOT NULL DEFAULT 0,
    size_class smallint NOT NULL DEFAULT -1,
    keywords varchar(254) NOT NULL DEFAULT '',
    app_version_num int NOT NULL DEFAULT 0
);

CREATE UNIQUE INDEX IF NOT EXISTS workunit_name ON workunit (name);
CREATE INDEX IF NOT EXISTS wu_assim ON workunit (appid, assimilate_state);
CREATE INDEX IF NOT EXISTS wu_batch ON workunit (batch);
CREATE INDEX IF NOT EXISTS wu_filedel ON workunit (file_delete_state);
CREATE INDEX IF NOT EXISTS wu_timeout ON workunit (transition_time);
CREATE INDEX IF NOT EXISTS wu_val ON workunit (appid, need_validate);

CREATE TABLE IF NOT EXISTS result (
    id integer NOT NULL PRIMARY KEY AUTOINCREMENT,
    create_time int NOT NULL DEFAULT 0,
    workunitid int NOT NULL DEFAULT 0,
    server_state int NOT NULL DEFAULT 0,
    outcome int NOT NULL DEFAULT 0,
    client_state int NOT NULL DEFAULT 0,
    hostid int NOT NULL DEFAULT 0,
    userid int NOT NULL DEFAULT 0,
    report_deadline int NOT NULL DEFAULT 0,
    sent_time int NOT NULL DEFAULT 0,
    received_time int NOT NULL DEFAULT 0,
    name varchar(191) NOT NULL DEFAULT '',
    cpu_time double NOT NULL DEFAULT 0,
    xml_doc_in blob CHECK (typeof(xml_doc_in) IN ('blob', 'null')),
    xml_doc_out blob CHECK (typeof(xml_doc_out) IN ('blob', 'null')),
    stderr_out blob CHECK (typeof(stderr_out) IN ('blob', 'null')),
    batch int NOT NULL DEFAULT 0,
    file_delete_state int NOT NULL DEFAULT 0,
    validate_state int NOT NULL DEFAULT 0,
    claimed_credit double NOT NULL DEFAULT 0,
    granted_credit double NOT NULL DEFAULT 0,
    opaque double NOT NULL DEFAULT 0,
    random int NOT NULL DEFAULT 0,
    app_version_num int NOT NULL DEFAULT 0,
    appid int NOT NULL DEFAULT 0,
    exit_status int NOT NULL DEFAULT 0,
    teamid int NOT NULL DEFAULT 0,
    priority int NOT NULL DEFAULT 0,
    mod_time timestamp DEFAULT CURRENT_TIMESTAMP,
    elapsed_time double NOT NULL DEFAULT 0,
    flops_estimate double NOT NULL DEFAULT 0,
    app_version_id int NOT NULL DEFAULT 0,
    runtime_outlier tinyint NOT NULL DEFAULT 0,
    size_class smallint NOT NULL DEFAULT -1,
    peak_working_set_size double NOT NULL DEFAULT 0,
    peak_swap_size double NOT NULL DEFAULT 0,
    peak_disk_usage double NOT NULL DEFAULT 0
);

CREATE INDEX IF NOT EXISTS ind_res_st ON result (server_state, priority);
CREATE UNIQUE INDEX IF NOT EXISTS result_name ON result (name);
CREATE INDEX IF NOT EXISTS res_app_state ON result (appid, server_state);
CREATE INDEX IF NOT EXISTS res_batch ON result (batch);
CREATE INDEX IF NOT EXISTS res_filedel ON result (file_delete_state);
CREATE INDEX IF NOT EXISTS res_hostid_id ON result (hostid, id);
CREATE INDEX IF NOT EXISTS res_userid_id ON result (userid, id);
CREATE INDEX IF NOT EXISTS res_userid_val ON result (userid, validate_state);
CREATE INDEX IF NOT EXISTS res_wuid ON result (workunitid);

CREATE TABLE IF NOT EXISTS batch (
    id integer NOT NULL PRIMARY KEY AUTOINCREMENT,
    user_id int NOT NULL DEFAULT 0,
    create_time int NOT NULL DEFAULT 0,
    logical_start_time double NOT NULL DEFAULT 0,
    logical_end_time double NOT NULL DEFAULT 0,
    est_completion_time double NOT NULL DEFAULT 0,
    njobs int NOT NULL DEFAULT 0,
    fraction_done double NOT NULL DEFAULT 0,
    nerror_jobs int NOT NULL DEFAULT 0,
    state int NOT NULL DEFAULT 0,
    completion_time double NOT NULL DEFAULT 0,
    credit_estimate double NOT NULL DEFAULT 0,
    credit_canonical double NOT NULL DEFAULT 0,
    credit_total double NOT NULL DEFAULT 0,
    name varchar(255) NOT NULL DEFAULT '',
    app_id int NOT NULL DEFAULT 0,
    project_state int NOT NULL DEFAULT 0,
    description varchar(255) NOT NULL DEFAULT '',
    expire_time double NOT NULL DEFAULT 0
);

CREATE TABLE IF NOT EXISTS user_submit (
    user_id int NOT NULL DEFAULT 0 PRIMARY KEY,
    quota double NOT NULL DEFAULT 0,
    logical_start_time double NOT NULL DEFAULT 0,
    submit_all tinyint NOT NULL DEFAULT 0,
    manage_all tinyint NOT NULL DEFAULT 0,
    max_jobs_in_progress int NOT NULL DEFAULT 0
);

CREATE TABLE IF NOT EXISTS user_submit_app (
    user_id int NOT NULL DEFAULT 0,
    app_id int NOT NULL DEFAULT 0,
    manage tinyint NOT NULL DEFAULT 0,
    PRIMARY KEY (user_id, app_id)
);
