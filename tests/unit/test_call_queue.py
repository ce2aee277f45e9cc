"""make_calls, the channel of calls, and back-pressure; what reaches the database is in tests/database."""

import asyncio
import contextvars
import threading

import pytest
from patience import PATIENCE

from aioboinc import errors
from aioboinc.batch import calls, queue, takers
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
    return calls.Calls(folder, sender, takers.Queue()), receiver, idle


async def run(make_calls, folder):
    made, receiver, idle = opened(folder)
    making = make(make_calls, made)
    taken = []
    while chunk := await receiver.take(idle):
        taken += chunk
    await making
    assert made.sender.sent == len(taken)
    return taken


def make(make_calls, made):
    """Return a task in which *make_calls* makes the calls, and says at the end that these were all."""

    async def to_the_end():
        with calls.current(made):
            await calls.make(make_calls, made)
        made.end()

    return asyncio.create_task(to_the_end())


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
    assert {call.kind.sources.slave for call in taken} == {"app_slave.py"}


async def test_the_first_calls_go_in_a_small_transaction(folder):
    async def make_calls():
        for i in range(QUEUE_CALLS):
            calls.pyboinc_call("app_slave.py", i)

    made, receiver, idle = opened(folder)
    await make(make_calls, made)
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

    async def make_calls():
        for i in range(3 * QUEUE_CALLS):
            await calls.pyboinc_call("app_slave.py", i)

    made, receiver, idle = opened(folder)
    making = make(make_calls if kind == "coroutine" else make_plainly, made)
    taken = 0
    while chunk := await receiver.take(idle):
        taken += len(chunk)
        assert made.sender.sent <= taken + QUEUE_CALLS + 1
    await making
    assert made.sender.sent == taken == 3 * QUEUE_CALLS


@pytest.mark.parametrize("kind", ["plain", "coroutine"])
async def test_no_calls_come_while_the_receiver_holds_them_up(folder, kind):
    def make_plainly():
        for i in range(3):
            calls.pyboinc_call("app_slave.py", i)

    async def make_calls():
        for i in range(3):
            await calls.pyboinc_call("app_slave.py", i)

    made, receiver, idle = opened(folder)
    with receiver.held():
        making = make(make_calls if kind == "coroutine" else make_plainly, made)
        first = await receiver.take(idle)
        await asyncio.sleep(0.05)
        assert (len(first), made.sender.sent) == (1, 1)
    await making
    assert made.sender.sent == 3


async def test_only_whole_chunks_are_taken_while_others_are_on_their_way(folder):
    counts = asyncio.Queue()

    async def make_calls():
        while (count := await counts.get()) is not None:
            for i in range(count):
                await calls.pyboinc_call("app_slave.py", i)

    async def taken():
        return len(await asyncio.wait_for(receiver.take(idle), PATIENCE))

    async def still_waits(take):
        return not (await asyncio.wait({take}, timeout=0.05))[0]

    made, receiver, idle = opened(folder)
    making = make(make_calls, made)
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

    async def make_calls():
        for _ in range(4):
            await calls.pyboinc_call("app_slave.py", bytes(size))

    made, receiver, idle = opened(folder)
    idle.clear()
    making = make(make_calls, made)
    lengths = []
    while chunk := await receiver.take(idle):
        lengths.append(len(chunk))
    await making
    assert sum(lengths) == 4
    assert max(lengths) <= 2


async def test_the_input_is_taken_as_it_is_at_the_call(folder):
    async def make_calls():
        values = [1]
        call = calls.pyboinc_call("app_slave.py", values)
        values.append(2)
        await call

    (call,) = await run(make_calls, folder)
    assert call.input == b"\x80\x04](K\x01e." or b"K\x02" not in call.input


async def test_an_input_that_is_not_data_fails_at_its_call(folder):
    async def make_calls():
        with pytest.raises(errors.NotData, match=r"input\['f'\]"):
            calls.pyboinc_call("app_slave.py", {"f": make_calls})
        await calls.pyboinc_call("app_slave.py", 1)

    assert len(await run(make_calls, folder)) == 1


@pytest.mark.parametrize("make_calls", [plain, coroutine, generator])
async def test_errors_of_make_calls_propagate(tmp_path, make_calls):
    made, _, _ = opened(tmp_path)
    with pytest.raises(errors.ProgramError, match=r"app_slave\.py"):
        await make(make_calls, made)


async def test_bad_options(folder):
    async def make_calls():
        with pytest.raises(errors.UsageError, match="quorum"):
            calls.pyboinc_call("app_slave.py", 1, quorum=0)
        with pytest.raises(TypeError, match="quorom"):
            calls.pyboinc_call("app_slave.py", 1, quorom=2)

    assert await run(make_calls, folder) == []


async def test_each_call_with_options_of_its_own(folder):
    count = jobs.MAX_KINDS + 10

    async def make_calls():
        for i in range(count):
            await calls.pyboinc_call("app_slave.py", i, priority=i)

    taken = await run(make_calls, folder)
    assert [call.kind.options.priority for call in taken] == list(range(count))


def test_call_outside_make_calls():
    with pytest.raises(RuntimeError, match="outside of pyboinc_master"):
        calls.pyboinc_call("app_slave.py", 1)


async def test_call_after_make_calls(folder):
    context = []

    async def make_calls():
        context.append(contextvars.copy_context())
        await calls.pyboinc_call("app_slave.py", 1)

    await run(make_calls, folder)
    with pytest.raises(RuntimeError, match="outside of pyboinc_master"):
        context[0].run(calls.pyboinc_call, "app_slave.py", 2)


async def test_cancelling_releases_the_thread_of_a_plain_make_calls(folder):
    threads = []

    def make_calls():
        threads.append(threading.current_thread())
        while True:
            calls.pyboinc_call("app_slave.py", 1)

    made, receiver, _ = opened(folder)
    making = make(make_calls, made)
    await receiver.ready()
    making.cancel()
    with pytest.raises(asyncio.CancelledError):
        await making
    await asyncio.to_thread(threads[0].join, 10)
    assert not threads[0].is_alive()


async def test_the_key_of_a_call_tells_its_program_and_its_input(folder):
    (folder / "other_slave.py").write_text("x = 1\n")

    async def make_calls():
        for slave, value, options in (
            ("app_slave.py", 1, {}),
            ("app_slave.py", 1, {}),
            ("app_slave.py", 2, {}),
            ("app_slave.py", 1, {"quorum": 2}),
            ("other_slave.py", 1, {}),
            ("other_slave.py", 1, {"version": "1"}),
            ("other_slave.py", 1, {"version": "2"}),
            ("app_slave.py", 1, {"version": "1"}),
        ):
            await calls.pyboinc_call(slave, value, **options)

    keys = [call.key for call in await run(make_calls, folder)]
    assert keys[0] == keys[1] == keys[3]
    assert len(set(keys)) == 6
    assert {len(key) for key in keys} == {16}

    async def others():
        (folder / "other_slave.py").write_text("# Another comment.\n\nx = 1  # one\n\n")
        await calls.pyboinc_call("other_slave.py", 1)
        (folder / "app_slave.py").write_text("changed = True")
        await calls.pyboinc_call("app_slave.py", 1)
        await calls.pyboinc_call("app_slave.py", 1, version="1")

    again = [call.key for call in await run(others, folder)]
    assert again[0] == keys[4]
    assert again[1] not in keys
    assert again[2] == keys[7]


@pytest.mark.parametrize("version", ["", 3, b"1", True])
async def test_versions_that_are_refused(folder, version):
    async def make_calls():
        with pytest.raises(errors.ArgumentError, match=r"version=.*: must be text that is not empty"):
            calls.pyboinc_call("app_slave.py", 1, version=version)

    assert await run(make_calls, folder) == []


async def test_calls_that_may_depend_on_results(folder):
    async def make_calls():
        calls.pyboinc_call("app_slave.py", 0)
        with calls.late():
            calls.pyboinc_call("app_slave.py", 1)
            await asyncio.create_task(make_another(2))
        calls.pyboinc_call("app_slave.py", 3)

    async def make_another(value):
        calls.pyboinc_call("app_slave.py", value)

    assert [call.late for call in await run(make_calls, folder)] == [False, True, True, False]


async def test_the_loop_is_woken_once_for_calls_that_come_together(folder, monkeypatch):
    made, receiver, idle = opened(folder)
    loop = asyncio.get_running_loop()
    woken = []
    call_soon = loop.call_soon_threadsafe

    def call_soon_threadsafe(callback, *args, **options):
        woken.append(callback)
        return call_soon(callback, *args, **options)

    taking = asyncio.ensure_future(receiver.take(idle))
    await asyncio.sleep(0)
    monkeypatch.setattr(loop, "call_soon_threadsafe", call_soon_threadsafe)

    def work():
        for i in range(10):
            made.add(made.taker, "app_slave.py", i)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert len(woken) == 1
    async with asyncio.timeout(PATIENCE):
        assert len(await taking) == 10


async def test_calls_that_are_dropped(folder):
    made, receiver, idle = opened(folder)
    for i in range(3):
        made.add(made.taker, "app_slave.py", i)
    made.sender.drop()
    assert made.sender.sent == 0
    made.add(made.taker, "app_slave.py", 7)
    assert [call.input for call in await receiver.take(idle)] != []
    assert made.sender.sent == 1
