"""How many calls share a workunit."""

import asyncio
import dataclasses
import math

import pytest

from aioboinc.batch import sizing
from aioboinc.store import jobs

AIM = sizing.Aim(seconds=1.0, patience=60.0, blind=16, start=0.1, ahead=10.0)
PROGRAM = b"p" * 32


def kind(chunk=jobs.AUTO, program=PROGRAM):
    return jobs.Kind(None, "f", program, jobs.Options(), {}, bytes(32), chunk)


def calls(count, of_kind, size=1):
    return [jobs.Call(of_kind, bytes(size), bytes(32), bytes(16), False, None) for _ in range(count)]


def sizes(unfinished=lambda: 1, **aim):
    return sizing.Sizes(dataclasses.replace(AIM, **aim), 1, unfinished)


def test_a_number_that_somebody_says():
    assert sizes().counts(calls(10, kind(4))) == [4, 4, 2]
    assert sizes().counts(calls(3, kind(1))) == [1, 1, 1]


def test_only_calls_of_one_kind_share_a_workunit():
    one, other = kind(10), kind(10)
    assert sizes().counts(calls(3, one) + calls(2, other) + calls(1, one)) == [3, 2, 1]


def test_large_inputs_do_not_come_together():
    assert sizes().counts(calls(5, kind(5), size=1 << 19)) == [2, 2, 1]
    assert sizes().counts(calls(2, kind(5), size=1 << 21)) == [1, 1]


def test_the_first_calls_are_alone():
    unknown = sizes()
    assert unknown.counts(calls(64, kind())) == [1] * 64
    assert unknown.counts(calls(20, kind())) == [16, 4]  # nobody knows better


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0.1, 50), (0.11, 50), (0.12, 50), (0.2, 10), (0.6, 2), (1.1, 1), (1000.0, 1), (0.0, 50)],
)
def test_sizes_by_run_times(seconds, expected):
    known = sizes()
    known.learn(PROGRAM, 1, seconds)
    assert known.counts(calls(100, kind()))[0] == expected


def test_the_start_of_a_process_counts_once():
    known = sizes()
    for ncalls, seconds in ((1, 0.11), (1, 0.11), (50, 0.6)):
        known.learn(PROGRAM, ncalls, seconds)
    (first, *_) = known.counts(calls(2000, kind()))
    assert 95 <= first <= 105  # 0.01 s each


def test_a_call_longer_than_all_before_counts():
    known = sizes()
    for _ in range(100):
        known.learn(PROGRAM, 10, 0.11)
    assert known.counts(calls(2000, kind()))[0] > 100
    known.learn(PROGRAM, 1, 30.0)
    assert known.counts(calls(2000, kind()))[0] < 12


async def test_others_wait_for_the_times_of_the_first():
    unknown = sizes()
    await unknown.ready(calls(64, kind()))
    unknown.counts(calls(64, kind()))
    await unknown.ready(calls(9, kind(1)))  # these need not
    waiting = asyncio.create_task(unknown.ready(calls(10, kind())))
    await asyncio.sleep(0)
    assert not waiting.done()
    unknown.learn(PROGRAM, 1, 0.2)
    await waiting


async def test_they_do_not_wait_for_ever():
    unknown = sizes(patience=0.01)
    unknown.counts(calls(64, kind()))
    await unknown.ready(calls(10, kind()))
    assert unknown.counts(calls(32, kind())) == [16, 16]
    await unknown.ready(calls(10, kind()))


async def test_they_do_not_wait_when_nothing_is_left_to_do():
    unfinished = 1
    unknown = sizes(lambda: unfinished)
    unknown.counts(calls(64, kind()))
    waiting = asyncio.create_task(unknown.ready(calls(10, kind())))
    await asyncio.sleep(0)
    assert not waiting.done()
    unfinished = 0  # all have failed
    unknown.tell()
    await waiting


async def test_not_too_much_is_submitted_at_once():
    unfinished = 11
    known = sizes(lambda: unfinished)
    known.learn(PROGRAM, 1, 1.1)
    waiting = asyncio.create_task(known.ready(calls(10, kind())))
    await asyncio.sleep(0)
    assert not waiting.done()
    unfinished = 9
    known.learn(PROGRAM, 1, 1.1)
    await waiting
    await sizes(lambda: 10**9, ahead=math.inf).ready(calls(10, kind()))
