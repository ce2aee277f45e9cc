"""Reading the system's processes, and the slave's environment."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from patience import PATIENCE, wait_until
from processes import is_alive

from aioboinc.slave_runtime import environment, processes_unix

BUSY = "while True: sum(range(1000))"
TABLES = ["ProcTable", "PsTable"]


def table(name: str) -> processes_unix.Table:
    if name == "ProcTable" and not os.path.exists("/proc/self/stat"):
        pytest.skip("there is no /proc")
    if name == "PsTable" and shutil.which("ps") is None:
        pytest.skip("there is no ps")
    found: processes_unix.Table = getattr(processes_unix, name)()
    return found


@pytest.mark.parametrize(
    ("line", "process"),
    [
        ("  501     1   501 Ss     0:00.04", (501, 1, 501, "S", 0.04)),
        ("  502   501   501 R+    12:34.56", (502, 501, 501, "R", 754.56)),
        ("503 501 501 T 01:02:03", (503, 501, 501, "T", 3723.0)),
        ("503 501 501 Z 2-01:02:03", (503, 501, 501, "Z", 176523.0)),
        ("503 501 501 U 0:00,04", (503, 501, 501, "U", 0.04)),
    ],
)
def test_what_ps_prints(line: str, process: tuple[object, ...]) -> None:
    assert processes_unix._parse_ps(line) == process


def test_what_else_ps_may_print_is_ignored() -> None:
    assert processes_unix._parse_ps("") is None
    assert processes_unix._parse_ps("503 501 501 Z -") is None


def test_descendants_are_found_whatever_their_order() -> None:
    def process(pid: int, parent: int, group: int = 1) -> processes_unix.Process:
        return processes_unix.Process(pid, parent, group, "S", 0.0)

    listed = [process(9, 5), process(5, 3), process(3, 2), process(4, 2), process(7, 1), process(8, 7, 77)]
    assert {found.pid for found in processes_unix._below(2, 0, listed)} == {3, 4, 5, 9}
    assert {found.pid for found in processes_unix._below(2, 77, listed)} == {3, 4, 5, 8, 9}
    assert processes_unix._below(10, 0, listed) == []
    assert {found.pid for found in processes_unix._below(1, 77, [process(1, 1)])} <= {1}


@pytest.mark.parametrize("name", TABLES)
def test_a_child_is_found(name: str) -> None:
    child = subprocess.Popen(["sleep", "1000"])
    try:
        found = {process.pid: process for process in table(name).descendants(os.getpid(), 0)}
        assert found[child.pid].parent == os.getpid()
        assert found[child.pid].state in "SRD"
        assert found[child.pid].cpu_time < 1
    finally:
        child.kill()
        child.wait()


def test_all_of_proc_is_read_where_the_kernel_lists_no_children() -> None:
    child = subprocess.Popen(["sleep", "1000"])
    try:
        proc = table("ProcTable")
        proc._lists_children = False  # type: ignore[attr-defined]
        assert child.pid in {process.pid for process in proc.descendants(os.getpid(), 0)}
    finally:
        child.kill()
        child.wait()


TREE = """
import sys, time
from aioboinc.slave_runtime import processes_unix

def patiently(condition):
    while not condition():
        time.sleep(0.01)

def test(tree):
    patiently(lambda: len(tree._processes()) == 2)
    assert tree.wait(0) is None
    patiently(lambda: tree.cpu_time() > 0.02)
    tree.suspend()
    # A vfork may be under way: its parent is in D.
    patiently(lambda: {{process.state for process in tree._processes()}} in ({{"T"}}, {{"T", "D"}}))
    used = tree.cpu_time()
    assert tree.cpu_time() - used < 0.1  # what the system had not booked yet
    tree.suspend()
    tree.resume()
    patiently(lambda: tree.cpu_time() > used)
    processes_unix._KILL_SECONDS = 1e9  # it returns because all have ended
    tree.kill()
    assert tree.wait(1e9) == -9
    # One whose parent was ending with it may be left as a zombie.
    assert {{process.state for process in tree._processes()}} <= set("ZX")
    assert tree.cpu_time() >= used

caught = processes_unix.catch_signals()
table = processes_unix.{table}()
tree = processes_unix.ProcessTree(table)
busy = "while True: sum(range(1000))"
both = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', sys.argv[1]]); exec(sys.argv[1])"
tree.start([sys.executable, "-c", both, busy], {{}}, ".")
try:
    test(tree)
finally:
    tree.kill()
assert not caught
"""


@pytest.mark.parametrize("name", TABLES)
def test_a_tree_is_stopped_continued_measured_and_killed(name: str) -> None:
    table(name)
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(TREE.format(table=name))],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="how others show a vfork is not known")
def test_the_parent_of_a_vfork_is_not_waited_for(tmp_path: Path) -> None:
    class CountingTable(processes_unix.ProcTable):
        reads = 0

        def descendants(self, pid: int, group: int) -> list[processes_unix.Process]:
            self.reads += 1
            return [process for process in super().descendants(pid, group) if process.group == group]

    def states() -> set[str]:
        return {process.state for process in tree._processes()}

    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    # The child waits for a writer before it becomes another program; until then its parent is in the kernel.
    vfork = f"""
        import os
        pid = os.posix_spawn("/bin/true", ["true"], {{}}, file_actions=[(os.POSIX_SPAWN_OPEN, 0, {str(fifo)!r}, 0, 0)])
        os._exit(7 if os.waitpid(pid, 0)[1] == 0 else 1)
    """
    counting = CountingTable()
    tree = processes_unix.ProcessTree(counting)
    tree.start([sys.executable, "-c", textwrap.dedent(vfork)], {}, ".")
    try:
        wait_until(lambda: states() == {"D", "S"}, log=states)
        tree.suspend()
        wait_until(lambda: states() == {"D", "T"}, log=states)
        counting.reads = 0
        tree.suspend()
        assert counting.reads == 1
        tree.resume()
        fifo.write_bytes(b"")
        wait_until(lambda: tree.wait(0.1) is not None, log=states)
        assert tree.wait(0) == 7
    finally:
        tree.kill()
        processes_unix._prctl(processes_unix._PR_SET_CHILD_SUBREAPER, 0)


ORPHAN = """
import os, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", '''
import os, subprocess, sys
from aioboinc.slave_runtime import processes_unix
{prepare}
processes_unix.die_with_parent(os.getppid())
grandchild = subprocess.Popen(["sleep", "1000"])
print(os.getpid(), grandchild.pid, flush=True)
{busy}
'''], stdout=subprocess.PIPE, start_new_session=True)
print(child.stdout.readline().decode(), flush=True)
os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize("prepare", ["", "processes_unix._prctl = lambda option, value: False"])
def test_a_child_dies_with_its_parent(prepare: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ORPHAN.format(prepare=prepare, busy=BUSY)],
        stdout=subprocess.PIPE,
        check=False,
        timeout=PATIENCE,
    )
    assert done.returncode == -9
    child, grandchild = map(int, done.stdout.split())
    try:
        while is_alive(child):
            pass  # it is about to end: the kernel does it, or a thread that looks every second
        while prepare and is_alive(grandchild):
            pass
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(grandchild, 9)


def test_whether_a_process_exists() -> None:
    child = subprocess.Popen(["true"])
    assert processes_unix.process_exists(child.pid)
    child.wait()
    assert not processes_unix.process_exists(child.pid)
    assert processes_unix.process_exists(1)


def test_strays_are_told_by_a_variable() -> None:
    if not sys.platform.startswith("linux"):
        pytest.skip("only where there is /proc")
    stray = subprocess.Popen(["sleep", "1000"], env={"SOME_SLOT": "/slots/1"})
    other = subprocess.Popen(["sleep", "1000"], env={"SOME_SLOT": "/slots/10"})
    try:
        processes_unix.kill_strays("SOME_SLOT", "/slots/1")
        assert stray.wait() == -9
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_the_environment_of_a_slave() -> None:
    clean = environment.clean(
        {
            "PATH": "/usr/bin",
            "HOME": "/home/x",
            "SYSTEMROOT": "C:\\Windows",
            "PYTHONPATH": "/x",
            "PYTHONHOME": "/x",
            "SECRET_TOKEN": "x",
            "LD_LIBRARY_PATH": "../../projects/p:.:../..:/opt/lib::/usr/lib",
            "DYLD_LIBRARY_PATH": "../../projects/p:.:../..",
        },
        cpus=2.9,
    )
    assert clean["PATH"] == "/usr/bin"
    assert clean["HOME"] == "/home/x"
    assert clean["SYSTEMROOT"] == "C:\\Windows"
    assert clean["LD_LIBRARY_PATH"] == "/opt/lib:/usr/lib"
    assert clean["PYTHONHASHSEED"] == "0"
    assert clean["OMP_NUM_THREADS"] == clean["MKL_NUM_THREADS"] == "2"
    assert not {"PYTHONPATH", "PYTHONHOME", "SECRET_TOKEN", "DYLD_LIBRARY_PATH"} & set(clean)
    assert environment.clean({}, cpus=0.1)["OMP_NUM_THREADS"] == "1"
