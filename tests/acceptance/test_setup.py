"""``python -m aioboinc setup`` on a project's directory and a database with BOINC's tables.

The directory is the least that a project has; its tools are left out, or programs that stand in for them. With
AIOBOINC_TEST_PROJECT, the root of a fresh BOINC project that nothing else uses, the last tests take that.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import xml.etree.ElementTree
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from database import mariadb as mariadb_module

from aioboinc import (
    app_versions,
    connectors,
    errors,
    keys,
    project,
    runtime_archive,
    setup_daemons,
    setup_project,
    setup_site,
    setup_undo,
)
from aioboinc.store import applications, batches

pytestmark = pytest.mark.mariadb

CONFIG = """<?xml version="1.0" ?>
<boinc>
    <config>
        <long_name>Test Project</long_name>
        <db_user>root</db_user>
        <db_name>{database}</db_name>
        <db_passwd></db_passwd>
        <db_host></db_host>
        <uldl_dir_fanout>1024</uldl_dir_fanout>
        <dont_generate_upload_certificates>1</dont_generate_upload_certificates>
        <master_url>http://127.0.0.1/test/</master_url>
        <download_url>http://127.0.0.1/test/download</download_url>
        <upload_url>http://127.0.0.1/test_cgi/file_upload_handler</upload_url>
        <download_dir>{root}/download</download_dir>
        <upload_dir>{root}/upload</upload_dir>
        <key_dir>{root}/keys/</key_dir>
    </config>
    <!-- edited by hand -->
    <daemons>
        <daemon>
            <cmd>feeder -d 3 </cmd>
        </daemon>
    </daemons>
</boinc>
"""
PROJECT = """<boinc>
    <platform>
        <name>x86_64-pc-linux-gnu</name>
        <user_friendly_name>Linux</user_friendly_name>
    </platform>
</boinc>
"""
TABLES = ("app", "app_version", "platform", "user_submit", "user_submit_app", "batch", "host_app_version")


class World:
    """A project, and what becomes of it."""

    def __init__(self, root: Path, execute: Callable[[str], list[tuple[Any, ...]]]) -> None:
        self.root = root
        self.execute = execute
        self.said: list[str] = []

    async def setup(self, *, dry_run: bool = False, **options: Any) -> str:
        return await self._call(
            setup_project.setup(self.root, setup_project.Options(**options), dry_run=dry_run, say=self.said.append)
        )

    async def undo(self, **options: bool) -> str:
        return await self._call(setup_undo.undo(self.root, say=self.said.append, **options))

    async def _call(self, work: Any) -> str:
        self.said.clear()
        await work
        return "\n".join(self.said)

    def files(self) -> dict[str, tuple[int, bytes]]:
        return {
            str(path.relative_to(self.root)): (path.stat().st_mode, path.read_bytes() if path.is_file() else b"")
            for path in sorted(self.root.rglob("*"))
        }

    def rows(self) -> dict[str, list[tuple[Any, ...]]]:
        tables = {name for (name,) in self.execute("SHOW TABLES")}
        rows: dict[str, list[tuple[Any, ...]]] = {name: self.execute(f"SELECT * FROM {name}") for name in TABLES}
        return {**rows, "tables": sorted((name,) for name in tables)}

    def state(self) -> tuple[Any, ...]:
        return self.files(), self.rows()

    def versions(self) -> list[tuple[int, int]]:
        return self.execute(
            "SELECT version_num, COUNT(*) FROM app_version WHERE deprecated = 0 GROUP BY 1 ORDER BY 1"
        )


@pytest.fixture
def world(tmp_path: Path, mariadb: mariadb_module.MariaDB, monkeypatch: pytest.MonkeyPatch) -> World:
    database = mariadb.new_database(mariadb_module.BOINC_SCHEMA.read_text())
    root = tmp_path / "project"
    for name in ("apps", "bin", "download", "keys", "templates"):
        (root / name).mkdir(parents=True)
    (root / "config.xml").write_text(CONFIG.format(root=root, database=database))
    (root / "project.xml").write_text(PROJECT)
    keys.create_code_sign_keys(root / "keys")
    monkeypatch.setenv("MYSQL_UNIX_PORT", str(mariadb.socket))
    world = World(root, lambda sql: mariadb.execute(sql, database=database))
    world.execute(
        "INSERT INTO platform (create_time, name, user_friendly_name) VALUES (1, 'x86_64-pc-linux-gnu', '')"
    )
    for number, name in enumerate(("ada", "bob"), 1):
        world.execute(
            "INSERT INTO user (create_time, email_addr, name, authenticator, total_credit, expavg_credit, expavg_time,"
            " teamid, venue, send_email, show_hosts, posts, seti_id, seti_nresults, seti_last_result_time,"
            " seti_total_cpu, has_profile, cross_project_id, passwd_hash, email_validated, donated)"
            f" VALUES (1, '{name}@example.org', '{name}', '{number}', 0, 0, 0, 0, '', 0, 0, 0, 0, 0, 0, 0, 0, '', '',"
            " 0, 0)"
        )
    return world


async def test_setup(world):
    said = await world.setup()
    assert "app pyboinc: added" in said
    assert world.versions() == [(101, 6)]
    read = project.read(world.root)
    for platform, document in world.execute(
        "SELECT p.name, v.xml_doc FROM app_version v JOIN platform p ON p.id = v.platformid"
    ):
        key = app_versions.public_key(keys.load(read.key_dir / keys.PROGRAM_PRIVATE), read.master_url)
        files = app_versions.files(app_versions.PLATFORMS[platform], key)
        public = keys.load_code_sign_public(read.key_dir / "code_sign_public")
        assert app_versions.is_signed(document.decode(), files, public)
        for file in files:
            assert (read.download_dir / file.name).read_bytes() == file.data
            assert (world.root / "apps/pyboinc/1.01" / platform / file.name).read_bytes() == file.data
    async with connectors.open(read.database_url) as connector:
        store = batches.Batches(connector)
        app = await store.app("pyboinc")
        assert app.versions == 6
        await store.find_or_create("0" * 32, appid=app.id, name="test", directory="/b", version=1)
    assert world.execute("SELECT user_id FROM batch") == [(1,)]
    assert world.execute("SELECT user_id FROM user_submit") == [(1,)]
    assert [daemon.validator for daemon in setup_daemons.find((world.root / "config.xml").read_bytes())] == [
        "pyboinc",
        None,
    ]
    assert (world.root / "config.xml.before_pyboinc").read_text() == CONFIG.format(
        root=world.root, database=read.database_url.split("/")[-1].partition("?")[0]
    )
    assert (world.root / "reread_db").exists()
    for name in setup_daemons.LAUNCHERS:
        launcher = subprocess.run(
            [world.root / "bin" / name, "--help"], env={}, cwd="/", capture_output=True, text=True, check=False
        )
        assert launcher.returncode == 0, launcher.stderr
        assert name in launcher.stdout


async def test_a_second_time_changes_nothing(world):
    await world.setup()
    before = world.state()
    said = await world.setup()
    assert world.state() == before
    assert all(line.endswith(("in place", "is set up")) for line in said.splitlines())


async def test_dry_run(world):
    before = world.state()
    planned = await world.setup(dry_run=True)
    assert world.state() == before
    assert [line.replace("would be ", "") for line in planned.splitlines()[:-1]] == (
        await world.setup()
    ).splitlines()[:-1]
    after = world.state()
    planned = await world.undo(dry_run=True)
    assert world.state() == after
    assert [line.replace("would be ", "") for line in planned.splitlines()[:-1]] == (
        await world.undo()
    ).splitlines()[:-1]


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
    assert not setup_daemons.find(config.read_bytes())
    assert "config.xml.before_pyboinc: kept" in said
    assert (world.root / "config.xml.before_pyboinc").exists()


class Killed(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("killed", ["setup", "undo"])
async def test_interrupted_anywhere(world, monkeypatch, killed):
    """Run again, it does the rest; the other one takes back what was done."""
    monkeypatch.setattr(setup_daemons, "check_interpreter", lambda: None)
    before = world.state()
    left = [0]

    def fragile(function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            if left[0] == 1:
                raise Killed
            left[0] -= 1
            return function(*args, **kwargs)

        return wrapped

    for owner, name in (
        (app_versions, "place"),
        (setup_site.Site, "step"),
        (setup_site.Site, "reread"),
        (applications.Applications, "_execute"),
        (applications.Applications, "permit"),
        (applications.Applications, "remove"),
        (Path, "unlink"),
    ):
        monkeypatch.setattr(owner, name, fragile(getattr(owner, name)))
    for place in range(1, 1000):
        if killed == "undo":
            await world.setup()
        left[0] = place
        try:
            await (world.setup() if killed == "setup" else world.undo())
        except Killed:
            finished = False
        else:
            finished = True
        left[0] = 0
        if killed == "setup":
            if place % 2:
                await world.setup()
                assert world.versions() == [(101, 6)]
                assert (await world.setup()).endswith("is set up")
                assert all(": in place" in line for line in world.said[:-1])
        await world.undo()
        assert world.state() == before
        if finished:
            break
    assert 15 < place < 999


def renew(monkeypatch: pytest.MonkeyPatch, version: int, content: bytes) -> None:
    """Be another release, with another runtime."""
    files = {**runtime_archive.files(), runtime_archive.ARCHIVE: content}
    monkeypatch.setattr(runtime_archive, "files", lambda: files)
    monkeypatch.setattr(runtime_archive, "VERSION", version)


async def test_a_second_version_beside_the_first(world, monkeypatch):
    await world.setup()
    first = world.files()
    rows = world.execute("SELECT * FROM app_version")
    renew(monkeypatch, 2, b"new")
    await world.setup()
    assert world.versions() == [(101, 6), (102, 6)]
    assert set(rows) <= set(world.execute("SELECT * FROM app_version"))
    second = world.files()
    assert {name: second[name] for name in first} == first
    before = world.state()
    await world.setup()
    assert world.state() == before


async def test_contents_that_changed_without_a_new_number(world, monkeypatch):
    await world.setup()
    renew(monkeypatch, 1, b"new")
    await world.setup()
    assert world.versions() == [(101, 6), (102, 6)]


def interpreter(tmp_path: Path, executable: bytes) -> Path:
    folder = tmp_path / "python"
    (folder / "bin").mkdir(parents=True, exist_ok=True)
    (folder / "bin/python3").write_bytes(executable)
    (folder / "LICENSE.txt").write_text("PSF")
    return folder


LINUX_ARM = b"\x7fELF\x02\x01" + bytes(12) + b"\xb7\0" + bytes(40)


async def test_bundled_python(world, tmp_path, monkeypatch):
    folder = interpreter(tmp_path, LINUX_ARM)
    said = await world.setup(python=(folder,))
    assert "app version 1.01 for aarch64-unknown-linux-gnu, with Python: added" in said
    assert said.count("with Python") == 1
    before = world.state()
    await world.setup(python=(folder,))
    await world.setup()
    assert world.state() == before
    renew(monkeypatch, 2, b"new")
    said = await world.setup()
    assert "app version 1.02 for aarch64-unknown-linux-gnu, with Python: added" in said
    said = await world.setup(without_python=True)
    assert "app version 1.03 for aarch64-unknown-linux-gnu: added" in said
    assert world.versions() == [(101, 6), (102, 6), (103, 1)]
    interpreter(tmp_path, LINUX_ARM + b"newer")
    said = await world.setup(python=(folder,))
    assert "app version 1.04 for aarch64-unknown-linux-gnu, with Python: added" in said


async def test_files_that_have_gone_are_written_again(world):
    await world.setup()
    before = world.files()
    for path in world.root.glob("download/pyboinc_*"):
        path.unlink()
    damaged = world.root / "bin/pyboinc_validator"
    damaged.write_text("")
    await world.setup()
    assert world.files() == before


async def test_options(world):
    said = await world.setup(validator="pyboinc", user="bob@example.org", homogeneous_redundancy=2)
    assert "homogeneous redundancy 2: set" in said
    assert world.execute("SELECT homogeneous_redundancy FROM app") == [(2,)]
    assert world.execute("SELECT user_id FROM user_submit_app") == [(2,)]
    before = world.state()
    await world.setup()
    assert world.state() == before
    await world.setup(user="ada@example.org", homogeneous_redundancy=0)
    assert world.execute("SELECT homogeneous_redundancy FROM app") == [(0,)]
    assert world.execute("SELECT user_id FROM user_submit_app") == [(1,)]
    assert world.execute("SELECT user_id FROM user_submit") == [(1,)]


async def test_bitwise_validator(world):
    with pytest.raises(errors.ProjectError, match="sample_bitwise_validator"):
        await world.setup(validator="bitwise")
    tool(world, "sample_bitwise_validator", "exit 0")
    await world.setup(validator="bitwise")
    config = (world.root / "config.xml").read_bytes()
    assert b"<cmd>sample_bitwise_validator -d 3 --app pyboinc</cmd>" in config
    await world.setup()
    assert (world.root / "config.xml").read_bytes() == config
    await world.setup(validator="pyboinc")
    assert b"bitwise" not in (world.root / "config.xml").read_bytes()


async def test_a_project_without_accounts(world):
    world.execute("DELETE FROM user")
    assert "belong to nobody" in await world.setup()
    assert not world.execute("SELECT * FROM user_submit_app")


async def test_a_project_without_project_xml(world):
    (world.root / "project.xml").unlink()
    await world.setup()
    assert world.versions() == [(101, 6)]


def tool(world: World, name: str, commands: str) -> Path:
    path = world.root / "bin" / name
    path.write_text(f"#!/bin/sh\n{commands}\n")
    path.chmod(0o755)
    return path


async def test_the_projects_own_tools_come_first(world):
    tool(world, "xadd", "echo $PWD > xadd.called; echo no such table")
    tool(world, "sign_executable", "exit 1")
    tool(world, "update_versions", 'echo "$@" > update_versions.called; echo; echo can not load; echo')
    with pytest.raises(errors.ProjectError, match="1.01 for x86_64-pc-linux-gnu was not made: can not load; "):
        await world.setup()
    assert (world.root / "xadd.called").read_text() == f"{world.root}\n"
    assert (world.root / "update_versions.called").read_text() == "--noconfirm\n"
    assert any("xadd has not added the application (no such table)" in line for line in world.said)
    assert world.versions() == []
    (world.root / "bin/update_versions").unlink()
    await world.setup()
    assert world.versions() == [(101, 6)]


@pytest.mark.parametrize("obstacle", ["apps/unknown", "apps/other/1.0/x86_64-pc-linux-gnu"])
async def test_update_versions_would_do_more_than_wanted(world, obstacle):
    world.execute("INSERT INTO app (create_time, name, user_friendly_name) VALUES (1, 'other', 'Other')")
    tool(world, "sign_executable", "exit 1")
    tool(world, "update_versions", "touch called")
    (world.root / obstacle).mkdir(parents=True)
    assert f"{obstacle} is not" in await world.setup()
    assert not (world.root / "called").exists()
    assert world.versions() == [(101, 6)]


def batch(world: World, number: int, *, njobs: int, assimilated: int, state: int = 1) -> None:
    (app,) = world.execute("SELECT id FROM app")[0]
    world.execute(
        "INSERT INTO pyboinc_batch (id, appid, token, directory, njobs, digest, state, nassimilated, nerrors,"
        f" create_time, version) VALUES ({number}, {app}, '{number:032}', '/b/{number}', {njobs}, '', {state},"
        f" {assimilated}, 0, 1, 1)"
    )
    for job in range(njobs):
        done = 2 if job < assimilated else 0
        world.execute(
            "INSERT INTO workunit (create_time, appid, name, xml_doc, batch, rsc_fpops_est, rsc_fpops_bound,"
            " rsc_memory_bound, rsc_disk_bound, need_validate, canonical_resultid, canonical_credit, transition_time,"
            " delay_bound, error_mask, file_delete_state, assimilate_state, hr_class, opaque, min_quorum,"
            " target_nresults, max_error_results, max_total_results, max_success_results, result_template_file,"
            " priority, rsc_bandwidth_bound, fileset_id, app_version_id, transitioner_flags, keywords,"
            f" app_version_num) VALUES (1, {app}, 'pyboinc_{number}_{job}', '', {number}, 1, 1, 1, 1, 0, 0, 0, 1, 1, 0,"
            f" 0, {done}, 0, 0, 1, 1, 1, 1, 1, 'templates/pyboinc_out', 0, 0, 0, 0, 0, '', 0)"
        )


@pytest.mark.parametrize(("njobs", "assimilated", "state"), [(2, 1, 1), (2, 2, 0), (0, 0, 0)])
async def test_undo_with_unfinished_batches(world, njobs, assimilated, state):
    await world.setup()
    batch(world, 7, njobs=njobs, assimilated=assimilated, state=state)
    before = world.state()
    with pytest.raises(errors.ProjectError, match="7 in /b/7; let their masters finish, or .* --force"):
        await world.undo()
    assert world.state() == before
    await world.undo(force=True)
    assert ("pyboinc_batch",) not in world.rows()["tables"]
    assert world.execute("SELECT COUNT(*) FROM workunit WHERE assimilate_state <> 2") == [(0,)]


async def test_undo_with_jobs_in_the_database(world):
    """BOINC's transitioner stops where an output template is missing that a job names."""
    before = world.state()
    await world.setup()
    batch(world, 7, njobs=2, assimilated=2)
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


async def test_undo_while_daemons_run(world):
    await world.setup()
    (world.root / "pid_host").mkdir()
    lock = world.root / "pid_host/pyboinc_assimilator.lock"
    lock.touch()
    hold = "import fcntl, sys; f = open(sys.argv[1], 'r+b'); fcntl.lockf(f, fcntl.LOCK_EX); print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", hold, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        process.stdout.readline()
        before = world.state()
        with pytest.raises(errors.ProjectError, match=r"bin/stop: pyboinc_assimilator running"):
            await world.undo()
        assert world.state() == before
        process.communicate(b"\n")
    await world.undo()


def command(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "aioboinc", "setup", *arguments], capture_output=True, text=True, check=False
    )


def refused(*arguments: str | Path) -> str:
    """Run the command, which must refuse in one line; return that."""
    process = command(*arguments)
    assert process.returncode == 2
    assert process.stderr.startswith("aioboinc: ")
    assert process.stderr.count("\n") == 1
    return process.stderr


def test_command(world):
    before = world.state()
    assert command(world.root, "--dry-run").returncode == 0
    assert world.state() == before
    process = command(world.root)
    assert (process.returncode, process.stderr) == (0, "")
    assert "app pyboinc: added" in process.stdout
    assert world.versions() == [(101, 6)]
    assert command(world.root, "--undo").returncode == 0
    assert world.state() == before


def test_bad_input(world, tmp_path):
    before = world.state()
    assert "no such" in refused(tmp_path / "none")
    assert "no config.xml" in refused(tmp_path)
    assert "no account eve@example.org" in refused(world.root, "--user", "eve@example.org")
    assert "neither bin/python3 nor python.exe" in refused(world.root, "--python", tmp_path)
    assert "--undo takes no option" in refused(world.root, "--undo", "--user", "ada@example.org")
    assert "--force is for --undo" in refused(world.root, "--force")
    assert world.state() == before


def edited(path: Path, old: str, new: str) -> None:
    path.write_text(path.read_text().replace(old, new))


def test_damaged_files(world):
    edited(world.root / "project.xml", "</boinc>", "")
    assert "project.xml: not well-formed" in refused(world.root)
    (world.root / "project.xml").unlink()
    edited(world.root / "config.xml", "</daemons>", "</demons>")
    assert "config.xml: not well-formed" in refused(world.root)


def test_database_refused(world):
    edited(world.root / "config.xml", "<db_passwd>", "<db_passwd>wrong")
    before = world.state()
    assert "db_passwd" in refused(world.root)
    assert world.state() == before


def test_no_code_signing_key(world):
    before = world.state()
    (world.root / "keys/code_sign_private").rename(world.root / "elsewhere")
    assert "code_sign_private" in refused(world.root)
    keys.create_code_sign_keys(world.root / "elsewhere_keys")
    (world.root / "elsewhere_keys/code_sign_private").rename(world.root / "keys/code_sign_private")
    assert "does not belong" in refused(world.root)
    assert world.rows() == before[1]


@contextlib.contextmanager
def nobody(world: World) -> Iterator[None]:
    """Be a user for whom file modes count: root goes on as nobody."""
    if os.geteuid() != 0:
        yield
        return
    for folder in (world.root, *list(world.root.parents)[:3]):  # up to, and not including, the temporary directory
        folder.chmod(0o755)
    for path in (world.root, *world.root.rglob("*")):
        os.chown(path, 65534, 65534)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("name", [".", "apps", "bin", "download", "keys", "templates"])
async def test_no_write_access(world, name):
    before = world.rows()
    with nobody(world):
        folder = world.root / name
        folder.chmod(0o555)
        try:
            for attempt in (world.setup, world.undo):
                with pytest.raises(errors.ProjectError, match=f"{folder.resolve()}: .* no write access"):
                    await attempt()
        finally:
            folder.chmod(0o755)
    assert world.rows() == before
    assert not list(world.root.glob("*/pyboinc_*"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can go on as another user")
def test_whose_project_it_is(world):
    os.chown(world.root, 65534, 65533)
    program = """
import os, pathlib, sys
from aioboinc import setup_site
setup_site.become_owner(pathlib.Path(sys.argv[1]), print)
print(os.getresuid(), os.getresgid())
"""
    process = subprocess.run(
        [sys.executable, "-c", program, world.root], capture_output=True, text=True, check=True
    )
    assert process.stdout.splitlines()[1] == "(65534, 65534, 65534) (65533, 65533, 65533)"


async def test_somebody_elses_project(world):
    if os.geteuid() == 0:
        with nobody(world):
            os.seteuid(0)
            os.chown(world.root, 0, 0)
            os.seteuid(65534)
            with pytest.raises(
                errors.ProjectError, match=f"belongs to root; .*: sudo -u root .* setup {world.root}"
            ):
                await world.setup()
    else:
        with pytest.raises(errors.ProjectError, match="belongs to root; "):
            setup_site.become_owner(Path("/"), print)


REAL = os.environ.get("AIOBOINC_TEST_PROJECT")
needs_a_project = pytest.mark.skipif(not REAL, reason="AIOBOINC_TEST_PROJECT names no BOINC project")


def dump(root: Path) -> tuple[dict[str, Any], str]:
    """Return a real project's files and the dump of its database."""
    passing = ("log_", "pid_", "tmp_", "html/cache")
    files = {
        str(path.relative_to(root)): (path.lstat().st_mode, path.lstat().st_uid, path.read_bytes())
        for path in root.rglob("*")
        if path.is_file() and not str(path.relative_to(root)).startswith(passing)
    }
    values = {
        element.tag: element.text or ""
        for element in xml.etree.ElementTree.parse(root / "config.xml").find("config") or ()
    }
    host, _, port = values["db_host"].partition(":")
    command = ["mariadb-dump", "--skip-comments", "--skip-extended-insert", "-h", host, "-P", port or "3306"]
    login = ["-u", values["db_user"], f"-p{values['db_passwd']}", values["db_name"]]
    text = subprocess.run([*command, *login], capture_output=True, text=True, check=True).stdout
    return files, re.sub(r" AUTO_INCREMENT=\d+", "", text)


@needs_a_project
def test_a_real_project():
    root = Path(str(REAL))
    before = dump(root)
    assert command(root, "--dry-run").returncode == 0
    assert dump(root) == before
    process = command(root)
    assert process.returncode == 0, process.stderr
    for platform in app_versions.PLATFORMS:
        assert f"app version 1.01 for {platform}: added" in process.stdout
    assert "without bin/update_versions" not in process.stdout
    after = dump(root)
    process = command(root)
    assert process.returncode == 0
    assert process.stdout.splitlines()[-1] == f"{root} is set up"
    assert dump(root) == after
    assert command(root, "--undo").returncode == 0
    assert dump(root) == before
