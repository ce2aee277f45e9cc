import asyncio
import threading

import pytest
from patience import PATIENCE

from aioboinc.aio import loops, threads


def test_backoff_grows_to_its_limit_and_starts_over():
    backoff = loops.Backoff(0.010, 0.1, jitter=lambda low, high: high)
    assert [backoff.next() for _ in range(6)] == pytest.approx([0.01, 0.02, 0.04, 0.08, 0.1, 0.1])
    backoff.reset()
    assert backoff.next() == pytest.approx(0.01)


def test_backoff_draws_from_the_upper_half():
    drawn = []
    backoff = loops.Backoff(1, 8, jitter=lambda low, high: drawn.append((low, high)) or low)
    backoff.next()
    backoff.next()
    assert drawn == [(0.5, 1), (1, 2)]


async def test_wait_ends_with_an_event():
    event = asyncio.Event()
    waiting = asyncio.create_task(loops.wait(3600, asyncio.Event(), event))
    await asyncio.sleep(0)
    event.set()
    await asyncio.wait_for(waiting, PATIENCE)


async def test_run_works_while_there_is_work_and_stops():
    stop = asyncio.Event()
    todo = [3, 2, 1]

    async def one_pass():
        if not todo:
            stop.set()
            return 0
        return todo.pop()

    await asyncio.wait_for(loops.run(one_pass, stop=stop), PATIENCE)
    assert not todo


async def test_run_is_woken():
    stop, wake = asyncio.Event(), asyncio.Event()
    passes = 0

    async def one_pass():
        nonlocal passes
        passes += 1
        if passes == 1:
            asyncio.get_running_loop().call_soon(wake.set)
        else:
            stop.set()
        return 0

    backoff = loops.Backoff(3600, 3600)
    await asyncio.wait_for(loops.run(one_pass, stop=stop, wake=wake, backoff=backoff), PATIENCE)
    assert passes == 2


async def test_in_thread_finishes_what_it_began_before_it_is_cancelled():
    begun, go_on, done = threading.Event(), threading.Event(), threading.Event()

    def work():
        begun.set()
        go_on.wait()
        done.set()

    task = asyncio.create_task(threads.in_thread(work))
    await asyncio.to_thread(begun.wait)
    task.cancel()
    await asyncio.sleep(0)
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done.is_set()
