"""From outputs to the handlers of a master, group by group."""

import asyncio
import os

import pytest
from published import job_failed, load_all, name, opened, publish, remote_error

from aioboinc import errors
from aioboinc.batch import directory as batch_directory
from aioboinc.batch import handlers, takers


class Handlers:
    """The handlers' side."""

    def __init__(self):
        self.outputs = []
        self.failures = []

    def handle_result(self, output):
        self.outputs.append(output)

    def handle_error(self, error):
        self.failures.append(error)


class Batch:
    """A batch all of whose calls are made; counts what is taken. Stands in for `held.Held` and its session."""

    def __init__(self, directory):
        self.outputs = opened(directory)
        self.handled = 0
        self.failed = 0

    async def load(self, numbers):
        return await asyncio.to_thread(self.outputs.load, numbers)

    def lost(self, numbers, taker):
        raise AssertionError(numbers)

    def taken(self, output):
        self.handled += 1
        self.failed += output.error is not None
        self.outputs.retire([output.number])

    def tell(self):
        pass

    async def look(self, number):
        return None

    def order(self, number):
        return 1000 + number

    def input(self, order):
        return f"input {order}"

    async def handle(self, result, error=None):
        """Hand over what is in ``new/`` now; return the handlers."""
        queue = takers.Queue()
        queue.source = self
        for number in self.outputs.scan():
            queue.announce(number)
        called = handlers.Handlers(result, error)
        queue.end()
        await called.hand_over(self, queue, lambda: None)
        return called


@pytest.fixture
def directory(tmp_path):
    directory = batch_directory.BatchDirectory(tmp_path)
    directory.create()
    return directory


@pytest.fixture
def batch(directory):
    return Batch(directory)


@pytest.fixture
def seen():
    return Handlers()


async def test_outputs_go_to_the_handler_and_to_old(directory, batch, seen):
    for number in range(1000):
        publish(directory, number, number)
    await batch.handle(seen.handle_result)
    assert seen.outputs == list(range(1000))
    assert (batch.handled, batch.failed) == (1000, 0)
    assert os.listdir(directory.new) == []
    assert len(os.listdir(directory.old)) == 1000


async def test_a_coroutine_function_is_awaited(directory, batch, seen):
    publish(directory, 0, "x")

    async def handle_result(output):
        await asyncio.sleep(0)
        seen.outputs.append(output)

    await batch.handle(handle_result)
    assert seen.outputs == ["x"]


async def test_an_output_published_twice_is_handled_once(directory, batch, seen):
    publish(directory, 3, "x")
    await batch.handle(seen.handle_result)
    publish(directory, 3, "x")
    await batch.handle(seen.handle_result)
    assert seen.outputs == ["x"]
    assert os.listdir(directory.new) == []


async def test_a_handler_that_raises(directory, batch):
    for number in range(3):
        publish(directory, number, number)

    def handle_result(output):
        raise LookupError(output)

    with pytest.raises(LookupError):
        await batch.handle(handle_result)
    assert len(os.listdir(directory.new)) == 3


async def test_what_came_before_a_handler_that_raises_is_handled(directory, batch):
    for number in range(1000):
        publish(directory, number, number)
    handled = []

    def handle_result(output):
        if len(handled) == 700:
            raise LookupError(output)
        handled.append(output)

    with pytest.raises(LookupError):
        await batch.handle(handle_result)
    assert batch.handled == 700
    assert len(os.listdir(directory.old)) == 700
    assert len(os.listdir(directory.new)) == 300


async def test_what_a_handler_has_taken_when_it_is_cancelled_is_handled(directory, batch):
    for number in range(3):
        publish(directory, number, number)
    begun = asyncio.Event()

    async def handle_result(output):
        if output == 2:
            begun.set()
            await asyncio.Event().wait()

    handling = asyncio.create_task(batch.handle(handle_result))
    await begun.wait()
    handling.cancel()
    await asyncio.wait({handling})
    assert handling.cancelled()
    assert batch.handled == 2
    assert os.listdir(directory.new) == [name(2)]


async def test_errors_go_to_their_handler(directory, batch, seen):
    remote_error(directory, 0)
    job_failed(directory, 1)
    called = await batch.handle(seen.handle_result, seen.handle_error)
    remote, failed = seen.failures
    assert isinstance(remote, errors.RemoteError)
    assert str(failed) == f"{name(1)}: too many errors"
    assert (batch.handled, batch.failed, called.errors) == (2, 2, [])


async def test_without_a_handler_errors_are_kept(directory, batch, seen):
    remote_error(directory, 0)
    publish(directory, 1, "fine")
    called = await batch.handle(seen.handle_result)
    assert seen.outputs == ["fine"]
    assert [error.call for error in called.errors] == [0]
    assert sorted(os.listdir(directory.old)) == [name(0), name(1)]


async def test_malformed_bytes_fail_that_job_only(directory, batch, seen):
    (directory.new / name(0)).write_bytes(b"garbage")
    publish(directory, 1, "fine")
    await batch.handle(seen.handle_result, seen.handle_error)
    assert seen.outputs == ["fine"]
    assert "malformed output" in str(seen.failures[0])


async def test_handlers_that_take_the_job(directory, batch):
    publish(directory, 0, "x")
    job_failed(directory, 1)
    jobs = []

    def handle_result(output, job):
        assert output == job.output == "x"
        assert job.error is None
        jobs.append(job)

    def handle_error(error, job):
        assert error is job.error
        with pytest.raises(errors.JobFailed):
            _ = job.output
        jobs.append(job)

    await batch.handle(handle_result, handle_error)
    assert [(job.number, job.input, job.done) for job in jobs] == [
        (0, "input 1000", True),
        (1, "input 1001", True),
    ]


async def test_the_event_loop_keeps_running(directory, batch):
    """While 2,000 outputs are handled, other tasks get their turn at least every few outputs."""
    for number in range(2000):
        publish(directory, number, number)
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
    await batch.handle(handle_result)
    task.cancel()
    assert turns >= 100
    assert len(load_all(batch.outputs, list(range(2000)))) == 2000
