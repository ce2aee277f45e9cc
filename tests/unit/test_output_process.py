"""Outputs are read in a process of its own: what one of them does to it is that one's end only."""

import hashlib
import os
import resource
import signal
import sys
import threading
import time

import pytest

from aioboinc import errors
from aioboinc.passes import comparators, output_process, outputs
from aioboinc.wire import envelope

SHA = hashlib.sha256(b"").digest()
JOB = "pyboinc_1_0"


def strange(one, other):
    """A comparator that does what the outputs say."""
    if "spin" in (one, other):
        while True:
            pass
    if "die" in (one, other):
        os.kill(os.getpid(), signal.SIGKILL)
    if "exit" in (one, other):
        os._exit(3)
    if "raise" in (one, other):
        raise ZeroDivisionError
    return one == other


def sleep(one, other):
    time.sleep(1000)


@pytest.fixture
def process(request):
    made = []

    def make(comparator=comparators.BITWISE, **options):
        made.append(output_process.OutputProcess(comparator, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def written(tmp_path):
    """Return what writes outputs of a workunit and asks for them."""

    def write(*values):
        paths = []
        for value in values:
            path = tmp_path / f"{len(list(tmp_path.iterdir()))}"
            data = value if isinstance(value, bytes) else envelope.encode_output(JOB, SHA, SHA, value, None)
            path.write_bytes(data)
            paths.append(str(path))
        return outputs.Request(JOB, SHA, SHA, str(tmp_path), tuple(paths), (None,) * len(paths))

    return write


def raw(value):
    """Return an output with *value*, in bytes."""
    return envelope.header(JOB, SHA, SHA) + b"\x8c\x02ok\x8c\x05value" + value + b"u."


def never():
    return False


def states(reading):
    return [found.state.name for found in reading.found]


def test_it_finds_what_a_thread_finds(process, written, tmp_path):
    requests = [
        written(1, 1, 2),
        written(1),
        written(b"", 1, b"x", 1),
        outputs.Request(JOB, SHA, SHA, str(tmp_path), (str(tmp_path / "nothing"), "", str(tmp_path)), (None,) * 3),
        outputs.Request(JOB, SHA, SHA, "/nowhere", ("/nowhere/file",), (None,)),
        outputs.Request(JOB, SHA, SHA, str(tmp_path), (), ()),
    ]
    readings = process().read(requests, never)
    assert readings == [outputs.read(request, comparators.BITWISE) for request in requests]
    assert [reading.agreeing for reading in readings[:3]] == [{(0, 1)}, set(), {(1, 3)}]
    assert list(map(states, readings[2:5])) == [["BAD", "GOOD", "BAD", "GOOD"], ["BAD"] * 3, ["UNREADABLE"]]


def test_an_output_that_takes_too_long(process, written):
    slow = [0.5, 1] * 1_000_000
    first, second = process(seconds=0.2).read([written(1, slow, 1), written(2)], never)
    assert states(first) == ["GOOD", "BAD", "GOOD"]
    assert first.found[1].reason == "its output takes more than 0.2 s of processor time"
    assert first.agreeing == {(0, 2)}
    assert states(second) == ["GOOD"]


def test_an_output_that_takes_too_much_memory(process, written):
    large = bytes(60 << 20)
    (reading,) = process(memory=64 << 20).read([written(large, 1)], never)
    assert states(reading) == ["BAD", "GOOD"]
    assert "memory" in reading.found[0].reason
    assert resource.getrlimit(resource.RLIMIT_DATA)[0] == resource.RLIM_INFINITY


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ("spin", "comparing takes more than 0.2 s of processor time"),
        ("die", "comparing takes its reader down, killed: is there too little memory?"),
        ("exit", "comparing takes its reader down, with exit status 3"),
        ("raise", "ZeroDivisionError"),
    ],
)
def test_a_comparison_that_fails(process, written, value, complaint):
    requests = [written(1, 1), written(value, value), written(2, 2)]
    readings = process(comparators.Custom(strange), seconds=0.2).read(requests, never)
    assert [reading.agreeing for reading in readings] == [{(0, 1)}, set(), {(0, 1)}]
    assert [len(reading.complaints) for reading in readings] == [0, 1, 0]
    assert complaint in readings[1].complaints[0]


def test_stopping(process, written):
    looks = []

    def stop():
        looks.append(1)
        return len(looks) > 2

    assert process(comparators.Custom(sleep)).read([written(1, 1)], stop) == []
    assert process().read([written(1)], lambda: True) == []


def test_closing_while_it_reads(process, written):
    one = process(comparators.Custom(sleep))
    one.start()
    found = []
    thread = threading.Thread(target=lambda: found.append(one.read([written(1, 1)], never)))
    thread.start()
    one.close()
    thread.join()
    assert found == [[]]


@pytest.mark.parametrize("looks", range(4))
def test_closing_between_its_looks(process, written, looks):
    """It is closed by another thread at the moment when it looks whether to go on."""
    one = process(comparators.Custom(sleep))
    seen = []
    closing = threading.Thread(target=one.close)

    def stop():
        if len(seen) == looks:
            closing.start()
            closing.join(0.2)
        seen.append(1)
        return False

    assert one.read([written(1, 1)], stop) == []
    closing.join()
    assert one._process is None


def test_one_that_has_ended_is_replaced(process, written):
    one = process()
    one.start()
    for _ in range(3):
        assert one._process is not None
        one._process.kill()
        one._process.wait()
        (reading,) = one.read([written(1)], never)
        assert states(reading) == ["GOOD"]


def test_one_that_cannot_be_started(process, written, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(errors.ProjectError, match=r"can't be started: .*No such file"):
        process().read([written(1)], never)
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(errors.ProjectError, match=r"ends at once, with exit status 1"):
        process().read([written(1)], never)


def test_it_imports_little(process, written):
    (reading,) = process(comparators.Custom(loaded)).read([written(1, 1)], never)
    assert reading.complaints == ()
    assert reading.agreeing == {(0, 1)}


def loaded(one, other):
    """Agree if the process has not imported what it has no use for."""
    return not {"asyncio", "numpy", "cryptography", "aioboinc.batch.master", "aioboinc.connectors"} & set(
        sys.modules
    )
