"""What ``python -m aioboinc setup`` refuses, each in one line that says what to do."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import setup_world

from aioboinc import errors
from aioboinc.app_versions import runtime_archive
from aioboinc.project import keys
from aioboinc.serve import served_project
from aioboinc.setup import site as sites
from database import mariadb as mariadb_module

pytestmark = pytest.mark.mariadb


@pytest.fixture
def world(tmp_path: Path, mariadb: mariadb_module.MariaDB, monkeypatch: pytest.MonkeyPatch) -> setup_world.World:
    monkeypatch.setenv("MYSQL_UNIX_PORT", str(mariadb.socket))
    return setup_world.make(tmp_path / "project", mariadb)


def refused(*arguments: str | Path) -> str:
    """Run the command, which must refuse in one line; return that."""
    process = setup_world.command(*arguments)
    assert process.returncode == 2
    assert process.stderr.startswith("aioboinc: ")
    assert process.stderr.count("\n") == 1
    return process.stderr


async def test_two_at_once(world):
    with sites.alone(world.root), pytest.raises(errors.ProjectError, match="another setup is running"):
        await world.setup()


def test_bad_input(world, tmp_path):
    before = world.state()
    assert "no such" in refused(tmp_path / "none")
    assert "no config.xml" in refused(tmp_path)
    assert "no account eve@example.org" in refused(world.root, "--user", "eve@example.org")
    assert "neither bin/python3 nor python.exe" in refused(world.root, "--python", tmp_path)
    assert "--undo takes no option" in refused(world.root, "--undo", "--user", "ada@example.org")
    assert "--force is for --undo" in refused(world.root, "--force")
    assert world.state() == before


def test_a_project_of_our_own(tmp_path):
    served_project.create(tmp_path / "served", listen="127.0.0.1:8416", url=None, database=None)
    before = {path: path.stat() for path in tmp_path.rglob("*")}
    assert "it needs no setup" in refused(tmp_path / "served")
    assert "to undo it, delete the directory" in refused(tmp_path / "served", "--undo")
    assert {path: path.stat() for path in tmp_path.rglob("*")} == before


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
    assert "code_sign_private: the project's code signing key is not there" in refused(world.root)
    keys.create_code_sign_keys(world.root / "elsewhere_keys")
    (world.root / "elsewhere_keys/code_sign_private").rename(world.root / "keys/code_sign_private")
    assert "does not belong" in refused(world.root)
    assert world.rows() == before[1]


async def test_aioboinc_is_not_installed_as_a_whole(world, monkeypatch):
    def incomplete() -> None:
        raise errors.UsageError("reinstall something")

    monkeypatch.setattr(runtime_archive, "files", incomplete)
    before = world.state()
    with pytest.raises(errors.UsageError, match="reinstall"):
        await world.setup()
    assert world.state() == before


@pytest.fixture
def open_world(mariadb: mariadb_module.MariaDB, monkeypatch: pytest.MonkeyPatch) -> Iterator[setup_world.World]:
    """A project in a directory that everybody can read, as pytest's are not."""
    monkeypatch.setenv("MYSQL_UNIX_PORT", str(mariadb.socket))
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield setup_world.make(Path(folder) / "project", mariadb)


@contextlib.contextmanager
def nobody(world: setup_world.World) -> Iterator[None]:
    """Be a user for whom file modes count: root goes on as nobody."""
    if os.geteuid() != 0:
        yield
        return
    for path in (world.root, *world.root.rglob("*")):
        os.chown(path, 65534, 65534)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("name", [".", "apps", "bin", "download", "keys", "templates"])
async def test_no_write_access(open_world, name):
    world = open_world
    await world.setup(dry_run=True)  # imports what nobody may not be able to read
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


BECOME_OWNER = """
import os, pathlib, sys
from aioboinc import errors
from aioboinc.setup import site
sys.executable = sys.argv[2]
try:
    site.become_owner(pathlib.Path(sys.argv[1]), print)
except errors.ProjectError as error:
    print(error)
print(os.getresuid(), os.getresgid())
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can go on as another user")
def test_root_goes_on_as_the_owner(open_world):
    world = open_world
    os.chown(world.root, 65534, 65533)
    hidden = world.root / "python"
    for executable, lines in (("/bin/sh", 2), (hidden, 3)):
        process = subprocess.run(
            [sys.executable, "-c", BECOME_OWNER, world.root, executable],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        said = process.stdout.splitlines()
        assert said[-1] == "(65534, 65534, 65534) (65533, 65533, 65533)"
        assert len(said) == lines
    assert f"{hidden}: " in said[1]
    assert "can't run it" in said[1]


async def test_somebody_elses_project(open_world):
    world = open_world
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
            sites.become_owner(Path("/"), print)
