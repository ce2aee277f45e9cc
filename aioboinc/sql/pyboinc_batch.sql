-- create_table [sqlite]: what aioboinc knows of a batch beside BOINC's own row
CREATE TABLE IF NOT EXISTS pyboinc_batch (
    id integer NOT NULL PRIMARY KEY,
    appid int NOT NULL,
    token char(32) NOT NULL UNIQUE,
    directory text NOT NULL,
    njobs int NOT NULL,
    digest char(64) NOT NULL,
    state int NOT NULL,
    nassimilated int NOT NULL,
    nerrors int NOT NULL,
    create_time int NOT NULL,
    version int NOT NULL
);

-- create_table [mysql]: what aioboinc knows of a batch beside BOINC's own row
CREATE TABLE IF NOT EXISTS pyboinc_batch (
    id bigint NOT NULL PRIMARY KEY,
    appid int NOT NULL,
    token char(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL UNIQUE,
    directory text CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    njobs int NOT NULL,
    digest char(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    state int NOT NULL,
    nassimilated int NOT NULL,
    nerrors int NOT NULL,
    create_time int NOT NULL,
    version int NOT NULL
) ENGINE = InnoDB;

-- create_calls [sqlite]: the keys of a batch's calls, by the chunks in which they were committed
CREATE TABLE IF NOT EXISTS pyboinc_calls (
    batch integer NOT NULL,
    first int NOT NULL,
    call_keys blob NOT NULL,
    kinds text NOT NULL,
    PRIMARY KEY (batch, first)
);

-- create_calls [mysql]: the keys of a batch's calls, by the chunks in which they were committed
CREATE TABLE IF NOT EXISTS pyboinc_calls (
    batch bigint NOT NULL,
    first int NOT NULL,
    call_keys mediumblob NOT NULL,
    kinds mediumtext CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    PRIMARY KEY (batch, first)
) ENGINE = InnoDB;
