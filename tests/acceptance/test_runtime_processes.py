"""The runtime as a host runs it: the launcher, a supervisor, the slave and its descendants, real signals."""

from __future__ import annotations

import base64
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from fake_client import JOB, PROJECT, FakeClient, repack
from local_host_bench import running, value_of
from patience import wait_until
from processes import is_alive
from slave_ends import ENDS, STATE, End

from aioboinc.program import bundle as program
from aioboinc.project import keys
from aioboinc.slave_runtime import environment, failures, processes_unix, slot
from aioboinc.wire import codec, envelope

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")

KEY = keys.PrivateKey(rsa.generate_private_key(65537, 2048))
BUSY = "import time\nwhile True: sum(range(1000))"
TYPES = "class Point:\n    def __init__(self, x):\n        self.x = x\n"


def interpreters() -> list[str]:
    """Return the Pythons to test with: this one, and those that AIOBOINC_TEST_PYTHONS names or that PATH has."""
    names = os.environ.get("AIOBOINC_TEST_PYTHONS", "python3.8:python3.13").split(":")
    found = [sys.executable]
    for name in names:
        path = shutil.which(name)
        if path and subprocess.run([path, "-c", ""], capture_output=True, check=False).returncode == 0:
            found.append(path)
    return found


every_python = pytest.mark.parametrize("client", interpreters(), indirect=True)


@pytest.fixture
def client(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[FakeClient]:
    client = FakeClient(tmp_path / "boinc", getattr(request, "param", sys.executable), KEY)
    yield client
    client.stop()
    processes_unix.kill_strays(environment.MARKER, str(client.slot))


def sources(text: str) -> program.Sources:
    files = {"app_slave.py": textwrap.dedent(text).encode(), "app_types.py": TYPES.encode()}
    return program.Sources("app_slave.py", files, {"app_types": "app_types.py"}, "")


def give(client: FakeClient, text: str, value: object = None) -> None:
    client.job(sources(text), codec.encode(value))


def result(client: FakeClient) -> object:
    content = envelope.decode(client.output.read_bytes(), codec.OPAQUE)
    assert (content.job, content.status) == (JOB, "ok")
    return content.value


def do(client: FakeClient, text: str, value: object = None) -> object:
    """Run a job to its end and return its output."""
    give(client, text, value)
    client.start()
    assert client.wait() == 0, client.stderr
    assert client.finished
    return result(client)


def processes(client: FakeClient) -> list[processes_unix.Process]:
    assert client.process is not None
    return processes_unix.ProcTable().descendants(client.process.pid, 0)


def are_stopped(processes: list[processes_unix.Process]) -> bool:
    """Say whether all are stopped, or in a vfork whose child is: that is D."""
    return {process.state for process in processes} in ({"T"}, {"T", "D"})


def waited_for(pid: int) -> float:
    """Return the CPU seconds of the children that a process has waited for."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[13:15])) / os.sysconf("SC_CLK_TCK")


# A slave with a child, a grandchild, and a daemon that has left its session and its parents.
FAMILY = f"""
import os, subprocess, sys
busy = [sys.executable, "-c", {BUSY!r}]
child = subprocess.Popen([sys.executable, "-c", "import subprocess, sys; subprocess.run(sys.argv[1:])", *busy])
daemon = subprocess.run(
    [sys.executable, "-c",
     "import subprocess, sys; print(subprocess.Popen(sys.argv[1:], start_new_session=True, stdout=2).pid)", *busy],
    stdout=subprocess.PIPE)
with open("pids", "w") as file:
    file.write(f"{{os.getpid()}} {{child.pid}} {{int(daemon.stdout)}} all\\n")
while True:
    sum(range(1000))
"""


def start_family(client: FakeClient) -> list[int]:
    """Start a slave with descendants; return their process ids, four of them, the slave's first."""
    give(client, FAMILY)
    client.start()
    path = client.slot / "pids"
    client.until(lambda: path.exists() and "all" in path.read_text() and len(processes(client)) == 4)
    known = list(map(int, path.read_text().split()[:3]))
    pids = {process.pid for process in processes(client)}
    assert pids > set(known)
    return known + list(pids - set(known))


@every_python
def test_a_job(client: FakeClient) -> None:
    text = """
        import sys, app_types
        print("to stdout")
        print("to stderr", file=sys.stderr)
        pyboinc_fraction_done(0.5)
        pyboinc_checkpoint(app_types.Point(1))
        pyboinc_return_output([pyboinc_get_input(), pyboinc_restore().x, list(sys.version_info[:2])])
    """
    version = subprocess.check_output(
        [client.python, "-c", "import sys; print(list(sys.version_info[:2]))"], text=True
    )
    assert str(do(client, text, "input")) == f"['input', 1, {version.strip()}]"
    assert "to stdout\n" in client.stderr
    assert "to stderr\n" in client.stderr
    assert client.status.fraction_done == 1
    assert client.status.cpu_time > 0
    assert 0 < client.status.checkpoint_cpu_time <= client.status.cpu_time
    assert not list(client.slot.glob("*.tmp"))


@every_python
def test_a_job_that_raises_has_finished(client: FakeClient) -> None:
    give(client, "x = 1\nx / 0")
    client.start()
    assert client.wait() == 0
    assert client.finished
    content = envelope.decode(client.output.read_bytes(), codec.OPAQUE)
    assert content.status == "error"
    assert content.value["traceback"] == [["app_slave.py", 2, "<module>", "x / 0"]]


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS.keys())
def test_the_end_is_that_of_python(client: FakeClient, end: End) -> None:
    give(client, end.slave)
    client.start()
    assert client.wait() == end.status, client.stderr
    assert client.finished == (end.status == 0)
    if client.finished:
        content = envelope.decode(client.output.read_bytes(), codec.OPAQUE)
        value = content.value
        assert ([value["type"], value["message"]] if content.status == "error" else value) == end.output
    assert {name: (client.slot / name).read_text() for name in end.left} == end.left
    assert end.said in client.stderr


def test_temporary_files_are_in_the_slot(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="pb", dir="/tmp") as short:
        client = FakeClient(Path(short), sys.executable, KEY)
        (client.slot / "tmp").mkdir()
        (client.slot / "tmp" / "of an earlier run").touch()
        text = "import os, tempfile\npyboinc_return_output([os.listdir('tmp'), tempfile.mkstemp()[1]])"
        names, path = do(client, text)  # type: ignore[misc]
        assert (names, Path(path).parent) == ([], client.slot / "tmp")


async def test_a_slave_finds_the_same_in_every_place_and_every_time() -> None:
    with tempfile.TemporaryDirectory(prefix="pb", dir="/tmp") as short:
        client = FakeClient(Path(short), sys.executable, KEY)
        expected = do(client, STATE)
        async with running(Path(short) / "embedded", KEY) as bench:
            jobs = [bench.job(STATE.lstrip("\n")) for _ in range(4)]
            for job in jobs:
                await bench.run(job)
        found = [value_of(job) for job in jobs]
    assert isinstance(expected, dict)
    for value in found:
        different = {key: (value[key], expected[key]) for key in expected if value[key] != expected[key]}
        assert not different


def test_the_input_in_the_command_line(client: FakeClient) -> None:
    data = codec.encode("x" * 24000)
    give(client, "pyboinc_return_output(len(pyboinc_get_input()))")
    (client.slot / "pyboinc_input").unlink()
    client.arguments = ["--input-base64", base64.b64encode(data).decode(), "--nthreads", "1"]
    client.start()
    assert client.wait() == 0, client.stderr
    assert result(client) == 24000


@every_python
def test_the_environment_is_clean(client: FakeClient) -> None:
    give(
        client, "import os, sys\npyboinc_return_output([dict(os.environ), sys.path, sys.flags.hash_randomization])"
    )
    client.start(PYTHONPATH="/elsewhere", PYTHONSTARTUP="x", OMP_NUM_THREADS="64", LD_LIBRARY_PATH=".:/usr/lib/x")
    assert client.wait() == 0, client.stderr
    variables, path, randomization = result(client)  # type: ignore[misc]
    assert randomization == 0
    assert variables["PYTHONHASHSEED"] == "0"
    assert variables["OMP_NUM_THREADS"] == "1"
    assert variables["LD_LIBRARY_PATH"] == "/usr/lib/x"
    assert variables["PATH"].startswith(str(client.bin))
    assert not {"PYTHONPATH", "PYTHONSTARTUP"} & set(variables)
    assert path[0] == str(client.slot / "pyboinc_program_files")
    assert "/elsewhere" not in path
    assert str(client.slot) not in path


def test_symbolic_links_and_copies(client: FakeClient) -> None:
    give(client, "pyboinc_return_output(pyboinc_get_input())", 7)
    for name in ("pyboinc_runtime", "pyboinc_program", "pyboinc_output"):
        target = slot.resolve(str(client.slot), name)
        (client.slot / name).unlink()
        (client.slot / name).symlink_to(os.path.relpath(target, client.slot))
    for name in ("pyboinc_key", "pyboinc_input"):
        shutil.copy(slot.resolve(str(client.slot), name), client.slot / name)
    client.start()
    assert client.wait() == 0, client.stderr
    assert result(client) == 7
    assert (client.slot / "pyboinc_output").is_symlink()


def test_an_output_that_the_client_copies(client: FakeClient) -> None:
    give(client, "pyboinc_return_output(7)")
    (client.slot / "pyboinc_output").unlink()
    client.start()
    assert client.wait() == 0, client.stderr
    assert not client.output.exists()
    content = (client.slot / "pyboinc_output").read_bytes()
    assert envelope.decode(content, codec.OPAQUE).value == 7


@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
def test_paths_with_other_characters(tmp_path: Path, locale: str) -> None:
    client = FakeClient(tmp_path / "Müller & Söhne ☃ 'a b'", sys.executable, KEY)
    give(client, "import os\npyboinc_return_output([pyboinc_get_input(), os.path.exists(__file__)])", "ü")
    client.start(LC_ALL=locale)
    assert client.wait() == 0, client.stderr
    assert result(client) == ["ü", True]


@every_python
def test_suspend_stops_all_descendants_and_resume_lets_them_go_on(client: FakeClient) -> None:
    pids = start_family(client)
    client.request("<suspend/>")
    client.until(lambda: are_stopped(processes(client)))
    assert {process.pid for process in processes(client)} == set(pids)
    before = sum(process.cpu_time for process in processes(client))
    beats = client.beats
    client.until(lambda: client.beats > beats + 3)  # the supervisor still takes them
    assert sum(process.cpu_time for process in processes(client)) - before < 0.1
    client.request("<resume/>")
    client.until(lambda: "T" not in {process.state for process in processes(client)})
    client.until(lambda: sum(process.cpu_time for process in processes(client)) > before + 0.1)


@every_python
@pytest.mark.parametrize(("message", "status"), [("<quit/>", 0), ("<abort/>", 194)])
@pytest.mark.parametrize("suspended", [False, True])
def test_quit_and_abort_leave_no_process(client: FakeClient, message: str, status: int, suspended: bool) -> None:
    pids = start_family(client)
    if suspended:
        client.request("<suspend/>")
        client.until(lambda: are_stopped(processes(client)))
    client.request(message)
    assert client.wait() == status
    assert not any(map(is_alive, pids))
    assert not client.finished
    assert not client.output.exists()
    assert not (client.slot / "boinc_temporary_exit").exists()


@every_python
def test_the_cpu_time_of_all_descendants_is_told_while_they_run(client: FakeClient) -> None:
    start_family(client)
    client.until(lambda: client.status.cpu_time > 0.5)
    told = client.status.cpu_time
    assert client.process is not None
    # The interpreter that the launcher has tried counts too: the supervisor is the launcher's process.
    used = waited_for(client.process.pid) + sum(process.cpu_time for process in processes(client))
    assert told <= used + 0.1
    client.until(lambda: client.status.cpu_time > told)
    assert client.status.checkpoint_cpu_time == 0


def test_the_cpu_time_of_earlier_episodes_counts(client: FakeClient) -> None:
    client.cpu_time = 1000.0
    do(client, "import time\nwhile time.process_time() < 0.3: pass\npyboinc_return_output(1)")
    assert 1000.3 <= client.status.cpu_time < 1010
    assert client.status.checkpoint_cpu_time == 1000


COUNTER = """
import time
count = pyboinc_restore() or 0
first = count
while first == 0 or count < first + 3:
    count += 1
    pyboinc_checkpoint(count)
    pyboinc_fraction_done(0.25)
    sum(range(100000))
pyboinc_return_output([first, count])
"""


@every_python
def test_a_job_goes_on_from_its_last_checkpoint(client: FakeClient) -> None:
    give(client, COUNTER)
    client.start()
    client.until(lambda: client.status.checkpoint_cpu_time > 0)
    assert client.status.fraction_done == 0.25
    client.request("<quit/>")
    assert client.wait() == 0
    assert not client.finished
    client.cpu_time = client.status.checkpoint_cpu_time
    client.start()
    assert client.wait() == 0, client.stderr
    assert client.finished
    first, last = result(client)  # type: ignore[misc]
    assert first > 0
    assert last == first + 3
    assert client.status.cpu_time > client.cpu_time


@every_python
def test_a_supervisor_that_is_killed_takes_the_slave_with_it(client: FakeClient) -> None:
    pids = start_family(client)
    assert client.process is not None
    client.process.kill()
    client.process.wait()
    wait_until(lambda: not is_alive(pids[0]))
    # What its descendants leave is killed when the client starts the job again, in a slot as it was left.
    (client.slot / "boinc_finish_called").write_text("0\n")
    (client.slot / "pyboinc_output.tmp").write_text("half an out")
    (client.slot / "pyboinc_progress").write_bytes(bytes(16))
    client.output.write_text("half an out")
    shutil.rmtree(client.slot / "pyboinc_program_files" / "app_slave.py", ignore_errors=True)
    (client.slot / "pyboinc_program_files" / "left_over.py").write_text("")
    assert do(client, "import os\npyboinc_return_output(sorted(os.listdir(os.path.dirname(__file__))))") == [
        "app_slave.py",
        "app_types.py",
    ]
    wait_until(lambda: not any(map(is_alive, pids)))


def test_an_output_of_an_earlier_run_does_not_count(client: FakeClient) -> None:
    client.output.write_text("old")
    give(client, "import os\nos._exit(0)")
    client.start()
    assert client.wait() == failures.NO_OUTPUT
    assert not client.output.exists()
    assert client.stderr.splitlines()[-1] == "pyboinc: slave returned no output: its process was ended from within"


@every_python
@pytest.mark.parametrize(
    ("text", "status", "line"),
    [
        ("import sys; sys.exit(3)", 3, "slave exited with status 3"),
        ("pass", failures.NO_OUTPUT, "slave returned no output: it ended without calling pyboinc_return_output"),
        ("raise MemoryError", failures.OUT_OF_MEMORY, "this host can't do the job: not enough memory"),
        (
            "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)",
            139,
            "slave was killed by signal 11 (SIGSEGV)",
        ),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", 137, "slave was killed by signal 9 (SIGKILL)"),
        (
            "import os, signal; os.kill(os.getpid(), signal.SIGTERM)",
            143,
            "slave was killed by signal 15 (SIGTERM)",
        ),
        ("import os; os._exit(7)", 7, None),
    ],
)
def test_a_failure_has_its_status_and_a_last_line(
    client: FakeClient, text: str, status: int, line: str | None
) -> None:
    give(client, text)
    client.start()
    assert client.wait() == status
    assert not client.finished
    assert not client.output.exists()
    if line is not None:
        assert client.stderr.splitlines()[-1] == f"pyboinc: {line}"


@every_python
def test_what_a_slave_leaves_running_is_killed(client: FakeClient) -> None:
    pid = do(
        client,
        f"""
        import subprocess, sys, threading
        threading.Thread(target=threading.Event().wait, daemon=True).start()
        left = subprocess.Popen([sys.executable, "-c", {BUSY!r}], start_new_session=True)
        pyboinc_return_output(left.pid)
        """,
    )
    assert isinstance(pid, int)
    assert not is_alive(pid)


def test_a_client_whose_process_is_gone(client: FakeClient) -> None:
    stand_in = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    client.client_pid = stand_in.pid
    pids = start_family(client)
    stand_in.communicate()
    assert client.wait() == 0
    assert not any(map(is_alive, pids))
    assert not client.finished
    assert client.stderr.splitlines()[-1] == "pyboinc: the client is gone"


def test_a_client_that_is_our_parent_and_is_killed(client: FakeClient) -> None:
    """Also where another process has got its id meanwhile: the id in init_data.xml is one that exists."""
    give(client, f"{BUSY}")
    launcher = client.project / "launcher.sh"
    start = launcher.with_name("start.sh")
    start.write_text(f"#!/bin/sh\n{str(launcher)!r} &\necho $! >pid\nwait\n")
    start.chmod(0o755)
    launcher.rename(launcher.with_name("real.sh"))
    launcher.write_text(start.read_text().replace("launcher.sh", "real.sh"))
    launcher.chmod(0o755)
    client.start()
    client.until(lambda: client.history)
    pids = [process.pid for process in processes(client)]
    assert len(pids) == 2
    client.stop()
    wait_until(lambda: not any(map(is_alive, pids)))
    assert client.stderr.splitlines()[-1] == "pyboinc: the client is gone"


def change_main(client: FakeClient, call: str) -> None:
    """Have the runtime's archive call main() in another way."""

    def change(members: dict[str, bytes]) -> None:
        members["__main__.py"] = members["__main__.py"].replace(b"main()", f"main({call})".encode())

    client.put("runtime_1.zip", repack((client.project / "runtime_1.zip").read_bytes(), change))


def test_heartbeats_are_taken(client: FakeClient) -> None:
    """What counts as silence is a matter of clocks: test_runtime_supervisor.py."""
    change_main(client, "heartbeat_seconds=3600")
    client.client_pid = 0
    give(client, BUSY)
    client.start()
    client.until(lambda: client.beats > 3 and client.history)


def test_a_client_without_heartbeats(client: FakeClient) -> None:
    """Where its process id is not known; with half a second in place of half a minute."""
    change_main(client, "heartbeat_seconds=0.5")
    client.client_pid = 0
    client.heartbeats = False
    give(client, BUSY)
    client.start()
    assert client.wait() == 0
    assert not client.finished
    assert client.stderr.splitlines()[-1] == "pyboinc: the client is gone"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_the_job_for_now(client: FakeClient, number: signal.Signals) -> None:
    pids = start_family(client)
    assert client.process is not None
    client.process.send_signal(number)
    assert client.wait() == -number, "the client restarts what was killed by a signal"
    assert not any(map(is_alive, pids))
    assert not client.finished


def test_a_slave_that_is_shut_down_before_its_supervisor_has_not_failed(client: FakeClient) -> None:
    pids = start_family(client)
    assert client.process is not None
    # Stopped meanwhile: it would give its own signal two seconds.
    client.process.send_signal(signal.SIGSTOP)
    os.kill(pids[0], signal.SIGTERM)
    wait_until(lambda: not is_alive(pids[0]))
    client.process.send_signal(signal.SIGTERM)
    client.process.send_signal(signal.SIGCONT)
    assert client.wait() == -signal.SIGTERM
    assert not any(map(is_alive, pids))


@every_python
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        pytest.param(lambda m: m.update({"app_slave.py": b"print('evil')"}), "altered", id="a file"),
        pytest.param(lambda m: m.update({"more.py": b""}), "differ: more.py", id="another file"),
        pytest.param(lambda m: m.update({"MANIFEST.json": b" " + m["MANIFEST.json"]}), "signature", id="manifest"),
        pytest.param(lambda m: m.pop("SIGNATURE"), "not signed", id="no signature"),
    ],
)
def test_a_program_that_was_altered_does_not_run(
    client: FakeClient, change: Callable[[dict[str, bytes]], object], reason: str
) -> None:
    content = client.job(sources("pyboinc_return_output(1)"), codec.encode(None))
    client.put("program_1.zip", repack(content, change))
    client.start()
    assert client.wait() == failures.INIT_FAILURE
    assert reason in client.stderr.splitlines()[-1]
    assert not client.output.exists()


def test_a_program_of_another_key_or_project_does_not_run(client: FakeClient) -> None:
    client.job(sources("pyboinc_return_output(1)"), codec.encode(None), project="http://example.org/other/")
    client.start()
    assert client.wait() == 0
    client.put("key_1.json", KEY.public_json.replace(b"}", f',"project":"{PROJECT}"}}'.encode()))
    client.start()
    assert client.wait() == failures.INIT_FAILURE
    assert "signed for another project" in client.stderr.splitlines()[-1]
    client.put("key_1.json", keys.PrivateKey(rsa.generate_private_key(65537, 2048)).public_json)
    client.start()
    assert client.wait() == failures.INIT_FAILURE
    assert "signature" in client.stderr.splitlines()[-1]


@pytest.mark.parametrize("name", ["pyboinc_program", "pyboinc_key", "pyboinc_input", "pyboinc_runtime"])
def test_a_file_that_is_missing(client: FakeClient, name: str) -> None:
    give(client, "pyboinc_return_output(1)")
    (client.slot / name).unlink()
    client.start()
    assert client.wait() == failures.INIT_FAILURE
    assert name in client.stderr.splitlines()[-1]


def temporary_exit(client: FakeClient) -> tuple[int, str]:
    """Read the file as the client does."""
    assert not client.finished
    seconds, reason, notice = (client.slot / "boinc_temporary_exit").read_text().splitlines()
    assert notice == "notice"
    assert len(reason) < 255
    assert reason in client.stderr
    return int(seconds), reason


def test_no_channels_no_work(client: FakeClient) -> None:
    give(client, "pyboinc_return_output(1)")
    client.shm_key = 0x1FFFFFE
    client.start()
    assert client.wait() == 0
    assert temporary_exit(client)[1].startswith("no channel to the client: shared memory 0x1fffffe")
    assert not client.output.exists()


def test_a_slot_that_another_process_has(client: FakeClient) -> None:
    change_main(client, "lock_seconds=0.1")
    give(client, "pyboinc_return_output(1)")
    assert slot.Lock(str(client.slot)).acquire()
    client.start()
    assert client.wait() == 0
    assert temporary_exit(client) == (600, "another process has locked the slot directory")


def test_a_trial_run_without_a_client(client: FakeClient) -> None:
    give(client, "pyboinc_return_output(pyboinc_get_input() + 1)", 1)
    done = subprocess.run(
        [sys.executable, slot.resolve(str(client.slot), "pyboinc_runtime")],
        cwd=client.slot,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert b"trial run" in done.stderr
    assert envelope.decode(client.output.read_bytes(), codec.OPAQUE).value == 2


def without_pythons(client: FakeClient) -> None:
    """Leave the launcher nothing but the tools that it uses."""
    launcher = client.project / "launcher.sh"
    lines = launcher.read_text().split("directories='")
    launcher.write_text(lines[0] + "directories='" + lines[1][lines[1].index("'") :])
    (client.bin / "python3").unlink()
    for tool in ("sed", "uname", "mkdir", "tar", "gzip", "ln", "cp", "mv", "rm", "chmod", "sync", "sh"):
        path = shutil.which(tool)
        assert path is not None
        (client.bin / tool).symlink_to(path)


@pytest.mark.parametrize("old", [None, "exit 1", "echo 'command not found' >&2; exit 127"])
def test_without_a_suitable_python_the_job_waits(client: FakeClient, old: str | None) -> None:
    give(client, "pyboinc_return_output(1)")
    without_pythons(client)
    if old is not None:
        (client.bin / "python3").write_text(f"#!/bin/sh\n{old}\n")
        (client.bin / "python3").chmod(0o755)
    client.start(PATH=str(client.bin))
    assert client.wait() == 0
    seconds, reason = temporary_exit(client)
    assert seconds == 3600
    assert "needs Python 3.8 or newer" in reason


def test_a_python_of_another_name_is_found(client: FakeClient) -> None:
    give(client, "pyboinc_return_output(1)")
    python = (client.bin / "python3").read_text()
    without_pythons(client)
    (client.bin / "python3.11").write_text(python)
    (client.bin / "python3.11").chmod(0o755)
    client.start(PATH=str(client.bin))
    assert client.wait() == 0, client.stderr
    assert result(client) == 1


def bundle(client: FakeClient) -> Path:
    """Bring an interpreter along, which needs a file of its archive; return the archive."""
    without_pythons(client)
    folder = client.root / "bundle"
    (folder / "lib").mkdir(parents=True)
    (folder / "lib" / "real").symlink_to(sys.executable)
    (folder / "LICENSE").write_text("The licence\n")
    archive = client.project / "python_1.tar.gz"
    subprocess.run(["tar", "-czf", archive, "-C", folder, "lib", "LICENSE"], check=True)
    executable = '#!/bin/sh\necho bundled >&2\nexec "${0%/*}/../lib/real" "$@"\n'
    client.put("python_1", executable.encode(), 0o755)
    client.link("pyboinc_python", "python_1")
    client.link("pyboinc_python_files", "python_1.tar.gz")
    return archive


def test_an_interpreter_that_comes_along(client: FakeClient) -> None:
    archive = bundle(client)
    for number in range(2):
        give(client, "import sys\npyboinc_return_output([pyboinc_get_input(), sys.executable])", number)
        client.start(PATH=str(client.bin))
        assert client.wait() == 0, client.stderr
        assert result(client)[0] == number  # type: ignore[index]
        unpacked = archive.with_name("python_1.tar.gz.unpacked")
        assert sorted(path.name for path in unpacked.iterdir()) == ["LICENSE", "bin", "lib"]
        left = {path.name for path in client.project.iterdir() if path.name.startswith("python_1")}
        assert left == {"python_1", "python_1.tar.gz", "python_1.tar.gz.unpacked"}
        assert "bundled" in client.stderr


def test_an_interpreter_that_does_not_run_here(client: FakeClient) -> None:
    """As one for a newer system: it stays for what it is worth, and an installed one is taken."""
    python = (client.bin / "python3").read_text()
    bundle(client)
    client.put("python_1", b"#!/bin/sh\nexit 1\n", 0o755)
    (client.bin / "python3.12").write_text(python)
    (client.bin / "python3.12").chmod(0o755)
    give(client, "pyboinc_return_output(1)")
    client.start(PATH=str(client.bin))
    assert client.wait() == 0, client.stderr
    assert result(client) == 1


def test_an_interpreter_whose_unpacking_was_interrupted(client: FakeClient) -> None:
    archive = bundle(client)
    (archive.with_name("python_1.tar.gz.unpacked.12345") / "lib").mkdir(parents=True)
    give(client, "pyboinc_return_output(1)")
    client.start(PATH=str(client.bin))
    assert client.wait() == 0, client.stderr
    assert "bundled" in client.stderr


def test_two_jobs_that_unpack_the_interpreter_at_the_same_time(client: FakeClient, tmp_path: Path) -> None:
    archive = bundle(client)
    give(client, "pyboinc_return_output(1)")
    other = client.root / "slots" / "1"
    shutil.copytree(client.slot, other)
    (other / "pyboinc_output").write_text(f"<soft_link>../../projects/{client.project.name}/other</soft_link>\n")
    client.start(PATH=str(client.bin))
    done = subprocess.run(
        [f"../../projects/{client.project.name}/launcher.sh"],
        cwd=other,
        env={"PATH": str(client.bin)},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert client.wait() == 0, client.stderr
    unpacked = archive.with_name("python_1.tar.gz.unpacked")
    assert sorted(path.name for path in unpacked.iterdir()) == ["LICENSE", "bin", "lib"]
