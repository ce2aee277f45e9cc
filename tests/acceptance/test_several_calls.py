"""Workunits of several calls under a BOINC client: the launcher, the supervisor, the slave, real signals."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from fake_client import FakeClient
from patience import wait_until
from processes import is_alive
from test_runtime_processes import KEY, every_python, processes, sources

from aioboinc.slave_runtime import environment, failures, processes_unix
from aioboinc.wire import codec, envelope, several

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")


@pytest.fixture
def client(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[FakeClient]:
    client = FakeClient(tmp_path / "boinc", getattr(request, "param", sys.executable), KEY)
    yield client
    client.stop()
    processes_unix.kill_strays(environment.MARKER, str(client.slot))


def give(client: FakeClient, text: str, values: Sequence[object], limit: float = 0.0) -> None:
    client.workunit = f"pyboinc_7_20_{len(values)}"
    client.job(sources(text), several.encode_inputs(limit, [codec.encode(value) for value in values]))


def outcomes(client: FakeClient) -> list[tuple[bool, object]]:
    job, _, _, pieces = envelope.decode_calls(client.output.read_bytes())
    assert job == client.workunit
    return [envelope.decode_call(piece, codec.OPAQUE) for piece in pieces]


@every_python
def test_calls(client: FakeClient) -> None:
    text = """
        import app_types, os, tempfile, sys
        n = pyboinc_get_input()
        left = sorted(name for name in os.listdir() if "boinc" not in name), os.listdir("tmp")
        open("left", "x").close()
        tempfile.mkstemp()
        pyboinc_fraction_done(0.5)
        pyboinc_checkpoint(app_types.Point(n))
        pyboinc_return_output([100 // n, pyboinc_restore().x, left, sys.argv])
    """
    give(client, text, [1, 2, 0, 4])
    client.start()
    assert client.wait() == 0, client.stderr
    assert client.finished
    found = outcomes(client)
    left = (["init_data.xml", "stderr.txt", "tmp"], [])
    assert [value for ok, value in found if ok] == [[100 // n, n, left, ["app_slave.py"]] for n in (1, 2, 4)]
    assert [ok for ok, _ in found] == [True, True, False, True]
    assert client.stderr.count("ZeroDivisionError") == 1
    assert client.status.fraction_done == 1
    assert 0 < client.status.checkpoint_cpu_time <= client.status.cpu_time


WAITING = """
import os, time
n = pyboinc_get_input()
with open({log!r}, "a") as file:
    file.write(f"{{n}} ")
while n == 3 and not os.path.exists({go!r}):
    time.sleep(0.01)
pyboinc_return_output(n)
"""


@every_python
@pytest.mark.parametrize("way", ["slave", "supervisor", "quit"])
def test_it_goes_on_after_the_finished_calls(client: FakeClient, tmp_path: Path, way: str) -> None:
    log, go = tmp_path / "log", tmp_path / "go"
    give(client, WAITING.format(log=str(log), go=str(go)), range(6))
    client.start()
    client.until(lambda: log.exists() and "3" in log.read_text())
    client.until(lambda: client.status.fraction_done == 0.5)
    client.until(lambda: client.status.checkpoint_cpu_time > 0)
    pids = [process.pid for process in processes(client)]
    if way == "quit":
        client.request("<quit/>")
        assert client.wait() == 0
        assert not client.finished
    elif way == "supervisor":
        client.stop()
    else:
        os.kill(pids[0], signal.SIGKILL)
        assert client.wait() == 137
        assert client.stderr.splitlines()[-1] == "pyboinc: pyboinc_7_23: slave was killed by signal 9 (SIGKILL)"
    wait_until(lambda: not any(map(is_alive, pids)))
    go.touch()
    client.start()
    assert client.wait() == 0, client.stderr
    assert outcomes(client) == [(True, n) for n in range(6)]
    assert log.read_text().split() == ["0", "1", "2", "3", "3", "4", "5"]


def test_suspended_and_resumed(client: FakeClient, tmp_path: Path) -> None:
    log, go = tmp_path / "log", tmp_path / "go"
    give(client, WAITING.format(log=str(log), go=str(go)), range(6))
    client.start()
    client.until(lambda: log.exists() and "3" in log.read_text())
    client.request("<suspend/>")
    client.until(lambda: {process.state for process in processes(client)} == {"T"})
    go.touch()
    client.request("<resume/>")
    assert client.wait() == 0, client.stderr
    assert outcomes(client) == [(True, n) for n in range(6)]


def test_the_limit(client: FakeClient) -> None:
    text = "import time\nn = pyboinc_get_input()\ntime.sleep(n)\npyboinc_return_output(n)"
    give(client, text, [0, 0.2, 0, 0], limit=0.1)
    client.start()
    assert client.wait() == 0, client.stderr
    assert outcomes(client) == [(True, 0), (True, 0.2)]


@pytest.mark.parametrize(
    ("text", "status", "line"),
    [
        ("os._exit(0)", failures.NO_OUTPUT, "slave returned no output: its process was ended from within"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", 139, "slave was killed by signal 11 (SIGSEGV)"),
        ("sys.exit(3)", 3, "slave exited with status 3"),
    ],
)
def test_a_failure_names_its_call(client: FakeClient, text: str, status: int, line: str) -> None:
    slave = f"import os, signal, sys\nn = pyboinc_get_input()\nif n == 1: {text}\npyboinc_return_output(n)"
    give(client, slave, range(3))
    client.start()
    assert client.wait() == status
    assert client.stderr.splitlines()[-1] == f"pyboinc: pyboinc_7_21: {line}"
    assert not client.output.exists()
