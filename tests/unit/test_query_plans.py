"""Queries go straight to their rows: a job costs the same in a batch of ten and of a million."""

import re
import sqlite3

import pytest

from aioboinc import sql

DAEMONS = ("transitions", "validations", "assimilations", "deletions")
SCHEDULER = ("clients", "dispatch", "recipients", "reports")
LISTS = {"ids", "unsent", "workunits", "held", "batches", "canonical", "names", "counted"}
DIRECT = re.compile(
    r"SEARCH \w+ USING (INTEGER PRIMARY KEY \(rowid=\?\)"
    r"|INDEX \w+ \(file_delete_state=\? AND rowid=\?\)"
    r"|INDEX res_wuid \(workunitid=\?\)"
    r"|INDEX hap \(host_id=\? AND app_version_id=\?\))( LEFT-JOIN)?"
)
PAGES = re.compile(
    r"SEARCH \w+ USING INDEX (wu_timeout \(transition_time<\?\)"
    r"|wu_(val|assim) \(appid=\? AND \w+=\? AND rowid>\?\)"
    r"|(wu|res)_filedel \(file_delete_state=\? AND rowid>\?\))"
)


CALLS = re.compile(
    r"SEARCH pyboinc_calls USING (INDEX sqlite_autoindex_pyboinc_calls_1 \(batch=\? AND first[=>]\?\))"
    r"|SEARCH pyboinc_batch USING INTEGER PRIMARY KEY \(rowid=\?\)"
    r"|SEARCH (workunit|w) USING INDEX \w+ \(name=\?\)"
    r"|SEARCH workunit USING INTEGER PRIMARY KEY \(rowid=\?\)"
    r"|SEARCH result USING INDEX res_wuid \(workunitid=\?\)"
    r"|SEARCH r USING INTEGER PRIMARY KEY \(rowid=\?\)"
)
JOB = re.compile(
    r"SEARCH w USING INDEX workunit_name \(name=\?\)|SEARCH r USING INDEX res_wuid \(workunitid=\?\) LEFT-JOIN"
)
UNBOUND = {
    "in_progress": "at the start",
    "active_hosts": "once a minute",
    "held": "all that a host has had",
    "detach": "all that a host has had",
    "durations": "the first of a batch, once",
    "take_back_all": "at the start",
    "count_unsent": "up to a limit",
}
"""The scheduler's queries that look at more rows than they are about, and how often, or how many."""
BOUND = re.compile(
    r"SEARCH \w+ USING (INTEGER PRIMARY KEY \(rowid=\?\)"
    r"|(COVERING )?INDEX ind_res_st \(server_state=\? AND priority(=\? AND rowid>\?( AND rowid<\?)?|<\?)\)"
    r"|(COVERING )?INDEX (authenticator|email_addr|user_name|result_name|res_wuid|hap|host_userid_cpid"
    r"|host_domain_name) \(.*\))"
)


def queries(dialect, nouns):
    return [(noun, name, query) for noun in nouns for name, query in sql.load(noun, dialect).items()]


@pytest.fixture(scope="module")
def database():
    connection = sqlite3.connect(":memory:")
    for statement in sql.schema("sqlite", whole=True):
        connection.execute(statement)
    yield connection
    connection.close()


def plan(database, query):
    """Return the steps of SQLite's plan that look at tables."""
    query = re.sub(r"IN \(:(\w+)\)", r"IN (SELECT value FROM json_each(:\1))", query)
    names = re.findall(r":(\w+)", query)
    parameters = {parameter: "[1]" if parameter in LISTS else 1 for parameter in names}
    steps = [row[3] for row in database.execute(f"EXPLAIN QUERY PLAN {query}", parameters)]
    return [step for step in steps if re.match(r"(SCAN|SEARCH) (?!json_each)", step)]


@pytest.mark.parametrize(("noun", "name", "query"), queries("sqlite", SCHEDULER))
def test_the_scheduler_on_sqlite(database, noun, name, query):
    if name not in UNBOUND:
        for step in plan(database, query):
            assert BOUND.fullmatch(step) or step == "SEARCH p", step


@pytest.mark.parametrize(("noun", "name", "query"), queries("sqlite", DAEMONS))
def test_the_daemons_on_sqlite(database, noun, name, query):
    tables = plan(database, query)
    assert tables
    for step in tables:
        assert (PAGES if ":limit" in query and step == tables[0] else DIRECT).fullmatch(step), step


@pytest.mark.parametrize(("noun", "name", "query"), queries("sqlite", ["calls"]))
def test_calls_on_sqlite(database, noun, name, query):
    for step in plan(database, query):
        assert CALLS.fullmatch(step), step


@pytest.mark.parametrize(("noun", "name", "query"), queries("sqlite", ["executions"]))
def test_one_job_on_sqlite(database, noun, name, query):
    steps = plan(database, query)
    assert len(steps) == 2
    for step in steps:
        assert JOB.fullmatch(step), step


@pytest.mark.parametrize(("noun", "name", "query"), queries("mysql", DAEMONS))
def test_the_daemons_on_mysql(noun, name, query):
    """Its optimizer goes by statistics, which are wrong just after many rows have changed: it gets hints."""
    names = re.findall(r":(\w+)", query)
    if "limit" in names or "workunits" in names:
        assert "FORCE INDEX" in query
