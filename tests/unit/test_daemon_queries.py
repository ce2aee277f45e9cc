"""The daemons' queries go straight to their rows: a job costs the same in a batch of ten and of a million."""

import re
import sqlite3

import pytest

from aioboinc import sql

NOUNS = ("transitions", "validations", "assimilations", "deletions")
LISTS = {"ids", "workunits", "held", "batches", "canonical"}
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


def queries(dialect):
    return [(noun, name, query) for noun in NOUNS for name, query in sql.load(noun, dialect).items()]


@pytest.fixture(scope="module")
def database():
    connection = sqlite3.connect(":memory:")
    for statement in sql.schema("sqlite"):
        connection.execute(statement)
    yield connection
    connection.close()


@pytest.mark.parametrize(("noun", "name", "query"), queries("sqlite"))
def test_sqlite(database, noun, name, query):
    query = re.sub(r"IN \(:(\w+)\)", r"IN (SELECT value FROM json_each(:\1))", query)
    names = re.findall(r":(\w+)", query)
    parameters = {parameter: "[1]" if parameter in LISTS else 1 for parameter in names}
    steps = [row[3] for row in database.execute(f"EXPLAIN QUERY PLAN {query}", parameters)]
    tables = [step for step in steps if re.match(r"(SCAN|SEARCH) (?!json_each)", step)]
    assert tables
    for step in tables:
        assert (PAGES if "limit" in names and step == tables[0] else DIRECT).fullmatch(step), step


@pytest.mark.parametrize(("noun", "name", "query"), queries("mysql"))
def test_mysql(noun, name, query):
    """Its optimizer goes by statistics, which are wrong just after many rows have changed: it gets hints."""
    names = re.findall(r":(\w+)", query)
    if "limit" in names or "workunits" in names:
        assert "FORCE INDEX" in query
