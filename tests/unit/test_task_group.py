"""What comes out of a task group of ours."""

import asyncio

import pytest

from aioboinc.aio import task_group


def chain(error):
    """The error, its causes and its contexts."""
    found = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found


async def fail(error, *, after=()):
    for event in after:
        await event.wait()
    raise error


async def run(*errors, body=None):
    async with task_group.TaskGroup() as tasks:
        for error in errors:
            tasks.create_task(fail(error))
        if body is not None:
            raise body
        await asyncio.sleep(3600)


@pytest.mark.parametrize("where", ["task", "body"])
async def test_an_error_is_itself(where):
    error = ValueError("bad")
    with pytest.raises(ValueError, match="bad") as caught:
        await (run(error) if where == "task" else run(body=error))
    assert caught.value is error
    assert chain(error) == [error]


async def test_through_several_groups():
    error = KeyError("x")

    async def nest(depth):
        async with task_group.TaskGroup() as tasks:
            if depth:
                await nest(depth - 1)
            tasks.create_task(fail(error))
            await asyncio.sleep(3600)

    with pytest.raises(KeyError) as caught:
        await nest(3)
    assert caught.value is error
    assert chain(error) == [error]
    assert not hasattr(error, "__notes__")


async def test_its_own_cause_and_context_stay():
    async def work():
        try:
            raise ValueError("first")
        except ValueError as first:
            try:
                raise KeyError("second") from first
            except KeyError:
                raise OSError("third")  # noqa: B904

    async def run_it():
        async with task_group.TaskGroup() as tasks:
            tasks.create_task(work())
            await asyncio.sleep(3600)

    with pytest.raises(OSError, match="third") as caught:
        await run_it()
    assert list(map(type, chain(caught.value))) == [OSError, KeyError, ValueError]


async def test_a_group_of_the_user_stays_as_it_is():
    group = ExceptionGroup("mine", [ValueError(1), ExceptionGroup("inner", [KeyError(2)])])
    with pytest.raises(ExceptionGroup) as caught:
        await run(group)
    assert caught.value is group
    assert chain(group) == [group]


async def test_of_several_errors_the_others_are_notes():
    first, second, third = ValueError("first"), KeyError("second"), ValueError("first")
    with pytest.raises(ValueError, match="first") as caught:
        await run(first, second, third)
    assert caught.value is first
    assert first.__notes__ == ["At the same time: KeyError: 'second'"]


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_what_ends_the_process_passes(kind):
    with pytest.raises(kind) as caught:
        asyncio.run(run(body=kind()))
    assert not any(isinstance(error, BaseExceptionGroup) for error in chain(caught.value))


async def test_a_cancellation_is_one():
    task = asyncio.create_task(run())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
