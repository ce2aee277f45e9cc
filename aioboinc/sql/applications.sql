-- find: an application by its name, also one that is no longer used
SELECT id, deprecated, homogeneous_redundancy FROM app WHERE name = :name

-- names: all applications
SELECT name FROM app

-- add: an application, as bin/xadd adds it
INSERT INTO app (create_time, name, user_friendly_name) VALUES (:now, :name, :friendly_name)

-- set_deprecated: take an application out of use, or back into it
UPDATE app SET deprecated = :deprecated WHERE id = :appid

-- set_homogeneous_redundancy: which hosts count as equivalent
UPDATE app SET homogeneous_redundancy = :level WHERE id = :appid

-- platforms: all platforms
SELECT id, name FROM platform

-- add_platform: a platform, as bin/xadd adds it
INSERT INTO platform (create_time, name, user_friendly_name) VALUES (:now, :name, :friendly_name)

-- remove_platform: a platform that no version of an application is for
DELETE FROM platform WHERE name = :name
    AND NOT EXISTS (SELECT 1 FROM app_version v WHERE v.platformid = platform.id)

-- versions: the versions of an application for all platforms
SELECT v.id, v.version_num, v.deprecated, v.xml_doc, p.name AS platform
FROM app_version v JOIN platform p ON p.id = v.platformid
WHERE v.appid = :appid AND v.plan_class = '' ORDER BY v.version_num, v.id

-- known_versions: the versions of all applications, as bin/update_versions tells them apart
SELECT a.name AS app, v.version_num, p.name AS platform, v.plan_class
FROM app_version v JOIN app a ON a.id = v.appid JOIN platform p ON p.id = v.platformid

-- add_version: a version of an application, as bin/update_versions adds it
INSERT INTO app_version (create_time, appid, version_num, platformid, xml_doc, plan_class, beta)
VALUES (:now, :appid, :version_num, :platformid, :xml_doc, '', 0)

-- remove_version: a version that should not be there
DELETE FROM app_version WHERE id = :id

-- deprecate_versions: hosts get no version of an application any more
UPDATE app_version SET deprecated = 1 WHERE appid = :appid AND deprecated = 0

-- user: an account by its e-mail address
SELECT id, name, email_addr FROM user WHERE email_addr = :email

-- first_user: the oldest account
SELECT id, name, email_addr FROM user ORDER BY id LIMIT 1

-- submitters: who may submit to an application
SELECT u.id, u.name, u.email_addr FROM user_submit_app s JOIN user u ON u.id = s.user_id
WHERE s.app_id = :appid ORDER BY [user_submit_app.manage? s.manage,] u.id

-- permit: an account may submit to an application
INSERT INTO user_submit_app (user_id, app_id, manage) VALUES (:user, :appid, 0)

-- permitted: whether an account may submit to an application
SELECT user_id FROM user_submit_app WHERE user_id = :user AND app_id = :appid

-- forbid_others: an account is the only one that may submit to an application, beside those that manage it
DELETE FROM user_submit_app WHERE app_id = :appid AND user_id <> :user[user_submit_app.manage? AND manage = 0]

-- forbid: nobody may submit to an application
DELETE FROM user_submit_app WHERE app_id = :appid

-- submitter: whether the web pages show an account its batches
SELECT user_id FROM user_submit WHERE user_id = :user

-- make_submitter: as bin/manage_privileges does it
INSERT INTO user_submit (user_id, quota, logical_start_time, submit_all, manage_all, max_jobs_in_progress)
VALUES (:user, 0, 0, 0, 0, 0)

-- unmake_submitter: of an account that has no permission and no quota
DELETE FROM user_submit WHERE user_id = :user AND quota = 0 AND logical_start_time = 0
    [user_submit.submit_all? AND submit_all = 0] [user_submit.manage_all? AND manage_all = 0]
    [user_submit.max_jobs_in_progress? AND max_jobs_in_progress = 0]
    AND NOT EXISTS (SELECT 1 FROM user_submit_app s WHERE s.user_id = :user)

-- unfinished_batches: those whose master is not through
SELECT id, token, directory, njobs, nassimilated FROM pyboinc_batch
WHERE appid = :appid AND (state = :open OR nassimilated < njobs) ORDER BY id

-- jobs: how many workunits an application has
SELECT COUNT(*) AS n FROM workunit WHERE appid = :appid

-- hosts: how many hosts have got a version of an application
SELECT COUNT(DISTINCT h.host_id) AS n FROM app_version v JOIN host_app_version h ON h.app_version_id = v.id
WHERE v.appid = :appid

-- remove_versions: all versions of an application
DELETE FROM app_version WHERE appid = :appid

-- remove_batches: BOINC's rows of an application's batches
DELETE FROM batch WHERE app_id = :appid

-- remove: an application
DELETE FROM app WHERE id = :appid
