-- count_unsent: how many results no host has, up to a limit
SELECT COUNT(*) AS n FROM (SELECT 1 FROM result WHERE server_state = :unsent LIMIT :limit) u

-- top_priority: the highest priority of an unsent result below another one
SELECT MAX(priority) AS priority FROM result WHERE server_state = :unsent AND priority < :below

-- page_end: where a page of the unsent results of a priority ends
SELECT MAX(id) AS id FROM (
    SELECT id FROM result WHERE server_state = :unsent AND priority = :priority AND id > :after ORDER BY id LIMIT :page
) p

-- eligible: unsent results of a page that a host may get: none of a workunit of which it has another one, or had one
-- that did not fail; and of one that failed only if no other host calls that could take it, or none has for a while;
-- with what the host needs of them: few are passed by
SELECT r.id, r.name, r.workunitid, r.batch, r.xml_doc_in, w.name AS workunit_name, w.xml_doc, w.rsc_fpops_est,
    w.rsc_fpops_bound, w.rsc_memory_bound, w.rsc_disk_bound, w.delay_bound
FROM result r JOIN workunit w ON w.id = r.workunitid
WHERE r.server_state = :unsent AND r.priority = :priority AND r.id > :after AND r.id <= :end
    AND w.error_mask = 0 AND w.canonical_resultid = 0
    AND w.rsc_memory_bound <= :memory AND w.rsc_disk_bound <= :disk
    AND NOT EXISTS (
        SELECT 1 FROM result o
        WHERE o.workunitid = r.workunitid AND (o.hostid = :hostid OR o.userid = :userid)
            AND (o.server_state = :in_progress OR o.outcome IN (:counted)
                OR CASE WHEN o.received_time = 0 THEN o.report_deadline ELSE o.received_time END > :lately
                AND :active_hosts > (
                    SELECT COUNT(DISTINCT d.hostid) FROM result d WHERE d.workunitid = r.workunitid AND d.hostid <> 0
                ))
    )
ORDER BY r.id LIMIT :limit

-- send: results that go to a host; the plus signs here and above keep SQLite off the indexes of all that is unsent
UPDATE result SET server_state = :in_progress, hostid = :hostid, userid = :userid, sent_time = :now,
    report_deadline = :deadline, app_version_id = :app_version_id, flops_estimate = :flops
WHERE id IN (:ids) AND +server_state = :unsent

-- expect: the transitioner looks at workunits when a result of them is due, at the latest
UPDATE workunit SET transition_time = :deadline WHERE id IN (:ids) AND transition_time > :deadline

-- in_progress: all results that hosts have
SELECT hostid, name FROM result WHERE server_state = :in_progress

-- known: what has become of results that a host says it has
SELECT r.name, r.server_state, r.outcome, w.error_mask, w.assimilate_state
FROM result r JOIN workunit w ON w.id = r.workunitid
WHERE r.name IN (:names) AND +r.hostid = :hostid

-- lost: results that a host should have, with what it takes to send them again
SELECT r.id, r.name, r.workunitid, r.batch, r.sent_time, r.report_deadline, r.xml_doc_in, w.name AS workunit_name,
    w.xml_doc, w.rsc_fpops_est, w.rsc_fpops_bound, w.rsc_memory_bound, w.rsc_disk_bound, w.delay_bound, w.error_mask,
    w.canonical_resultid
FROM result r JOIN workunit w ON w.id = r.workunitid
WHERE r.name IN (:names) AND +r.hostid = :hostid AND +r.server_state = :in_progress
ORDER BY r.id

-- renew: a result that is sent again has more time, or ends now
UPDATE result SET sent_time = :sent_time, report_deadline = :report_deadline
WHERE id = :id AND server_state = :in_progress

-- take_back: results that a host had and no longer has
UPDATE result SET server_state = :unsent, hostid = 0, userid = 0, sent_time = 0, report_deadline = 0
WHERE name IN (:names) AND +hostid = :hostid AND +server_state = :in_progress

-- take_back_all: results of hosts that are gone
UPDATE result SET server_state = :unsent, hostid = 0, userid = 0, sent_time = 0, report_deadline = 0
WHERE server_state = :in_progress
    AND hostid IN (SELECT id FROM host WHERE userid = :userid AND host_cpid LIKE :cpid_prefix)
