"""Bad input gets one clear line, exit status 2, and nothing is changed."""

import itertools
import json
import os
import shutil
import tempfile
from pathlib import Path

import pytest

MASTER = """
    import app_types
    async def make_calls():
        await pyboinc_call("app_slave.py", app_types.Input(1))
    await pyboinc_master(make_calls, print)
"""


@pytest.fixture
def sum_of_squares(sum_of_squares):
    """The example with few calls."""
    master = sum_of_squares.folder / "app_master.py"
    master.write_text(master.read_text().replace("range(100)", "range(5)"))
    return sum_of_squares


def refused(program, *options):
    """Run *program*; return its one line on stderr."""
    finished = program.run("--quiet", *options)
    assert finished.returncode == 2, finished.stderr
    assert finished.stdout == ""
    assert finished.stderr.count("\n") == 1, finished.stderr
    return finished.stderr


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"app_master": "def f(:"}, "app_master.py:1: "),
        ({"app_master": "pyboinc_master(1, 2)"}, "write `await pyboinc_master(...)`"),
        ({"app_master": MASTER, "app_types": "class Input:\n def __init__(self, x): self.x = x"}, "app_slave.py"),
        (
            {
                "app_slave": "import app_typos",
                "app_master": """
                    async def make_calls():
                        await pyboinc_call("app_slave.py", 1)
                    await pyboinc_master(make_calls, print)
                """,
            },
            "app_typos",
        ),
        (
            {
                "app_slave": "def f(:",
                "app_master": """
                    async def make_calls():
                        await pyboinc_call("app_slave.py", 1)
                    await pyboinc_master(make_calls, print)
                """,
            },
            "app_slave.py",
        ),
        (
            {
                "app_slave": "pass",
                "app_master": """
                    async def make_calls():
                        await pyboinc_call("app_slave.py", {"model": [0, lambda: 1]})
                    await pyboinc_master(make_calls, print)
                """,
            },
            "input['model'][1]: function is not data",
        ),
        (
            {
                "app_slave": "pass",
                "app_master": """
                    class Input: pass
                    async def make_calls():
                        await pyboinc_call("app_slave.py", Input())
                    await pyboinc_master(make_calls, print)
                """,
            },
            "Input",
        ),
        (
            {"app_master": "await pyboinc_master(lambda: None, print)"},
            "made no call",
        ),
        (
            {"app_master": "await pyboinc_master(lambda: None, print, homogeneous_redundancy=7)"},
            "homogeneous_redundancy=7: must be 0",
        ),
        (
            {
                "app_slave": "pass",
                "app_master": """
                    async def make_calls():
                        await pyboinc_call("app_slave.py", 1, quorum="two")
                    await pyboinc_master(make_calls, print)
                """,
            },
            "app_master.py:3: pyboinc_call: quorum='two'",
        ),
        (
            {
                "app_slave": "pass",
                "app_master": """
                    def simulate(x):
                        return x
                    async def make_calls():
                        await pyboinc_call(simulate, 3)
                    await pyboinc_master(make_calls, print)
                """,
            },
            "app_master.py:5: pyboinc_call: the slave must be the name of a Python file",
        ),
        (
            {
                "app_slave": "pass",
                "app_master": """
                    async def make_calls():
                        await pyboinc_call("app_slave.py", 3, rsc_fpops_est=float("inf"), quorom=2)
                    await pyboinc_master(make_calls, print)
                """,
            },
            "there is no option quorom: did you mean quorum?",
        ),
        (
            {"app_master": "await pyboinc_master(3, print)"},
            "aioboinc: pyboinc_master: make_calls=3: must be a function",
        ),
        (
            {"app_slave": "", "app_master": "pyboinc_call('app_slave.py', 1)"},
            "pyboinc_call outside of pyboinc_master",
        ),
        ({"app_master": "def main():\n    pyboinc_master(len, print)\nmain()"}, "app_master.py:2: write `await"),
        (
            {
                "app_types": "",
                "app_slave": "import app_types.extra",
                "app_master": """
                    async def make_calls():
                        await pyboinc_call("app_slave.py", 1)
                    await pyboinc_master(make_calls, print)
                """,
            },
            "app_types is a module, not a package",
        ),
    ],
)
def test_refused_programs_leave_no_trace(program, files, message):
    assert message in refused(program.write(**files))
    assert program.files() == set()


def test_no_program(program):
    assert "app_master.py: No such file" in refused(program)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--workers", "three"], "argument --workers: 'three': must be a whole number of 1 or more"),
        (["--workers", "0"], "argument --workers: '0': must be a whole number of 1 or more"),
        (["--wrokers", "3"], "--wrokers"),
        (["--project", "nope"], "nope: no such project directory"),
    ],
)
def test_options_of_the_command_line(sum_of_squares, options, message):
    assert message in refused(sum_of_squares, *options)
    assert sum_of_squares.files() == set()


def test_another_master_is_running(sum_of_squares):
    sum_of_squares.write(
        app_slave="""
            import time, app_types
            time.sleep(1e6)
        """
    )
    with sum_of_squares.running() as process:
        while "of" not in process.stderr.readline():
            pass
        assert "another master" in refused(sum_of_squares)


def test_a_directory_that_is_not_writable(sum_of_squares):
    """Root may write anywhere: then the program runs as nobody, in a directory of root's."""
    folder = sum_of_squares.folder
    if os.geteuid() == 0:
        setpriv = shutil.which("setpriv")
        if setpriv is None:
            pytest.skip("needs setpriv (Debian: util-linux)")
        own = itertools.takewhile(lambda path: path != Path(tempfile.gettempdir()), (folder, *folder.parents))
        for path in own:  # those of the test run alone
            path.chmod(0o755)
        sum_of_squares.prefix = [setpriv, "--reuid=65534", "--regid=65534", "--clear-groups"]
    else:
        folder.chmod(0o555)
    try:
        assert "not writable" in refused(sum_of_squares)
    finally:
        folder.chmod(0o755)
    assert sum_of_squares.files() == set()


def test_a_damaged_checkpoint(sum_of_squares):
    sum_of_squares.run()
    checkpoint = sum_of_squares.folder / "pyboinc_checkpoint"
    for text in ("", "{}", '{"token": 3}', "\0\0\0"):
        checkpoint.write_text(text)
        assert "pyboinc_checkpoint: damaged" in refused(sum_of_squares)
        assert checkpoint.read_text() == text
        assert sum_of_squares.run("--fresh").stdout == "The answer is 30\n"


def test_a_checkpoint_of_another_project(sum_of_squares):
    sum_of_squares.run()
    checkpoint = sum_of_squares.folder / "pyboinc_checkpoint"
    fields = json.loads(checkpoint.read_text())
    checkpoint.write_text(json.dumps({**fields, "project": "http://elsewhere.example.org/"}))
    assert "http://elsewhere.example.org/" in refused(sum_of_squares)


def test_the_embedded_project_is_gone(sum_of_squares):
    sum_of_squares.run()
    shutil.rmtree(sum_of_squares.folder / ".pyboinc")
    assert "is gone" in refused(sum_of_squares)
