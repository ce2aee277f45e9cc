import json
import subprocess
import sys

import pytest

from aioboinc import batch_directory, errors

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
        "import sys, pathlib, aioboinc.batch_directory as b\n"
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


async def test_discard_keeps_nothing_but_the_users_files(directory):
    (directory.path / "app_master.py").write_text("")
    (directory.new / "a").write_text("a")
    directory.embedded_project.mkdir()
    await directory.write_checkpoint(CHECKPOINT)
    directory.discard()
    assert [path.name for path in directory.path.iterdir()] == ["app_master.py"]
