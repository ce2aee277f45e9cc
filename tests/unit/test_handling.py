import asyncio
import hashlib
import os

import pytest

from aioboinc import errors
from aioboinc.batch import directory as batch_directory
from aioboinc.batch import handling
from aioboinc.wire import codec, envelope

BATCH = 7
SHA = hashlib.sha256(b"").digest()


class Master:
    """The handlers' side."""

    def __init__(self):
        self.outputs = []
        self.failures = []

    def handle_result(self, output):
        self.outputs.append(output)

    def handle_error(self, error):
        self.failures.append(error)


@pytest.fixture
def directory(tmp_path):
    directory = batch_directory.BatchDirectory(tmp_path)
    directory.create()
    return directory


@pytest.fixture
def master():
    return Master()


class Calls:
    """Calls that were *made*."""

    def __init__(self, made=1_000_000):
        self.made = made

    def registry(self):
        return codec.Registry()


def handle(directory, result, error=None, calls=None):
    return handling.Handling(directory, BATCH, handling.Handlers(result, error), calls or Calls())


def publish(directory, call, value, *, job=None):
    name = f"pyboinc_{BATCH}_{call}"
    (directory.new / name).write_bytes(envelope.encode_output(job or name, SHA, SHA, value, None))


def nothing():
    pass


async def test_outputs_go_to_the_handler_and_to_old(directory, master):
    for call in range(1000):
        publish(directory, call, call)
    handled = handle(directory, master.handle_result)
    assert await handled.drain(nothing) == 1000
    assert sorted(master.outputs) == list(range(1000))
    assert handled.handled == 1000
    assert os.listdir(directory.new) == []
    assert len(os.listdir(directory.old)) == 1000


@pytest.mark.parametrize("size", [0, 16 << 10, 100_000, 9 << 20])
async def test_an_output_of_any_size(directory, master, size):
    value = "x" * size
    overhead = len(envelope.encode_output(f"pyboinc_{BATCH}_0", SHA, SHA, value, None)) - size
    for call, length in enumerate((size, max(0, size - overhead))):  # the second file has exactly that size
        publish(directory, call, value[:length])
    await handle(directory, master.handle_result).drain(nothing)
    assert sorted(map(len, master.outputs)) == [max(0, size - overhead), size]


async def test_a_coroutine_function_is_awaited(directory, master):
    publish(directory, 0, "x")

    async def handle_result(output):
        await asyncio.sleep(0)
        master.outputs.append(output)

    await handle(directory, handle_result).drain(nothing)
    assert master.outputs == ["x"]


async def test_an_output_published_twice_is_handled_once(directory, master):
    handled = handle(directory, master.handle_result)
    publish(directory, 3, "x")
    await handled.drain(nothing)
    publish(directory, 3, "x")
    await handled.drain(nothing)
    assert master.outputs == ["x"]
    assert os.listdir(directory.new) == []


async def test_a_second_link_to_a_handled_output_goes_away(directory, master):
    handled = handle(directory, master.handle_result)
    publish(directory, 3, "x")
    await handled.drain(nothing)
    os.link(directory.old / f"pyboinc_{BATCH}_3", directory.new / f"pyboinc_{BATCH}_3")
    assert await handled.drain(nothing) == 1
    assert await handled.drain(nothing) == 0
    assert master.outputs == ["x"]
    assert os.listdir(directory.new) == []


async def test_foreign_files_are_left_alone(directory, master):
    for name in (f"pyboinc_{BATCH + 1}_0", "notes.txt", f"pyboinc_{BATCH}_1.tmp", f"pyboinc_{BATCH}_٣"):
        (directory.new / name).write_bytes(b"")
    assert await handle(directory, master.handle_result).drain(nothing) == 0
    assert len(os.listdir(directory.new)) == 4


async def test_a_handler_that_raises(directory, master):
    for call in range(3):
        publish(directory, call, call)

    def handle_result(output):
        raise LookupError(output)

    with pytest.raises(LookupError):
        await handle(directory, handle_result).drain(nothing)
    assert len(os.listdir(directory.new)) == 3


async def test_what_came_before_a_handler_that_raises_is_handled(directory):
    for call in range(3):
        publish(directory, call, call)
    handled = []

    def handle_result(output):
        if len(handled) == 2:
            raise LookupError(output)
        handled.append(output)

    with pytest.raises(LookupError):
        await handle(directory, handle_result).drain(nothing)
    assert len(os.listdir(directory.old)) == 2
    assert len(os.listdir(directory.new)) == 1


@pytest.fixture
def restarted(directory):
    """A directory in which two jobs were handled before, one of which failed, and two were published since."""
    publish(directory, 0, "before")
    directory.retire([f"pyboinc_{BATCH}_0"])
    job_failed(directory, 1)
    directory.retire([f"pyboinc_{BATCH}_1.error"])
    publish(directory, 0, "before")
    publish(directory, 2, "now")
    return directory


async def test_what_was_handled_before_is_not_replayed(restarted, master):
    handled = handle(restarted, master.handle_result)
    await handled.look_back(3, replay=False)
    assert (handled.handled, handled.failed) == (2, 1)
    assert await handled.replay(nothing) == 0
    await handled.drain(nothing)
    assert master.outputs == ["now"]
    assert handled.handled == 3


async def test_what_was_handled_before_is_replayed_and_stays(restarted, master):
    handled = handle(restarted, master.handle_result, master.handle_error)
    await handled.look_back(3, replay=True)
    assert await handled.replay(nothing) == 2
    assert master.outputs == ["before"]
    assert [error.call for error in master.failures] == [1]
    assert sorted(os.listdir(restarted.old)) == [f"pyboinc_{BATCH}_0", f"pyboinc_{BATCH}_1.error"]
    await handled.drain(nothing)
    assert master.outputs == ["before", "now"]
    assert (handled.handled, handled.failed) == (3, 1)
    assert os.listdir(restarted.new) == []
    assert not handled.waits_for_calls


async def test_a_replay_in_the_order_of_the_calls_as_they_are_made(directory, master):
    for call in range(2000):
        publish(directory, call, call)
    directory.retire(os.listdir(directory.new))
    calls = Calls(0)
    handled = handle(directory, master.handle_result, calls=calls)
    await handled.look_back(1999, replay=True)  # what is beyond is no call of this batch
    for made, count in ((0, 0), (700, 700), (700, 0), (5000, 1299)):
        calls.made = made
        assert handled.waits_for_calls
        assert await handled.replay(nothing) == count
    assert not handled.waits_for_calls
    assert master.outputs == list(range(1999))


async def test_an_output_waits_for_its_call(directory, master):
    for call in range(10):
        publish(directory, call, call)
    calls = Calls(4)
    handled = handle(directory, master.handle_result, calls=calls)
    await handled.look_back(10, replay=True)
    assert await handled.drain(nothing) == 4
    assert handled.waits_for_calls
    calls.made = 10
    assert await handled.drain(nothing) == 6
    await handled.replay(nothing)
    assert not handled.waits_for_calls
    assert sorted(master.outputs[:4]) == list(range(4))


async def test_a_handler_that_raises_in_a_replay(restarted):
    def handle_result(output):
        raise LookupError(output)

    handled = handle(restarted, handle_result)
    await handled.look_back(3, replay=True)
    with pytest.raises(LookupError):
        await handled.replay(nothing)
    assert len(os.listdir(restarted.old)) == 2
    assert len(os.listdir(restarted.new)) == 2


def remote_error(directory, call):
    name = f"pyboinc_{BATCH}_{call}"
    try:
        raise ValueError("negative")
    except ValueError as error:
        data = envelope.encode_error(name, SHA, SHA, error, os.path.dirname(__file__))
    (directory.new / name).write_bytes(data)


def job_failed(directory, call):
    report = {
        "pyboinc": 1,
        "job": f"pyboinc_{BATCH}_{call}",
        "reason": "too many errors",
        "error_mask": 2,
        "results": [{"name": "r_0", "reason": "exit 3", "exit_status": 3, "stderr": "boom"}],
    }
    (directory.new / f"pyboinc_{BATCH}_{call}.error").write_bytes(codec.encode(report))


async def test_errors_go_to_their_handler(directory, master):
    remote_error(directory, 0)
    job_failed(directory, 1)
    handled = handle(directory, master.handle_result, master.handle_error)
    await handled.drain(nothing)
    remote, failed = sorted(master.failures, key=lambda error: error.call)
    assert isinstance(remote, errors.RemoteError)
    assert (remote.type, remote.message) == ("ValueError", "negative")
    assert 'raise ValueError("negative")' in remote.traceback
    assert str(failed) == f"pyboinc_{BATCH}_1: too many errors"
    assert failed.results == (errors.FailedResult("r_0", "exit 3", 3, "boom"),)
    assert (handled.handled, handled.failed, handled.errors) == (2, 2, [])


async def test_without_a_handler_errors_are_kept(directory, master):
    remote_error(directory, 0)
    publish(directory, 1, "fine")
    handled = handle(directory, master.handle_result)
    await handled.drain(nothing)
    assert master.outputs == ["fine"]
    assert [error.call for error in handled.errors] == [0]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"garbage",
        b"cos\nsystem\n(S'echo'\ntR.",
        envelope.encode_output(f"pyboinc_{BATCH}_99", SHA, SHA, 1, None),
        envelope.encode_output(f"pyboinc_{BATCH}_0", SHA, SHA, 1, None)[:-3],
    ],
)
async def test_malformed_bytes_fail_that_job_only(directory, master, data):
    (directory.new / f"pyboinc_{BATCH}_0").write_bytes(data)
    publish(directory, 1, "fine")
    handled = handle(directory, master.handle_result, master.handle_error)
    await handled.drain(nothing)
    assert master.outputs == ["fine"]
    (error,) = master.failures
    assert "malformed output" in str(error)
    assert isinstance(error.__cause__, errors.MalformedResult)


@pytest.mark.parametrize(
    "data", [b"", codec.encode({"reason": "r"}), codec.encode([1]), codec.encode({"reason": 1, "results": 3})]
)
async def test_a_damaged_report_still_fails_its_job(directory, master, data):
    (directory.new / f"pyboinc_{BATCH}_0.error").write_bytes(data)
    await handle(directory, master.handle_result, master.handle_error).drain(nothing)
    assert "damaged" in str(master.failures[0])


class Fails:
    """Its objects fail where they are members of a set, in ways that have nothing to do with the file."""

    def __hash__(self):
        raise MemoryError

    def __eq__(self, other):
        return self is other


@pytest.mark.parametrize("number", [10**5000, -1], ids=["long", "negative"])
async def test_an_error_with_a_number_that_cannot_be_printed_fails_that_job_only(directory, master, number):
    name = f"pyboinc_{BATCH}_0"
    error = {"type": "E", "message": "", "traceback": [["file", number, "f", "x"]], "causes": []}
    data = envelope.header(name, SHA, SHA) + b"\x8c\x05error\x8c\x05value" + codec.encode(error)[2:-1] + b"u."
    (directory.new / name).write_bytes(data)
    publish(directory, 1, "good")
    await handle(directory, master.handle_result, master.handle_error).drain(nothing)
    assert master.outputs == ["good"]
    assert "malformed output" in str(master.failures[0])


async def test_whatever_is_raised_fails_that_job_only(directory, master):
    class Its(Calls):
        def registry(self):
            return codec.Registry({(__name__, "Fails"): Fails})

    name = f"pyboinc_{BATCH}_0"
    value = f"\x8f(c{__name__}\nFails\n)\x81}}(ub\x90u.".encode("latin-1")
    data = envelope.header(name, SHA, SHA) + b"\x8c\x02ok\x8c\x05value" + value
    (directory.new / name).write_bytes(data)
    publish(directory, 1, "good")
    await handle(directory, master.handle_result, master.handle_error, Its()).drain(nothing)
    assert master.outputs == ["good"]
    assert "its output can't be read here: MemoryError" in str(master.failures[0])


async def test_the_event_loop_keeps_running(directory):
    """While 2,000 outputs are handled, other tasks get their turn at least every few outputs."""
    for call in range(2000):
        publish(directory, call, call)
    loop = asyncio.get_running_loop()
    turns = 0

    async def other():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    def handle_result(output):
        until = loop.time() + 0.0005
        while loop.time() < until:
            pass

    task = asyncio.create_task(other())
    await handle(directory, handle_result).drain(nothing)
    task.cancel()
    assert turns >= 100
