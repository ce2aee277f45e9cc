"""``python -m aioboinc setup`` on a project's directory and a database with BOINC's tables.

The project's tools are left out there, or programs stand in for them. With AIOBOINC_TEST_PROJECT, the root of a
fresh BOINC project that nothing else uses, the last test takes that.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import os
import re
import subprocess
import xml.etree.ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import setup_world

from aioboinc import connectors, errors
from aioboinc.aio import durable
from aioboinc.app_versions import runtime_archive, versions
from aioboinc.project import config as project
from aioboinc.project import keys
from aioboinc.setup import daemons
from aioboinc.setup import site as sites
from aioboinc.store import applications, batches
from database import mariadb as mariadb_module

pytestmark = pytest.mark.mariadb


@pytest.fixture
def world(tmp_path: Path, mariadb: mariadb_module.MariaDB, monkeypatch: pytest.MonkeyPatch) -> setup_world.World:
    setup_world.prepare(monkeypatch, mariadb)
    return setup_world.make(tmp_path / "project", mariadb)


async def test_setup(world):
    config = (world.root / "config.xml").read_text()
    said = await world.setup()
    assert "app pyboinc: added" in said
    assert world.versions() == [(101, 6)]
    assert [daemon.validator for daemon in daemons.find((world.root / "config.xml").read_bytes())] == [
        "pyboinc",
        None,
    ]
    assert (world.root / "config.xml.before_pyboinc").read_text() == config
    assert (world.root / "reread_db").exists()
    assert world.execute("SELECT user_id FROM user_submit") == [(1,)]


async def test_hosts_get_what_is_signed(world):
    await world.setup()
    read = project.read(world.root)
    public_key = versions.public_key(keys.load(read.key_dir / keys.PROGRAM_PRIVATE), read.master_url)
    code_sign = keys.load_code_sign_public(read.key_dir / "code_sign_public")
    for platform, document in world.execute(
        "SELECT p.name, v.xml_doc FROM app_version v JOIN platform p ON p.id = v.platformid"
    ):
        files = versions.files(versions.PLATFORMS[platform], public_key)
        assert versions.is_signed(document.decode(), files, code_sign)
        for file in files:
            assert (read.download_dir / file.name).read_bytes() == file.data
            assert (world.root / "apps/pyboinc/1.01" / platform / file.name).read_bytes() == file.data


async def test_masters_can_submit(world):
    await world.setup()
    async with connectors.open(project.read(world.root).database_url) as connector:
        store = batches.Batches(connector)
        app = await store.app("pyboinc")
        assert app.versions == 6
        await store.find_or_create("0" * 32, appid=app.id, name="test", directory="/b", version=2)
    assert world.execute("SELECT user_id FROM batch") == [(1,)]


async def test_launchers(world):
    await world.setup()
    for name in daemons.LAUNCHERS:
        process = await asyncio.create_subprocess_exec(
            world.root / "bin" / name, "--help", env={}, cwd="/", stdout=subprocess.PIPE
        )
        output, _ = await process.communicate()
        assert process.returncode == 0
        assert f"usage: {name}".encode() in output


async def test_a_second_time_changes_nothing(world):
    await world.setup()
    before = world.state()
    said = await world.setup()
    assert world.state() == before
    assert all(line.endswith(("in place", "is set up")) for line in said.splitlines())


@pytest.mark.parametrize(
    ("element", "apart"),
    [
        ("", False),
        ("<one_result_per_user_per_wu>0</one_result_per_user_per_wu>", False),
        ("<one_result_per_user_per_wu>1</one_result_per_user_per_wu>", True),
        ("<one_result_per_host_per_wu/>", True),
    ],
)
async def test_replicas_on_one_host(world, element, apart):
    """That is the administrator's to change: it is about all applications."""
    path = world.root / "config.xml"
    path.write_text(
        path.read_text().replace("<one_result_per_host_per_wu>1</one_result_per_host_per_wu>", element)
    )
    for _ in range(2):
        said = await world.setup(dry_run=True)
        assert ("one host may get both results" in said) != apart


async def test_dry_run(world):
    before = world.state()
    planned = await world.setup(dry_run=True)
    assert world.state() == before
    assert steps(planned.replace("would be ", "")) == steps(await world.setup())
    after = world.state()
    planned = await world.undo(dry_run=True)
    assert world.state() == after
    assert steps(planned.replace("would be ", "")) == steps(await world.undo())


def steps(said: str) -> list[str]:
    """Return what was said of steps, without remarks."""
    return [line for line in said.splitlines()[:-1] if "without bin/update_versions" not in line]


class Killed(BaseException):
    """The process ends here."""


class Fragile:
    """Functions that kill the process at the call after which as many as were *left* have been made."""

    def __init__(self) -> None:
        self.left = 0

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            if self.left == 1:
                raise Killed
            self.left -= 1
            return function(*args, **kwargs)

        return wrapped


@pytest.mark.parametrize("killed", ["setup", "undo"])
async def test_interrupted_anywhere(world, monkeypatch, killed):
    """Run again, it does the rest; the other one takes back what was done."""
    for name in ("fsync", "sync"):
        monkeypatch.setattr(os, name, lambda *_: None)
    monkeypatch.setattr(durable, "sync", lambda path: None)
    # What takes long and has nothing to do with it: signatures, and keys, which are others each time.
    monkeypatch.setattr(keys, "pow", functools.cache(pow), raising=False)
    pool = itertools.cycle([keys.rsa.generate_private_key(keys._EXPONENT, keys._BITS) for _ in range(3)])
    monkeypatch.setattr(keys.rsa, "generate_private_key", lambda *_, **__: next(pool))
    before = world.state()
    fragile = Fragile()
    for owner, name in (
        (durable, "place"),
        (sites.Site, "step"),
        (sites.Site, "reread"),
        (applications.Applications, "_execute"),
        (applications.Applications, "permit"),
        (applications.Applications, "remove"),
        (Path, "unlink"),
    ):
        monkeypatch.setattr(owner, name, fragile(getattr(owner, name)))
    for place in range(1, 1000, 3):
        if killed == "undo":
            await world.setup()
        fragile.left = place
        try:
            await (world.setup() if killed == "setup" else world.undo())
        except Killed:
            finished = False
        else:
            finished = True
        fragile.left = 0
        if killed == "setup" and place % 2:
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


MAC_ARM = b"\xcf\xfa\xed\xfe\x0c\0\0\x01" + bytes(40)


async def test_bundled_python(world, tmp_path, monkeypatch):
    folder = interpreter(tmp_path, MAC_ARM)
    said = await world.setup(python=(folder,))
    assert "app version 1.01 for arm64-apple-darwin, with Python: added" in said
    assert said.count("with Python") == 1
    before = world.state()
    await world.setup(python=(folder,))
    await world.setup()
    assert world.state() == before
    renew(monkeypatch, 2, b"new")
    said = await world.setup()
    assert "app version 1.02 for arm64-apple-darwin, with Python: added" in said
    said = await world.setup(without_python=True)
    assert "app version 1.03 for arm64-apple-darwin: added" in said
    assert world.versions() == [(101, 6), (102, 6), (103, 1)]
    interpreter(tmp_path, MAC_ARM + b"newer")
    said = await world.setup(python=(folder,))
    assert "app version 1.04 for arm64-apple-darwin, with Python: added" in said


async def test_files_that_have_gone_are_written_again(world):
    await world.setup()
    before = world.files()
    for path in world.root.glob("download/pyboinc_*"):
        path.unlink()
    damaged = world.root / "bin/pyboinc_validator"
    damaged.write_text("")
    await world.setup()
    assert world.files() == before


async def test_versions_that_the_administrator_has_deprecated(world, monkeypatch):
    await world.setup()
    world.execute(
        "UPDATE app_version SET deprecated = 1"
        " WHERE platformid = (SELECT id FROM platform WHERE name = 'windows_arm64')"
    )
    before = world.state()
    assert "app version for windows_arm64: deprecated, and left so" in await world.setup()
    assert world.state() == before
    renew(monkeypatch, 2, b"new")
    await world.setup()
    assert world.versions() == [(101, 5), (102, 5)]


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
    world.tool("sample_bitwise_validator", "exit 0")
    await world.setup(validator="bitwise")
    config = (world.root / "config.xml").read_bytes()
    assert b"<cmd>sample_bitwise_validator -d 3 --app pyboinc</cmd>" in config
    await world.setup()
    assert (world.root / "config.xml").read_bytes() == config
    await world.setup(validator="pyboinc")
    assert b"sample_bitwise" not in (world.root / "config.xml").read_bytes()


async def test_a_project_without_accounts(world):
    world.execute("DELETE FROM user")
    assert "belong to nobody" in await world.setup()
    assert not world.execute("SELECT * FROM user_submit_app")


async def test_a_project_without_project_xml(world):
    (world.root / "project.xml").unlink()
    await world.setup()
    assert world.versions() == [(101, 6)]


async def test_the_projects_own_tools_come_first(world):
    world.tool("xadd", "echo $PWD > xadd.called; echo no such table")
    world.tool("sign_executable", "exit 1")
    world.tool("update_versions", 'echo "$@" > update_versions.called; echo; echo can not load; echo')
    with pytest.raises(errors.ProjectError, match=r"1\.01 for x86_64-pc-linux-gnu was not made: can not load; "):
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
    world.tool("sign_executable", "exit 1")
    world.tool("update_versions", "touch called")
    (world.root / obstacle).mkdir(parents=True)
    assert f"{obstacle} is not" in await world.setup()
    assert not (world.root / "called").exists()
    assert world.versions() == [(101, 6)]


def test_command(world):
    before = world.state()
    assert setup_world.command(world.root, "--dry-run").returncode == 0
    assert world.state() == before
    process = setup_world.command(world.root)
    assert (process.returncode, process.stderr) == (0, "")
    assert "app pyboinc: added" in process.stdout
    assert world.versions() == [(101, 6)]
    assert setup_world.command(world.root, "--undo").returncode == 0
    assert world.state() == before


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
    assert setup_world.command(root, "--dry-run").returncode == 0
    assert dump(root) == before
    process = setup_world.command(root)
    assert process.returncode == 0, process.stderr
    for platform in versions.PLATFORMS:
        assert f"app version 1.01 for {platform}: added" in process.stdout
    assert "without bin/update_versions" not in process.stdout
    after = dump(root)
    process = setup_world.command(root)
    assert process.returncode == 0
    assert process.stdout.splitlines()[-1] == f"{root} is set up"
    assert dump(root) == after
    assert setup_world.command(root, "--undo").returncode == 0
    assert dump(root) == before
