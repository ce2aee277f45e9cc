"""Databases of older BOINC projects, which lack columns that BOINC has added since."""

from __future__ import annotations

import re

import pytest

from aioboinc import connectors, errors, models, sql
from aioboinc.batch import preflight
from aioboinc.passes import validation
from aioboinc.sql import fitting
from aioboinc.store import applications, schema
from database import mariadb as mariadb_module
from database.daemon_world import World

pytestmark = pytest.mark.mariadb

_CREDIT = {"hosts": True, "credit": validation.Credit.RUN_TIME}


def without(*columns):
    """Return the statements that drop *columns*, each ``table.column``."""
    return "".join(
        f"ALTER TABLE {table} DROP COLUMN {column};\n" for table, column in (name.split(".") for name in columns)
    )


def everything_newer():
    """Return all columns that may be missing."""
    script = mariadb_module.BOINC_SCHEMA.read_text()
    for table, body in re.findall(r"CREATE TABLE (\w+) \((.*?)\n\) ENGINE", script, re.DOTALL):
        for column in re.findall(r"^    ([a-z_]+) ", body, re.MULTILINE):
            if column not in schema.NEEDED.get(table, {column}):
                yield f"{table}.{column}"


async def connect(server, changes):
    url = server.url(server.new_database(mariadb_module.BOINC_SCHEMA.read_text() + changes))
    connector = connectors.open(url)
    await connector.__aenter__()
    await connector.script(sql.schema(connector.dialect))
    return connector


@pytest.fixture
async def old(mariadb):
    """A database with what is needed and nothing else."""
    dropped = [*everything_newer(), *(f"user_submit.{name}" for name in ("submit_all", "manage_all"))]
    connector = await connect(mariadb, without(*dropped, "user_submit.max_jobs_in_progress"))
    yield connector
    await connector.__aexit__(None, None, None)


async def test_all_passes_work_without_what_is_not_needed(old, tmp_path):
    assert not await schema.Schema(old).missing()
    world = World(old, tmp_path / "project")
    await world.set_up()
    batch = (await world.batch(tmp_path / "batch")).id
    await world.submit(batch, 3, quorum=2, last=False)
    await world.submit(batch, 1, first=3, made=False)
    await world.settle(**_CREDIT)
    for number, host in ((0, 1), (0, 2), (1, 1)):
        await world.compute(f"pyboinc_{batch}_{number}_{host - 1}", 7, host=host)
    await world.compute(f"pyboinc_{batch}_3_0", 7)
    await world.fail(f"pyboinc_{batch}_1_1", exit_status=1)
    await world.send(f"pyboinc_{batch}_2_0", deadline=5)
    world.now += 10
    await world.settle(**_CREDIT)
    assert (await world.result(f"pyboinc_{batch}_2_0"))["outcome"] == models.Outcome.NO_REPLY
    assert await world.counts(batch) == (2, 0)
    (host, _) = await world.rows("SELECT total_credit FROM host ORDER BY id")
    assert host["total_credit"] > 0
    await world.compute(f"pyboinc_{batch}_1_2", 7, host=2)
    for number in (1, 2):
        await world.compute(f"pyboinc_{batch}_2_{number}", 7, host=number)
    await world.settle(**_CREDIT)
    assert {path.name for path in (tmp_path / "batch" / "new").iterdir()} == {
        f"pyboinc_{batch}_{number}" for number in range(4)
    }
    assert await world.counts(batch) == (4, 0)
    (row,) = await world.rows("SELECT state, njobs FROM batch")
    assert row == {"state": models.BatchState.COMPLETE, "njobs": 4}
    workunit = await world.store.executions.of_workunit(f"pyboinc_{batch}_3")
    assert [execution.elapsed_time for execution in workunit.executions] == [10.0]  # its processor time


async def test_an_application_is_set_up_without_what_is_not_needed(old):
    async def account(tx):
        await tx.execute(
            "INSERT INTO user SET name = 'ada', email_addr = 'ada@example.org', teamid = 0, total_credit = 0,"
            " expavg_credit = 0, expavg_time = 0"
        )

    await old.run(account)
    store = applications.Applications(old)
    await store.add("pyboinc", "Python")
    app = await store.find("pyboinc")
    await store.add_platform("x86_64-pc-linux-gnu", "Linux")
    await store.add_version(app.id, (await store.platforms())["x86_64-pc-linux-gnu"], 101, "<version/>")
    user = await store.user(None)
    await store.permit(app.id, user.id)
    assert await store.submitters(app.id) == [user]
    assert len(await store.versions(app.id)) == 1
    await store.retire(app.id)
    assert await store.submitters(app.id) == []
    assert await old.read(lambda tx: tx.fetch_all("SELECT * FROM user_submit")) == []
    await store.remove(app.id)


async def test_each_column_that_is_needed_is_missed(mariadb):
    """One after the other; it comes back before the next one goes."""
    async with connectors.open(
        mariadb.url(mariadb.new_database(mariadb_module.BOINC_SCHEMA.read_text()))
    ) as whole:
        for table, columns in schema.NEEDED.items():
            for column in sorted(columns):
                name = f"{table}.{column}"
                await whole.script([f"ALTER TABLE {table} RENAME COLUMN {column} TO gone"])
                assert await schema.Schema(whole).missing() == [name]
                await whole.script([f"ALTER TABLE {table} RENAME COLUMN gone TO {column}"])
        await whole.script(["DROP TABLE batch", "ALTER TABLE workunit DROP COLUMN priority, DROP COLUMN hr_class"])
        assert await schema.Schema(whole).missing() == ["batch", "workunit.hr_class", "workunit.priority"]


def test_what_is_missing_is_said_in_one_line(tmp_path):
    with pytest.raises(errors.ProjectError) as refusal:
        preflight.check_database(tmp_path, ["batch", "workunit.hr_class", "workunit.priority"])
    assert str(refusal.value) == (
        f"{tmp_path}: its database is of an old BOINC: it lacks batch, workunit.hr_class and workunit.priority; "
        "upgrade the project's BOINC server, and its database by html/ops/upgrade_db.php"
    )


def test_fitting():
    query = "SELECT id, [t.a? a | 0 AS a] FROM t WHERE id = :id[t.b? AND b <> 1] ORDER BY [t.c? c,] id"
    assert fitting.dispensable([query]) == {("t", "a"), ("t", "b"), ("t", "c")}
    whole = "SELECT id, a FROM t WHERE id = :id AND b <> 1 ORDER BY c, id"
    assert " ".join(fitting.fitted(query).split()) == whole
    least = "SELECT id, 0 AS a FROM t WHERE id = :id ORDER BY id"
    assert " ".join(fitting.fitted(query, {("t", "a"), ("t", "b"), ("t", "c")}).split()) == least


def test_an_insert_leaves_out_what_is_missing():
    query = "INSERT INTO t (a, b, c) VALUES (:a, 0, '')"
    assert fitting.dispensable([query]) == {("t", "a"), ("t", "b"), ("t", "c")}
    assert fitting.fitted(query) == query
    assert fitting.fitted(query, {("t", "b"), ("u", "a")}) == "INSERT INTO t (a, c) VALUES (:a, '')"
