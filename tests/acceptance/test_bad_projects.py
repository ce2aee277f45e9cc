"""A BOINC project that can't take a batch: one clear line of the master, exit status 2, and nothing is changed."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import setup_world
from conftest import EXAMPLE, Program

from aioboinc import errors
from aioboinc.batch import preflight
from aioboinc.project import config
from aioboinc.store import batches
from database import mariadb as mariadb_module

pytestmark = pytest.mark.mariadb

NOBODY = 65534
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be several users")


class Place:
    """A project, and a program beside it, in a directory that everybody can read, as pytest's are not."""

    def __init__(self, folder: Path, mariadb: mariadb_module.MariaDB) -> None:
        self.world = setup_world.make(folder / "project", mariadb)
        self.root = self.world.root
        folder = folder / "batch"
        folder.mkdir()
        for path in EXAMPLE.glob("*.py"):
            shutil.copy(path, folder)
        self.program = Program(folder)
        self.program.environment["PYBOINC_DIR"] = str(self.root)

    def edit(self, old: str, new: str) -> None:
        path = self.root / "config.xml"
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))

    def refused(self, *options: str) -> str:
        """Run the program, which must refuse in one line and leave no trace; return that line."""
        before = self.world.state(), self.program.files()
        finished = self.program.run("--quiet", *options)
        assert finished.returncode == 2, finished.stderr
        assert (finished.stdout, finished.stderr.count("\n")) == ("", 1), finished.stderr
        assert (self.world.state(), self.program.files()) == before
        return finished.stderr


@pytest.fixture
def place(mariadb: mariadb_module.MariaDB, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    setup_world.prepare(monkeypatch, mariadb)
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield Place(Path(folder), mariadb)


def test_no_project(place, tmp_path):
    place.program.environment["PYBOINC_DIR"] = str(tmp_path / "none")
    assert f"{tmp_path / 'none'}: no such project directory" in place.refused()
    place.program.environment["PYBOINC_DIR"] = str(tmp_path)
    assert f"{tmp_path} is not a project: it has no config.xml" in place.refused()
    assert f"{tmp_path} is not a project: it has no config.xml" in place.refused("--project", str(tmp_path))


def test_damaged_config(place):
    place.edit("</config>", "")
    assert "config.xml: not well-formed" in place.refused()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("<db_passwd>", "<db_passwd>wrong", "access denied: check db_user and db_passwd in config.xml"),
        ("<db_user>root", "<db_user>somebody", "access denied"),
        ("<db_name>", "<db_name>not_", "unknown database: check db_name in config.xml"),
        ("<db_host>", "<db_host>127.0.0.1:9", "the server can't be reached: is it running?"),
    ],
)
def test_database_refused(place, old, new, message):
    place.edit(old, new)
    assert message in place.refused()
    daemon = [sys.executable, "-m", "aioboinc.daemons.assimilator", "--one_pass"]
    environment = {**os.environ, "BOINC_PROJECT_DIR": str(place.root)}
    for said in (
        setup_world.command(place.root),
        subprocess.run(daemon, env=environment, capture_output=True, text=True, check=False),
    ):
        assert (said.returncode, said.stderr.count("\n")) == (2, 1)
        assert message in said.stderr


async def test_not_set_up(place):
    line = place.refused()
    assert f"{place.root} is not set up: it has no application pyboinc" in line
    assert f"run: python -m aioboinc setup {place.root}" in line
    await place.world.setup()
    place.world.execute("UPDATE app_version SET deprecated = 1")
    line = place.refused()
    assert "has no version in use, for any platform; run: python -m aioboinc setup" in line
    place.world.execute("DELETE FROM app_version")
    assert "has no version in use" in place.refused()
    await place.world.setup()
    (place.root / "keys" / "pyboinc_private.pem").rename(place.root / "elsewhere")
    assert "pyboinc_private.pem: not there; run: python -m aioboinc setup" in place.refused()
    (place.root / "elsewhere").rename(place.root / "keys" / "pyboinc_private.pem")
    (place.root / "templates" / "pyboinc_out").unlink()
    assert "pyboinc_out: not there; run" in place.refused()


@pytest.mark.parametrize("table", ["pyboinc_batch", "pyboinc_calls"])
async def test_no_table(place, table):
    """A project that version 0.1 has set up has no pyboinc_calls."""
    await place.world.setup()
    place.world.execute(f"DROP TABLE {table}")
    line = place.refused()
    assert "is not set up: it has" in line
    assert "lacks the tables pyboinc_batch and pyboinc_calls, which this version of aioboinc needs" in line
    assert f"run: python -m aioboinc setup {place.root}" in line
    await place.world.setup()
    place.world.execute("UPDATE app_version SET deprecated = 1")
    assert "has no version in use" in place.refused()  # the tables are there again


def test_no_download_directory(place):
    (place.root / "download").rmdir()
    assert f"{place.root}/download: no such directory" in place.refused()


def test_the_embedded_project_of_another_batch(place, tmp_path):
    for path in EXAMPLE.glob("*.py"):
        shutil.copy(path, tmp_path)
    assert Program(tmp_path).run().returncode == 0
    place.program.environment["PYBOINC_DIR"] = str(tmp_path / ".pyboinc")
    assert "is embedded in a batch directory" in place.refused()


@contextlib.contextmanager
def as_nobody(program: Program) -> Iterator[None]:
    """Run a program as a user for whom modes count, in a folder of that user's."""
    setpriv = shutil.which("setpriv")
    if os.geteuid() == 0:
        if setpriv is None:
            pytest.skip("needs setpriv (Debian: util-linux)")
        os.chown(program.folder, NOBODY, NOBODY)
        program.prefix = [setpriv, f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    yield
    program.prefix = []


def test_no_write_access_to_downloads(place):
    downloads = place.root / "download"
    downloads.chmod(0o555)
    try:
        with as_nobody(place.program):
            assert f"{downloads}: no write access" in place.refused()
    finally:
        downloads.chmod(0o755)


async def test_homogeneous_redundancy(place):
    await place.world.setup()
    master = place.program.folder / "app_master.py"
    master.write_text(master.read_text().replace("handle_result)", "handle_result, homogeneous_redundancy=1)"))
    assert f"setup {place.root} --homogeneous-redundancy 1" in place.refused()
    await place.world.setup(homogeneous_redundancy=2)
    assert "asks for homogeneous redundancy 1, but the application has 2" in place.refused()


def test_homogeneous_redundancy_of_our_own_projects():
    """Local hosts are alike; a served project's scheduler does not look at what its hosts are."""
    app = batches.App(1, "pyboinc", 0, 1)
    asked = {"homogeneous_redundancy": 1}
    read = config.Project(
        root=Path("/p"),
        name="",
        master_url="",
        download_url="",
        upload_url="",
        download_dir=Path("/p"),
        upload_dir=Path("/p"),
        key_dir=Path("/p"),
        fanout=0,
        database_url="",
        kind=config.Kind.EMBEDDED,
        upload_certificates=False,
    )
    assert preflight.check_application(app, read, **asked) is app
    served = dataclasses.replace(read, kind=config.Kind.SERVED)
    with pytest.raises(errors.ProjectError, match="needs a BOINC project"):
        preflight.check_application(app, served, **asked)
    with pytest.raises(errors.ProjectError, match="run: python -m aioboinc serve --project /p"):
        preflight.check_application(None, served, homogeneous_redundancy=0)


class TestBatchDirectory:
    """The project's daemons run as nobody; the master runs as root."""

    pytestmark = AS_ROOT

    @pytest.fixture
    async def place(self, place: Place) -> Place:
        await place.world.setup()
        os.chown(place.root, NOBODY, NOBODY)
        return place

    def test_not_writable(self, place):
        folder = place.program.folder
        line = place.refused()
        assert f"daemons run as nobody, who can't write to {folder}/new;" in line
        assert f"setfacl -R -m u:nobody:rwX,d:u:nobody:rwX {folder}" in line
        folder.chmod(0o700)
        assert f"who can't enter {folder};" in place.refused()

    def test_by_the_trace_of_the_daemon(self, place):
        os.chown(place.root, 0, 0)
        pids = place.root / "pid_host"
        pids.mkdir()
        trace = pids / "pyboinc_assimilator.pid"
        trace.touch()
        os.chown(trace, NOBODY, NOBODY)
        assert "daemons run as nobody, who can't write" in place.refused()

    @pytest.mark.parametrize(("mode", "gid"), [(0o2775, NOBODY), (0o770, NOBODY), (0o1777, 0)])
    async def test_shared(self, place, mode, gid):
        """It is taken, and what is made in it is as open; seen by the refusal that comes next."""
        folder = place.program.folder
        os.chown(folder, 0, gid)
        folder.chmod(mode)
        master = folder / "app_master.py"
        master.write_text(master.read_text().replace("handle_result)", "handle_result, progress=stop)\n") + "\n")
        master.write_text("def stop(progress): raise SystemExit(9)\n" + master.read_text())
        finished = place.program.run()
        assert finished.returncode == 9, finished.stderr
        for name in ("new", "old", "tmp"):
            status = (folder / name).stat()
            assert (status.st_mode & 0o7777, status.st_gid) == (mode & ~0o1000, gid)
        folder.chmod(0o755)
        for name in ("new", "old", "tmp"):
            (folder / name).chmod(0o755)
        assert "who can't write to" in place.refused()  # and keeps the batch
        assert place.world.execute("SELECT njobs > 0 FROM pyboinc_batch") == [(1,)]
