"""``python -m aioboinc setup --undo``, and when it is refused."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
import setup_world

from aioboinc import errors
from aioboinc.setup import daemons
from database import mariadb as mariadb_module

pytestmark = pytest.mark.mariadb


@pytest.fixture
def world(tmp_path: Path, mariadb: mariadb_module.MariaDB, monkeypatch: pytest.MonkeyPatch) -> setup_world.World:
    setup_world.prepare(monkeypatch, mariadb)
    return setup_world.make(tmp_path / "project", mariadb)


async def test_undo(world):
    before = world.state()
    await world.setup()
    await world.undo()
    assert world.state() == before
    assert await world.undo() == world.said[-1]  # there is nothing to say but that
    assert world.state() == before


async def test_what_was_edited_since_stays(world):
    await world.setup()
    config = world.root / "config.xml"
    config.write_text(config.read_text().replace("<!-- edited by hand -->", "<!-- edited again -->"))
    said = await world.undo()
    assert "edited again" in config.read_text()
    assert not daemons.find(config.read_bytes())
    assert "config.xml.before_pyboinc: kept" in said
    assert (world.root / "config.xml.before_pyboinc").exists()


@pytest.mark.parametrize(("njobs", "assimilated", "state"), [(2, 1, 1), (2, 2, 0), (0, 0, 0)])
async def test_undo_with_unfinished_batches(world, njobs, assimilated, state):
    await world.setup()
    world.batch(7, njobs=njobs, assimilated=assimilated, state=state)
    before = world.state()
    with pytest.raises(errors.ProjectError, match=r"7 in /b/7; let their masters finish, or .* --force"):
        await world.undo()
    assert world.state() == before
    await world.undo(force=True)
    assert "pyboinc_batch" not in str(world.rows())
    assert world.execute("SELECT COUNT(*) FROM workunit WHERE assimilate_state <> 2") == [(0,)]


async def test_undo_with_jobs_in_the_database(world):
    """BOINC's transitioner stops where an output template is missing that a job names."""
    before = world.state()
    await world.setup()
    world.batch(7, njobs=2, assimilated=2)
    said = await world.undo()
    assert "2 finished jobs" in said
    assert world.versions() == []
    assert world.execute("SELECT name, deprecated FROM app") == [("pyboinc", 1)]
    left = world.files()
    assert {name for name in left if "pyboinc" in name} == {"templates/pyboinc_out", "project.xml.before_pyboinc"}
    await world.undo()
    assert world.files() == left

    await world.setup()
    assert world.execute("SELECT name, deprecated FROM app") == [("pyboinc", 0)]
    assert world.versions() == [(102, 6)]
    await world.undo()
    world.execute("DELETE FROM workunit")  # as BOINC's db_purge does
    await world.undo()
    assert world.state() == before


async def test_undo_after_hosts_have_got_a_version(world):
    """A client that knows a version by its number takes no other files for it."""
    await world.setup()
    version = world.execute("SELECT MIN(id) FROM app_version")[0][0]
    world.insert("host_app_version", {"host_id": 1, "app_version_id": version})
    assert "hosts have got versions of the application (1 so far)" in await world.undo()
    assert world.versions() == []
    assert {name for name in world.files() if "pyboinc" in name} == {"project.xml.before_pyboinc"}
    await world.setup()
    assert world.versions() == [(102, 6)]


async def test_undo_removes_what_jobs_have_left(world):
    before = world.state()
    await world.setup()
    folder = world.root / "download/1a"
    folder.mkdir()
    names = [f"pyboinc_program_{'0' * 64}.zip", f"pyboinc_7_0_{'1' * 64}", f"pyboinc_7_0_{'1' * 64}.md5"]
    for name in [*names, "other"]:
        (folder / name).touch()
    assert "3 input files" in await world.undo()
    (folder / "other").unlink()
    folder.rmdir()
    assert world.state() == before


HOLD = """
import fcntl, sys
file = open(sys.argv[1], "r+b")
fcntl.lockf(file, fcntl.LOCK_EX)
print(flush=True)
input()
"""


async def test_undo_while_daemons_run(world):
    await world.setup()
    (world.root / "pid_host").mkdir()
    lock = world.root / "pid_host/pyboinc_assimilator0.lock"
    lock.touch()
    holder = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HOLD, lock, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    await holder.stdout.readline()
    before = world.state()
    with pytest.raises(errors.ProjectError, match="bin/stop: pyboinc_assimilator running"):
        await world.undo()
    assert world.state() == before
    await holder.communicate(b"\n")
    await world.undo()
