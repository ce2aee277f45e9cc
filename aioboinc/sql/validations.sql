-- pending [mysql]: workunits that wait for the validator, in the order of their IDs
SELECT id, name, xml_doc, min_quorum, target_nresults, max_success_results, canonical_resultid, canonical_credit,
    assimilate_state, rsc_fpops_bound
FROM workunit FORCE INDEX (wu_val)
WHERE appid = :appid AND need_validate = 1 AND id > :after AND id % :modulus = :remainder
ORDER BY id LIMIT :limit

-- pending [sqlite]: workunits that wait for the validator, in the order of their IDs
SELECT id, name, xml_doc, min_quorum, target_nresults, max_success_results, canonical_resultid, canonical_credit,
    assimilate_state, rsc_fpops_bound
FROM workunit INDEXED BY wu_val
WHERE appid = :appid AND need_validate = 1 AND id > :after AND id % :modulus = :remainder
ORDER BY id LIMIT :limit

-- successes [mysql]: the successful results of some workunits
SELECT id, workunitid, name, validate_state, file_delete_state, xml_doc_in, hostid, sent_time, received_time, xml_doc_out,
    [result.app_version_id? app_version_id | 0 AS app_version_id],
    [result.elapsed_time? elapsed_time | cpu_time AS elapsed_time],
    [result.flops_estimate? flops_estimate | 0 AS flops_estimate]
FROM result FORCE INDEX (res_wuid)
WHERE workunitid IN (:workunits) AND server_state = :over AND outcome = :success
ORDER BY id

-- successes [sqlite]: the successful results of some workunits
SELECT id, workunitid, name, validate_state, file_delete_state, xml_doc_in, hostid, sent_time, received_time, xml_doc_out,
    [result.app_version_id? app_version_id | 0 AS app_version_id],
    [result.elapsed_time? elapsed_time | cpu_time AS elapsed_time],
    [result.flops_estimate? flops_estimate | 0 AS flops_estimate]
FROM result INDEXED BY res_wuid
WHERE workunitid IN (:workunits) AND server_state = :over AND outcome = :success
ORDER BY id

-- claim_new [mysql]: how many of some workunits still wait, and have come to nothing yet; locked until the end
SELECT COUNT(*) AS n FROM workunit
WHERE id IN (:ids) AND need_validate = 1 AND canonical_resultid = 0 AND assimilate_state = :init FOR UPDATE

-- claim_new [sqlite]: how many of some workunits still wait, and have come to nothing yet
SELECT COUNT(*) AS n FROM workunit
WHERE id IN (:ids) AND need_validate = 1 AND canonical_resultid = 0 AND assimilate_state = :init

-- claim [mysql]: those of some workunits that still wait, locked until the end of the transaction
SELECT id, canonical_resultid, assimilate_state FROM workunit
WHERE id IN (:ids) AND need_validate = 1 ORDER BY id FOR UPDATE

-- claim [sqlite]: those of some workunits that still wait
SELECT id, canonical_resultid, assimilate_state FROM workunit WHERE id IN (:ids) AND need_validate = 1

-- judge: results that get the same verdict
UPDATE result SET outcome = :outcome, validate_state = :validate_state WHERE id IN (:ids) AND outcome = :success

-- grant [mysql]: credit for results
UPDATE result SET granted_credit = ELT(FIELD(id, :ids), :credits) WHERE id IN (:ids)

-- grant [sqlite]: credit for one result
UPDATE result SET granted_credit = :credit WHERE id = :id

-- dont_need [mysql]: results that no host needs to compute any more
UPDATE result FORCE INDEX (res_wuid) SET server_state = :over, outcome = :didnt_need
WHERE workunitid IN (:workunits) AND server_state = :unsent

-- dont_need [sqlite]: results that no host needs to compute any more
UPDATE result INDEXED BY res_wuid SET server_state = :over, outcome = :didnt_need
WHERE workunitid IN (:workunits) AND server_state = :unsent

-- decided [mysql]: workunits that have a canonical result now
UPDATE workunit w JOIN result r ON r.workunitid = w.id
SET w.need_validate = 0, w.canonical_resultid = r.id, w.canonical_credit = r.granted_credit,
    w.assimilate_state = :ready, w.transition_time = :never
WHERE r.id IN (:canonical) AND w.canonical_resultid = 0 AND w.assimilate_state = :init

-- decided [sqlite]: workunits that have a canonical result now
UPDATE workunit SET need_validate = 0, canonical_resultid = r.id, canonical_credit = r.granted_credit,
    assimilate_state = :ready, transition_time = :never
FROM result r
WHERE r.workunitid = workunit.id AND r.id IN (:canonical) AND workunit.canonical_resultid = 0
    AND workunit.assimilate_state = :init

-- undecided: workunits that need more results, or the transitioner's attention
UPDATE workunit SET need_validate = 0, error_mask = error_mask | :error_mask, transition_time = :now,
    target_nresults = CASE WHEN target_nresults < :target_nresults THEN :target_nresults ELSE target_nresults END
WHERE id IN (:ids)

-- postpone: workunits that could not be looked at now
UPDATE workunit SET need_validate = 0,
    transition_time = CASE WHEN transition_time > :later THEN :later ELSE transition_time END
WHERE id IN (:ids)

-- hosts [mysql]: averages of some hosts, locked until the end of the transaction
SELECT id, userid, expavg_credit, expavg_time, avg_turnaround FROM host WHERE id IN (:ids) ORDER BY id FOR UPDATE

-- hosts [sqlite]: averages of some hosts
SELECT id, userid, expavg_credit, expavg_time, avg_turnaround FROM host WHERE id IN (:ids)

-- change_host: a host's averages
UPDATE host SET total_credit = total_credit + :credit, expavg_credit = :expavg_credit, expavg_time = :expavg_time,
    avg_turnaround = :avg_turnaround
WHERE id = :id

-- users [mysql]: averages of some users, locked until the end of the transaction
SELECT id, teamid, expavg_credit, expavg_time FROM user WHERE id IN (:ids) ORDER BY id FOR UPDATE

-- users [sqlite]: averages of some users
SELECT id, teamid, expavg_credit, expavg_time FROM user WHERE id IN (:ids)

-- change_user: a user's averages
UPDATE user SET total_credit = total_credit + :credit, expavg_credit = :expavg_credit, expavg_time = :expavg_time
WHERE id = :id

-- teams [mysql]: averages of some teams, locked until the end of the transaction
SELECT id, expavg_credit, expavg_time FROM team WHERE id IN (:ids) ORDER BY id FOR UPDATE

-- teams [sqlite]: averages of some teams
SELECT id, expavg_credit, expavg_time FROM team WHERE id IN (:ids)

-- change_team: a team's averages
UPDATE team SET total_credit = total_credit + :credit, expavg_credit = :expavg_credit, expavg_time = :expavg_time
WHERE id = :id

-- change_quota [mysql]: the same, where the quota of a day falls with each that is not valid, and rises again
UPDATE host_app_version
SET consecutive_valid = CASE WHEN :ninvalid > 0 THEN 0 ELSE consecutive_valid + :nvalid END,
    max_jobs_per_day = LEAST(:factor * GREATEST(1, LEAST(
        CASE max_jobs_per_day WHEN 0 THEN :quota ELSE max_jobs_per_day END, :quota) DIV :divisor), :quota)
WHERE host_id = :hostid AND app_version_id = :app_version_id

-- change_quota [sqlite]: the same, where the quota of a day falls with each that is not valid, and rises again
UPDATE host_app_version
SET consecutive_valid = CASE WHEN :ninvalid > 0 THEN 0 ELSE consecutive_valid + :nvalid END,
    max_jobs_per_day = MIN(:factor * MAX(1, MIN(
        CASE max_jobs_per_day WHEN 0 THEN :quota ELSE max_jobs_per_day END, :quota) / :divisor), :quota)
WHERE host_id = :hostid AND app_version_id = :app_version_id

-- change_version: how a host has done with an app version
UPDATE host_app_version
SET consecutive_valid = CASE WHEN :ninvalid > 0 THEN 0 ELSE consecutive_valid + :nvalid END,
    max_jobs_per_day = max_jobs_per_day + :nvalid
WHERE host_id = :hostid AND app_version_id = :app_version_id
