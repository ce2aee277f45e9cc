"""Writes that run behind."""

import asyncio

import pytest

from aioboinc.aio import pipeline


async def run(*writes, error=None):
    async with pipeline.Behind() as behind:
        for write in writes:
            await behind.start(write)
            await asyncio.sleep(0)
        if error is not None:
            raise error


async def test_one_at_a_time_in_their_order():
    events = []

    async def write(number):
        events.append(f"begin {number}")
        await asyncio.sleep(0)
        events.append(f"end {number}")
        return number

    async with pipeline.Behind() as behind:
        for number in (1, 2, 3):
            await behind.start(write(number))
    assert events == [f"{what} {number}" for number in (1, 2, 3) for what in ("begin", "end")]
    assert behind.count == 6


async def test_the_caller_goes_on_meanwhile():
    may_end = asyncio.Event()

    async def write():
        await may_end.wait()
        return 1

    async with pipeline.Behind() as behind:
        await behind.start(write())
        may_end.set()
    assert behind.count == 1


@pytest.mark.parametrize("writes", [1, 2])
async def test_errors_of_a_write_are_raised(writes):
    async def fail():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await run(*(fail() for _ in range(writes)))


async def test_an_error_of_the_caller_cancels_the_write():
    cancelled = asyncio.Event()

    async def write():
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        return 1

    with pytest.raises(KeyError):
        await run(write(), error=KeyError())
    assert cancelled.is_set()


async def test_a_cancellation_cancels_the_write():
    begun = asyncio.Event()
    cancelled = asyncio.Event()

    async def write():
        try:
            begun.set()
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        return 1

    async def caller():
        async with pipeline.Behind() as behind:
            await behind.start(write())

    task = asyncio.create_task(caller())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cancelled.is_set()


async def test_the_callers_error_takes_precedence():
    async def fail():
        raise ZeroDivisionError

    with pytest.raises(KeyError):
        await run(fail(), error=KeyError())
