"""Who gets outputs, and in which order."""

import asyncio

import pytest

from aioboinc.batch import outputs, takers


class Source:
    """Outputs of which some are *gone*; groups have *size*."""

    def __init__(self, size=outputs.GROUP, gone=()):
        self.size = size
        self.gone = set(gone)
        self.missed = []
        self.loading = None

    async def load(self, numbers):
        if self.loading is not None:
            await self.loading.wait()
        numbers = list(numbers)[: self.size]
        return [outputs.Output(n, n, None) for n in numbers if n not in self.gone], [
            n for n in numbers if n in self.gone
        ]

    def lost(self, numbers, taker):
        self.missed += numbers
        self.gone -= set(numbers)


def queue(kind, source, called=()):
    made = kind()
    made.source = source
    for order, number in enumerate(called):
        made.identified(number, order)
    return made


async def numbers(made):
    """Take all there is, to the end."""
    taken = []
    while group := await made.take():
        taken += [output.number for output in group]
    return taken


async def test_in_the_order_in_which_they_come():
    made = queue(takers.Queue, Source(2), called=range(5))
    for number in (3, 0, 4, 2, 1):
        made.announce(number)
    made.end()
    assert await numbers(made) == [3, 0, 4, 2, 1]


async def test_in_the_order_of_their_calls():
    made = queue(takers.OrderedQueue, Source(2), called=[7, 5, 9, 6, 8])
    for number in (9, 8, 5, 7, 6):
        made.announce(number)
    made.end()
    assert await numbers(made) == [7, 5, 9, 6, 8]


async def test_one_whose_turn_has_not_come_waits():
    made = queue(takers.OrderedQueue, Source(), called=[7, 5, 9])
    taking = asyncio.create_task(made.take())
    made.announce(9)
    await asyncio.sleep(0.01)
    assert not taking.done()
    made.announce(7)
    assert [output.number for output in await taking] == [7]
    taking = asyncio.create_task(made.take())
    await asyncio.sleep(0.01)
    assert not taking.done()
    made.announce(5)
    assert [output.number for output in await taking] == [5, 9]


@pytest.mark.parametrize("kind", [takers.Queue, takers.OrderedQueue])
async def test_what_is_gone_is_waited_for_again(kind):
    made = queue(kind, Source(2, gone=[1, 2, 3]), called=range(5))
    for number in range(5):
        made.announce(number)
    taken = [output.number for output in await made.take()]
    taken += [output.number for output in await made.take()]
    assert taken == [0, 4]
    assert made.source.missed == [1, 2, 3]
    for number in (3, 1, 2):
        made.announce(number)
    made.end()
    again = await numbers(made)
    assert again == ([3, 1, 2] if kind is takers.Queue else [1, 2, 3])


@pytest.mark.parametrize("kind", [takers.Queue, takers.OrderedQueue])
async def test_what_was_being_read_when_it_was_cancelled_is_taken_later(kind):
    source = Source()
    made = queue(kind, source, called=range(3))
    for number in range(3):
        made.announce(number)
    source.loading = asyncio.Event()
    taking = asyncio.create_task(made.take())
    await asyncio.sleep(0)
    taking.cancel()
    await asyncio.wait({taking})
    source.loading = None
    made.end()
    assert await numbers(made) == [0, 1, 2]


@pytest.mark.parametrize("kind", [takers.Queue, takers.OrderedQueue])
async def test_nothing_comes_after_the_end(kind):
    made = queue(kind, Source())
    taking = asyncio.create_task(made.take())
    await asyncio.sleep(0)
    made.end()
    assert await taking == []
    assert await made.take() == []
