"""What may happen to a batch's files, disk and clock: it goes on, or there is one true line, and nothing is lost."""

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import time

import pytest

ANSWER = "sum 20540\n"
JOBS = 40
PATIENCE = 180


@pytest.fixture
def squares(program):
    """A batch that takes some seconds."""
    return program.write(
        app_slave="""
            import time
            time.sleep(0.05)
            pyboinc_return_output(pyboinc_get_input() ** 2)
        """,
        app_master=f"""
            total = 0
            async def make_calls():
                for i in range({JOBS}):
                    await pyboinc_call("app_slave.py", i)
            def handle_result(output):
                global total
                total += output
            await pyboinc_master(make_calls, handle_result)
            print("sum", total)
        """,
    )


def wait_for_outputs(folder, number):
    """Wait until so many jobs are handled."""
    deadline = time.monotonic() + PATIENCE
    while not (folder / "old").is_dir() or len(os.listdir(folder / "old")) < number:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def disturbed(program, disturb):
    """Run *program* and call *disturb* in the middle; return its exit status, output and complaints."""
    with program.running() as process:
        wait_for_outputs(program.folder, 5)
        disturb()
        output, complaints = process.communicate(timeout=PATIENCE)
    assert "Traceback" not in complaints
    return process.returncode, output, complaints


@pytest.mark.parametrize("name", [".pyboinc/log", ".pyboinc/checkpoints", "new", "tmp", "old"])
def test_a_directory_is_removed(squares, name):
    """The outputs that were handled are the user's to remove; those that are lost are computed again."""
    status, output, complaint = disturbed(
        squares, lambda: shutil.rmtree(squares.folder / name, ignore_errors=True)
    )
    if name == "new" and status == 2:  # one was published in it, and not handled yet
        assert "neither here nor in old/" in complaint
        return
    assert (status, output) == (0, ANSWER), complaint
    if name != "old":
        assert squares.run("--quiet").stdout == ANSWER


def test_the_outputs_that_wait_are_removed(squares):
    """What was not published is computed again."""
    status, output, complaint = disturbed(
        squares, lambda: shutil.rmtree(squares.folder / ".pyboinc" / "upload", ignore_errors=True)
    )
    again = squares.run("--quiet")
    assert status == 0, complaint
    assert (output, again.stdout) == (ANSWER, ANSWER)


@pytest.mark.parametrize("disturb", ["removed", "emptied"])
def test_the_checkpoint(squares, disturb):
    path = squares.folder / "pyboinc_checkpoint"
    status, output, _ = disturbed(squares, path.unlink if disturb == "removed" else lambda: path.write_text(""))
    assert (status, output) == (0, ANSWER)
    assert squares.run("--quiet").stdout == ANSWER
    path.unlink()
    assert squares.run("--quiet").stdout == ANSWER
    assert squares.query("SELECT COUNT(*) FROM workunit") == [(JOBS,)]


@pytest.mark.parametrize("name", ["project.sqlite", "download", ""])
def test_what_cannot_be_made_again(squares, name):
    """Put back, the batch goes on."""
    path = squares.folder / ".pyboinc" / name
    kept = squares.folder / "kept"
    kept.mkdir()

    def take_away():
        for part in path.parent.glob("project.sqlite*") if name == "project.sqlite" else [path]:
            part.rename(kept / part.name)

    status, output, complaint = disturbed(squares, take_away)
    assert (status, output) == (2, "")
    assert ".pyboinc" in complaint
    assert "was removed or replaced while" in complaint
    finished = squares.run("--quiet")
    assert (finished.returncode, finished.stderr.count("\n")) == (2, 1)
    assert "gone" in finished.stderr
    assert "put it back, or start anew with --fresh" in finished.stderr
    for part in kept.iterdir():
        target = path.parent / part.name
        if target.is_dir():
            shutil.rmtree(target)
        part.rename(target)
    assert squares.run("--quiet").stdout == ANSWER


def test_the_database_is_emptied(squares):
    squares.run()
    outputs = {path.name for path in (squares.folder / "old").iterdir()}
    (squares.folder / ".pyboinc" / "project.sqlite").write_bytes(b"")
    finished = squares.run("--quiet")
    assert finished.returncode == 2
    assert "project.sqlite is gone or empty, and what is known of the batch with it" in finished.stderr
    assert {path.name for path in (squares.folder / "old").iterdir()} == outputs
    assert squares.run("--quiet", "--fresh").stdout == ANSWER


def test_the_database_is_another_one(squares):
    squares.run()
    path = squares.folder / ".pyboinc" / "project.sqlite"
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        database.execute("DELETE FROM pyboinc_batch")
    finished = squares.run("--quiet")
    assert finished.returncode == 2
    assert "does not know the batch 1 any more" in finished.stderr


@contextlib.contextmanager
def file_system(folder, options):
    """Mount a small file system of its own; yields what mounts it again with other options."""

    def mount(options):
        return subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "none", folder], capture_output=True, check=False
        ).returncode

    if mount(options):
        pytest.skip("mounting a file system takes root's rights")
    try:
        yield lambda options: mount(f"remount,{options}")
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.mark.parametrize("options", ["size=1300k", "size=20m,nr_inodes=100", "size=20m,nr_inodes=200"])
def test_a_file_system_that_is_too_small(squares, tmp_path, options):
    sources = {path.name: path.read_text() for path in tmp_path.glob("*.py")}
    with file_system(tmp_path, options) as mount_again:
        for name, text in sources.items():
            (tmp_path / name).write_text(text)
        finished = squares.run("--quiet")
        assert (finished.returncode, finished.stdout) == (2, ""), finished.stderr
        assert "Traceback" not in finished.stderr
        line = finished.stderr.splitlines()[-1]
        assert "make room" in line
        assert mount_again("size=100m,nr_inodes=100000") == 0
        assert squares.run("--quiet").stdout == ANSWER


def test_a_disk_that_fills_up(squares, tmp_path):
    sources = {path.name: path.read_text() for path in tmp_path.glob("*.py")}
    with file_system(tmp_path, "size=20m"):
        for name, text in sources.items():
            (tmp_path / name).write_text(text)

        def fill():
            with contextlib.suppress(OSError), open(tmp_path / "large", "wb", buffering=0) as file:
                while True:
                    file.write(bytes(1 << 16))

        status, output, complaint = disturbed(squares, fill)
        assert (status, output) == (2, "")
        assert "the disk is full: make room, then run the same command again" in complaint
        (tmp_path / "large").unlink()
        assert squares.run("--quiet").stdout == ANSWER


CLOCK = """
    import os, time
    real, start = time.time, time.monotonic()
    offset = eval("lambda t: " + os.environ["OFFSET"])
    time.time = lambda: real() + offset(time.monotonic() - start)
"""
IN_2040, IN_1970 = "14 * 365 * 86400", "100 - real()"


@pytest.mark.parametrize("offset", [IN_2040, IN_1970, "1e8 * int(2 * t)", "-1e8 * int(2 * t)"])
def test_a_clock_that_is_wrong_or_jumps(squares, tmp_path_factory, offset):
    folder = tmp_path_factory.mktemp("clock")
    squares.write(**{"app_clock": CLOCK})
    (squares.folder / "app_clock.py").rename(folder / "sitecustomize.py")
    squares.environment |= {"PYTHONPATH": str(folder), "OFFSET": offset}
    assert squares.run("--quiet").stdout == ANSWER


def test_a_clock_that_is_set_right(squares, tmp_path_factory):
    """What is due in 2040 when the master is killed is due at once today, and in 1970."""
    folder = tmp_path_factory.mktemp("clock")
    squares.write(**{"app_clock": CLOCK})
    (squares.folder / "app_clock.py").rename(folder / "sitecustomize.py")
    for offset in (IN_2040, "0", IN_1970):
        squares.environment |= {"PYTHONPATH": str(folder), "OFFSET": offset}
        outputs = len(os.listdir(squares.folder / "old")) if (squares.folder / "old").exists() else 0
        with squares.running() as process:
            wait_for_outputs(squares.folder, outputs + 5)
            process.send_signal(signal.SIGKILL)
            process.wait()
    assert squares.run("--quiet").stdout == ANSWER
