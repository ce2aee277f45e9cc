import json
import os
import shutil
import stat
import subprocess
import sys

import pytest

from aioboinc import errors
from aioboinc.batch import directory as batch_directory

CHECKPOINT = batch_directory.Checkpoint("0" * 32, "embedded", 7, "submitting")


@pytest.fixture
def directory(tmp_path):
    directory = batch_directory.BatchDirectory(tmp_path)
    directory.create()
    return directory


async def test_no_checkpoint_at_first(directory):
    assert await directory.read_checkpoint() is None


async def test_checkpoint_round_trip(directory):
    await directory.write_checkpoint(CHECKPOINT)
    assert await directory.read_checkpoint() == CHECKPOINT
    assert not list(directory.path.glob("*.tmp"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"token": "short", "project": "embedded", "batch": 1, "state": "submitting", "version": 1}',
        json.dumps({"token": "0" * 32, "project": 5, "batch": 1, "state": "submitting", "version": 1}),
        json.dumps({"token": "0" * 32, "project": "embedded", "batch": "1", "state": "submitting", "version": 1}),
        json.dumps({"token": "0" * 32, "project": "embedded", "batch": 1, "state": "odd", "version": 1}),
        json.dumps({"token": "0" * 32, "project": "embedded", "batch": 1, "state": "submitting", "version": 999}),
        "\ud800".encode("utf-8", "surrogatepass"),
    ],
)
async def test_damaged_checkpoint(directory, text):
    path = directory.path / "pyboinc_checkpoint"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(errors.CheckpointError, match="pyboinc_checkpoint"):
        await directory.read_checkpoint()


def test_retire_replaces_what_is_there(directory):
    (directory.new / "a").write_text("again")
    (directory.old / "a").write_text("before")
    directory.retire(["a"])
    assert (directory.old / "a").read_text() == "again"


def test_retire_of_an_output_that_was_published_twice(directory):
    """The assimilator publishes hard links: both are the same file then."""
    (directory.old / "a").write_text("a")
    (directory.new / "a").hardlink_to(directory.old / "a")
    directory.retire(["a"])
    assert list(directory.new.iterdir()) == []
    assert (directory.old / "a").read_text() == "a"


def test_create_heals_a_missing_subdirectory(directory):
    directory.old.rmdir()
    directory.create()
    assert directory.old.is_dir()


def test_lock_refuses_a_second_master(directory):
    with (
        directory.lock(),
        pytest.raises(errors.BatchLocked),
        batch_directory.BatchDirectory(directory.path).lock(),
    ):
        pass
    with directory.lock():
        pass


def test_lock_goes_with_a_killed_process(directory):
    program = (
        "import sys, pathlib, aioboinc.batch.directory as b\n"
        f"with b.BatchDirectory(pathlib.Path({str(directory.path)!r})).lock():\n"
        "    print('locked', flush=True); sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "locked\n"
        with pytest.raises(errors.BatchLocked), directory.lock():
            pass
        process.kill()
        process.wait()
        with directory.lock():
            pass


def test_lock_leaves_no_file(tmp_path):
    with batch_directory.BatchDirectory(tmp_path).lock():
        assert list(tmp_path.iterdir()) == []


def test_lock_of_a_missing_directory(tmp_path):
    with (
        pytest.raises(errors.UsageError, match="No such file"),
        batch_directory.BatchDirectory(tmp_path / "x").lock(),
    ):
        pass


async def test_discard_keeps_all_that_is_not_of_the_batch(directory):
    kept = ["app_master.py", "new/a", "old/pyboinc_8_1", "old/pyboinc_7_x", "tmp/pyboinc_7_1", "old/pyboinc_77_1"]
    for name in (
        *kept,
        "new/pyboinc_7_0",
        "old/pyboinc_7_1.error",
        "tmp/pyboinc_7_2.99-3",
        "tmp/pyboinc_7_2.error.9-3",
    ):
        (directory.path / name).write_text("")
    await directory.write_checkpoint(CHECKPOINT)
    directory.discard([7])
    left = {str(path.relative_to(directory.path)) for path in directory.path.rglob("*") if path.is_file()}
    assert left == set(kept)


async def test_discard_removes_empty_folders(directory):
    (directory.new / "pyboinc_7_0").write_text("")
    await directory.write_checkpoint(CHECKPOINT)
    directory.discard([7])
    assert list(directory.path.iterdir()) == []


def test_batches_are_seen_by_any_kind_of_name(directory):
    (directory.new / "pyboinc_7_0").write_text("")
    (directory.old / "pyboinc_8_0.error").mkdir()
    (directory.tmp / "pyboinc_9_0.12-3").symlink_to("nowhere")
    (directory.old / "pyboinc_10_x").write_text("")
    assert directory.batches() == {7, 8, 9}


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, lambda path: os.symlink("nowhere", path)])
def test_move_replaces_nothing_but_files(directory, make):
    (directory.new / "a").write_text("a")
    make(directory.old / "a")
    before = (directory.old / "a").lstat()
    for linked in (True, False):
        directory.retire(["a", "gone"], linked=linked)
    assert (directory.old / "a").lstat().st_ino == before.st_ino
    assert (directory.new / "a").read_text() == "a"


def test_folders_of_a_user_keep_their_modes(tmp_path):
    (tmp_path / "old").mkdir(0o700)
    directory = batch_directory.BatchDirectory(tmp_path)
    directory.create()
    assert stat.S_IMODE(directory.old.stat().st_mode) == 0o700
    directory.remove_made()
    assert [path.name for path in tmp_path.iterdir()] == ["old"]


async def test_heal_makes_again_what_is_gone(directory):
    with directory.lock():
        shutil.rmtree(directory.new)
        directory.heal(CHECKPOINT)
        assert directory.new.is_dir()
        assert await directory.read_checkpoint() == CHECKPOINT


def test_heal_of_a_directory_that_is_gone(tmp_path):
    directory = batch_directory.BatchDirectory(tmp_path / "a")
    with directory.made(), directory.lock():
        (tmp_path / "a").rename(tmp_path / "b")
        for make in (lambda: None, (tmp_path / "a").mkdir):
            make()
            with pytest.raises(errors.UsageError, match="removed or replaced"):
                directory.heal(CHECKPOINT)


def test_made_leaves_what_is_not_empty(tmp_path):
    for name in ("a/b/c", "a/b/d"):
        with batch_directory.BatchDirectory(tmp_path / name).made():
            (tmp_path / name / "file").write_text("")
    with batch_directory.BatchDirectory(tmp_path / "a/e/f").made():
        pass
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_dir()} == {
        "a",
        "a/b",
        "a/b/c",
        "a/b/d",
    }
