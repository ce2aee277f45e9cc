"""make_calls, the channel of calls, and back-pressure; what reaches the database is in tests/database."""

import asyncio
import contextvars
import threading

import pytest
from patience import PATIENCE

from aioboinc import errors
from aioboinc.batch import calls, queue
from aioboinc.store import jobs

QUEUE_CALLS = 2 * queue.CHUNK_CALLS


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "app_slave.py").write_text("import app_types\n")
    (tmp_path / "app_types.py").write_text("")
    return tmp_path


def opened(folder):
    """Return what makes calls, the end that takes them, and what says that nothing is on its way."""
    sender, receiver = queue.open()
    idle = asyncio.Event()
    idle.set()
    return calls.Calls(folder, sender), receiver, idle


async def run(make_calls, folder):
    made, receiver, idle = opened(folder)
    making = asyncio.create_task(calls.make(make_calls, made))
    taken = []
    while chunk := await receiver.take(idle):
        taken += chunk
    await making
    assert made.made == len(taken)
    return taken


def plain():
    for i in range(3):
        calls.pyboinc_call("app_slave.py", i)


async def coroutine():
    for i in range(3):
        await calls.pyboinc_call("app_slave.py", i)


async def coroutine_that_does_not_await():
    for i in range(3):
        calls.pyboinc_call("app_slave.py", i)


def generator():
    for i in range(3):
        yield calls.pyboinc_call("app_slave.py", i)


async def async_generator():
    for i in range(3):
        yield calls.pyboinc_call("app_slave.py", i)


def returns_a_coroutine():
    return coroutine()


@pytest.mark.parametrize(
    "make_calls",
    [plain, coroutine, coroutine_that_does_not_await, generator, async_generator, returns_a_coroutine],
)
async def test_all_kinds_of_make_calls(folder, make_calls):
    taken = await run(make_calls, folder)
    assert [call.input for call in taken] == [b"\x80\x04K\x00.", b"\x80\x04K\x01.", b"\x80\x04K\x02."]
    assert {call.sources.slave for call in taken} == {"app_slave.py"}


async def test_the_first_calls_go_in_a_small_transaction(folder):
    async def make():
        for i in range(QUEUE_CALLS):
            calls.pyboinc_call("app_slave.py", i)

    made, receiver, idle = opened(folder)
    await calls.make(make, made)
    lengths = []
    while chunk := await receiver.take(idle):
        lengths.append(len(chunk))
    assert lengths[:2] == [queue.FIRST_CHUNK_CALLS, 2 * queue.FIRST_CHUNK_CALLS]
    assert max(lengths) == queue.CHUNK_CALLS


@pytest.mark.parametrize("kind", ["plain", "coroutine"])
async def test_back_pressure(folder, kind):
    def make_plainly():
        for i in range(3 * QUEUE_CALLS):
            calls.pyboinc_call("app_slave.py", i)

    async def make():
        for i in range(3 * QUEUE_CALLS):
            await calls.pyboinc_call("app_slave.py", i)

    made, receiver, idle = opened(folder)
    making = asyncio.create_task(calls.make(make if kind == "coroutine" else make_plainly, made))
    taken = 0
    while chunk := await receiver.take(idle):
        taken += len(chunk)
        assert made.made <= taken + QUEUE_CALLS + 1
    await making
    assert made.made == taken == 3 * QUEUE_CALLS


@pytest.mark.parametrize("kind", ["plain", "coroutine"])
async def test_no_calls_come_while_the_receiver_holds_them_up(folder, kind):
    def make_plainly():
        for i in range(3):
            calls.pyboinc_call("app_slave.py", i)

    async def make():
        for i in range(3):
            await calls.pyboinc_call("app_slave.py", i)

    made, receiver, idle = opened(folder)
    with receiver.held():
        making = asyncio.create_task(calls.make(make if kind == "coroutine" else make_plainly, made))
        first = await receiver.take(idle)
        await asyncio.sleep(0.05)
        assert (len(first), made.made) == (1, 1)
    await making
    assert made.made == 3


async def test_only_whole_chunks_are_taken_while_others_are_on_their_way(folder):
    counts = asyncio.Queue()

    async def make():
        while (count := await counts.get()) is not None:
            for i in range(count):
                await calls.pyboinc_call("app_slave.py", i)

    async def taken():
        return len(await asyncio.wait_for(receiver.take(idle), PATIENCE))

    async def still_waits(take):
        return not (await asyncio.wait({take}, timeout=0.05))[0]

    made, receiver, idle = opened(folder)
    making = asyncio.create_task(calls.make(make, made))
    counts.put_nowait(1)
    assert await taken() == 1
    idle.clear()
    second = 2 * queue.FIRST_CHUNK_CALLS
    counts.put_nowait(second - 1)
    take = asyncio.create_task(taken())
    assert await still_waits(take)
    counts.put_nowait(1)
    assert await take == second
    counts.put_nowait(1)
    take = asyncio.create_task(taken())
    assert await still_waits(take)
    idle.set()
    assert await take == 1
    idle.clear()
    counts.put_nowait(1)
    take = asyncio.create_task(taken())
    assert await still_waits(take)
    counts.put_nowait(None)
    assert await take == 1
    assert await taken() == 0
    await making


async def test_large_inputs_fill_the_queue_by_their_bytes(folder):
    size = queue.MAX_BYTES // 2 + 1

    async def make():
        for _ in range(4):
            await calls.pyboinc_call("app_slave.py", bytes(size))

    made, receiver, idle = opened(folder)
    idle.clear()
    making = asyncio.create_task(calls.make(make, made))
    lengths = []
    while chunk := await receiver.take(idle):
        lengths.append(len(chunk))
    await making
    assert sum(lengths) == 4
    assert max(lengths) <= 2


async def test_the_input_is_taken_as_it_is_at_the_call(folder):
    async def make():
        values = [1]
        call = calls.pyboinc_call("app_slave.py", values)
        values.append(2)
        await call

    (call,) = await run(make, folder)
    assert call.input == b"\x80\x04](K\x01e." or b"K\x02" not in call.input


async def test_an_input_that_is_not_data_fails_at_its_call(folder):
    async def make():
        with pytest.raises(errors.NotData, match=r"input\['f'\]"):
            calls.pyboinc_call("app_slave.py", {"f": make})
        await calls.pyboinc_call("app_slave.py", 1)

    assert len(await run(make, folder)) == 1


@pytest.mark.parametrize("make_calls", [plain, coroutine, generator])
async def test_errors_of_make_calls_propagate(tmp_path, make_calls):
    made, _, _ = opened(tmp_path)
    with pytest.raises(errors.ProgramError, match=r"app_slave\.py"):
        await calls.make(make_calls, made)


async def test_bad_options(folder):
    async def make():
        with pytest.raises(errors.UsageError, match="quorum"):
            calls.pyboinc_call("app_slave.py", 1, quorum=0)
        with pytest.raises(TypeError, match="quorom"):
            calls.pyboinc_call("app_slave.py", 1, quorom=2)

    assert await run(make, folder) == []


async def test_each_call_with_options_of_its_own(folder):
    count = jobs.MAX_KINDS + 10

    async def make():
        for i in range(count):
            await calls.pyboinc_call("app_slave.py", i, priority=i)

    taken = await run(make, folder)
    assert [call.options.priority for call in taken] == list(range(count))


def test_call_outside_make_calls():
    with pytest.raises(RuntimeError, match="outside make_calls"):
        calls.pyboinc_call("app_slave.py", 1)


async def test_call_after_make_calls(folder):
    context = []

    async def make():
        context.append(contextvars.copy_context())
        await calls.pyboinc_call("app_slave.py", 1)

    await run(make, folder)
    with pytest.raises(RuntimeError, match="outside make_calls"):
        context[0].run(calls.pyboinc_call, "app_slave.py", 2)


async def test_cancelling_releases_the_thread_of_a_plain_make_calls(folder):
    threads = []

    def make():
        threads.append(threading.current_thread())
        while True:
            calls.pyboinc_call("app_slave.py", 1)

    made, receiver, _ = opened(folder)
    making = asyncio.create_task(calls.make(make, made))
    await receiver.ready()
    making.cancel()
    with pytest.raises(asyncio.CancelledError):
        await making
    await asyncio.to_thread(threads[0].join, 10)
    assert not threads[0].is_alive()


async def test_the_record_of_a_call_tells_it_from_any_other(folder):
    async def make():
        await calls.pyboinc_call("app_slave.py", 1)
        await calls.pyboinc_call("app_slave.py", 1)
        await calls.pyboinc_call("app_slave.py", 2)
        await calls.pyboinc_call("app_slave.py", 1, quorum=2)
        (folder / "other_slave.py").write_text("")
        await calls.pyboinc_call("other_slave.py", 1)

    taken = await run(make, folder)
    records = [call.record for call in taken]
    assert records[0] == records[1]
    assert len(set(records)) == 4
    assert {len(record) for record in records} == {96}
