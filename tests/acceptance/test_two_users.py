"""Masters of another user than the project's: the commands of docs/projects.md, and what is said without them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_bad_projects import Place

from database import mariadb as mariadb_module

PROJECT, MASTER = 65534, 1
"""The users nobody and daemon, which every Debian has: the project's, and the one who computes."""
DOCUMENT = (Path(__file__).parents[2] / "docs" / "projects.md").read_text()

pytestmark = [
    pytest.mark.mariadb,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can be several users"),
    pytest.mark.skipif(
        not (shutil.which("setfacl") and shutil.which("setpriv")), reason="needs Debian's acl and util-linux"
    ),
]


def as_user(uid: int) -> list[str]:
    return ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"]


def recipe(place: Place, command: str) -> None:
    """Run the commands of the documentation that contain *command*, with the users and folders of the test."""
    lines = [line[2:] for line in DOCUMENT.splitlines() if line.startswith("$ setfacl") and command in line]
    assert lines
    for line in lines:
        words = re.sub(r"\balice\b", "daemon", re.sub(r"\bboincadm\b", "nobody", line))
        words = words.replace("/home/daemon/sweep", str(place.program.folder))
        uid = MASTER if str(place.program.folder) in words else PROJECT
        subprocess.run([*as_user(uid), *words.split()], cwd=place.root, check=True)


def give(path: Path, uid: int) -> None:
    for folder, _, files in os.walk(path):
        for name in (folder, *(os.path.join(folder, file) for file in files)):
            os.chown(name, uid, uid)


@pytest.fixture
async def place(mariadb: mariadb_module.MariaDB, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:  # type: ignore[misc]
    """A project of nobody's, with some of the directories in which BOINC puts input files; a program of daemon's."""
    monkeypatch.setenv("MYSQL_UNIX_PORT", str(mariadb.socket))
    mariadb.directory.chmod(0o755)
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        place = Place(Path(folder), mariadb)
        await place.world.setup()
        for number in range(0, 1024, 2):
            (place.root / "download" / f"{number:x}").mkdir()
        give(place.root, PROJECT)
        for path, mode in (("", 0o750), ("config.xml", 0o640), ("keys", 0o700)):
            (place.root / path).chmod(mode)
        give(place.program.folder, MASTER)
        place.program.prefix = as_user(MASTER)
        yield place


def test_the_recipe(place):
    """What is missing is said, one line at a time; with all of it a job goes its way, and its files go too."""
    assert "config.xml" in place.refused()
    recipe(place, "u:alice:x")
    assert "config.xml: Permission denied" in place.refused()
    recipe(place, "config.xml")
    assert "/download: no write access (nor to 512 more directories there)" in place.refused()
    recipe(place, "download")
    assert "daemons run as nobody, who can't write to" in place.refused()
    recipe(place, "sweep")

    master = place.program.folder / "app_master.py"
    text = master.read_text().replace("handle_result)", "handle_result, handle_error=print, progress=stop)")
    master.write_text("def stop(progress):\n    if progress.submitted == 100: raise SystemExit(9)\n" + text)
    finished = place.program.run()
    assert finished.returncode == 9, finished.stderr
    (njobs,) = place.world.execute("SELECT njobs FROM pyboinc_batch")[0]

    place.world.execute("UPDATE workunit SET error_mask = 16, assimilate_state = 1")
    daemon = [*as_user(PROJECT), sys.executable, "-m", "aioboinc.daemons.assimilator", "--one_pass"]
    environment = {**os.environ, "BOINC_PROJECT_DIR": str(place.root)}
    subprocess.run(daemon, env=environment, check=True, cwd="/", capture_output=True)
    master.write_text(text.replace(", progress=stop", ""))
    finished = place.program.run()
    assert finished.stdout.count("cancelled") == njobs, finished.stderr
    for path in (place.root / "download").rglob("pyboinc_*"):
        assert path.stat().st_mode & 0o044 == 0o044  # the web server reads it
        subprocess.run([*as_user(PROJECT), "rm", path], check=True)  # the file deleter


@pytest.mark.parametrize("way", ["list", "group"])
def test_directories_that_boinc_has_made_are_looked_at(place, way):
    """The hierarchy itself is open, and what was made in it before is not."""
    recipe(place, "u:alice:x")
    recipe(place, "config.xml")
    downloads = place.root / "download"
    if way == "list":
        entries = "u:daemon:rwX,d:u:daemon:rwX,d:u:nobody:rwX"
        subprocess.run(["setfacl", "-m", entries, downloads], check=True)
    else:
        os.chown(downloads, -1, MASTER)
        downloads.chmod(0o2775)
    line = place.refused()
    assert f"{downloads}/0: no write access (nor to 511 more directories there)" in line
    assert f"let that user run: setfacl -R -m u:daemon:rwX,d:u:daemon:rwX,d:u:nobody:rwX {downloads}" in line


def test_what_a_master_makes_must_be_the_projects_too(place):
    recipe(place, "u:alice:x")
    recipe(place, "config.xml")
    subprocess.run(["setfacl", "-R", "-m", "u:daemon:rwX", place.root / "download"], check=True)
    assert "nobody, the project's user, could not delete the input files in the directories" in place.refused()


def test_a_submission_that_cannot_begin_leaves_nothing(place):
    """What no look beforehand can tell: here, that a file of one of the names is a directory."""
    for command in ("u:alice:x", "config.xml", "download", "sweep"):
        recipe(place, command)

    master = place.program.folder / "app_master.py"
    master.write_text(master.read_text().replace("handle_result)", "handle_result, progress=print)"))

    before = place.world.rows()
    for number in range(1024):
        folder = place.root / "download" / f"{number:x}"
        folder.mkdir(exist_ok=True)
        shutil.rmtree(folder)
        folder.symlink_to("/proc")
    finished = place.program.run("--quiet")
    assert (finished.returncode, finished.stderr.count("\n")) == (2, 1), finished.stderr
    assert "download" in finished.stderr
    assert place.world.rows() == before
    assert place.program.files() == set()


def test_a_file_of_another_users_master_is_taken_as_it_is(place):
    """Programs are shared: their names have their contents' digests."""
    for command in ("u:alice:x", "config.xml", "download", "sweep"):
        recipe(place, command)
    master = place.program.folder / "app_master.py"
    text = master.read_text().replace("handle_result)", "handle_result, progress=stop)")
    master.write_text("def stop(progress):\n    if progress.submitted == 100: raise SystemExit(9)\n" + text)
    for uid in (MASTER, 5):
        place.program.prefix = as_user(uid)
        if uid != MASTER:
            for entry in ("u:games:rwX,d:u:games:rwX", "u:games:rwX"):
                subprocess.run(["setfacl", "-R", "-m", entry, place.root / "download"], check=False)
            subprocess.run(["setfacl", "-m", "u:games:rx", place.root, place.root / "keys"], check=True)
            for name in ("config.xml", "keys/pyboinc_private.pem"):
                subprocess.run(["setfacl", "-m", "u:games:r", place.root / name], check=True)
            for path in (place.root / "download").rglob("pyboinc_program_*"):
                subprocess.run(["setfacl", "-b", path], check=True)
            give(place.program.folder, uid)
            (place.program.folder / "pyboinc_checkpoint").unlink()
        finished = place.program.run()
        assert finished.returncode == 9, finished.stderr
    assert len(place.world.execute("SELECT id FROM pyboinc_batch")) == 2
