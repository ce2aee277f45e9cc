"""Credit: what a job is worth, and recent averages of credit. The formulas are BOINC's."""

from __future__ import annotations

import math
from collections.abc import Iterable

__all__ = ["MAX_GRANTED", "from_run_time", "recent_average", "recent_turnaround"]

MAX_GRANTED = 200.0 * 1000 * 365
"""Maximum credit of a result: a year of one TeraFLOPS."""

_PER_OPERATION = 200 / 86400e9
"""A Cobblestone is a 200th of what a host of one GFLOPS does in a day."""
_HALF_LIFE = 7 * 86400.0
_DAY = 86400.0
_UNKNOWN_SPEED = 1e9
"""What clients report if their benchmarks failed."""
_TYPICAL_SPEED = 4.3e9


def from_run_time(
    executions: Iterable[tuple[float, float]], operations_bound: float, maximum: float = MAX_GRANTED
) -> float:
    """Return the credit for a job, from its valid *executions*.

    These are pairs of seconds and floating-point operations a second. None counts for much more than
    *operations_bound*; those worth nothing, or more than *maximum*, are left out, and high values weigh less than low
    ones. Returns 0 if nothing is left.
    """
    values = []
    for seconds, speed in executions:
        operations = seconds * (_TYPICAL_SPEED if speed <= 0 or speed == _UNKNOWN_SPEED else speed)
        if operations > 2 * operations_bound:
            operations = operations_bound
        if 0 < operations * _PER_OPERATION <= maximum:
            values.append(operations * _PER_OPERATION)
    if len(values) <= 1:
        return sum(values)
    total = sum(values)
    return sum(value * (total - value) for value in values) / ((len(values) - 1) * total)


def recent_average(average: float, computed: float, credit: float, started: float, now: float) -> float:
    """Return the credit a day after *credit* was granted *now* for work that was *started* then.

    *average* is its value when it was last *computed* (0: never). It halves in a week without work.
    """
    if not computed:
        return credit / max((now - started) / _DAY, 1 / _DAY) if credit else 0.0
    elapsed = max(now - computed, 0.0)
    weight = math.exp(-elapsed * math.log(2) / _HALF_LIFE)
    if 1 - weight > 1e-6:
        return average * weight + (1 - weight) * credit / (elapsed / _DAY)
    return average * weight + math.log(2) * credit * _DAY / _HALF_LIFE


def recent_turnaround(average: float, seconds: float) -> float:
    """Return a host's average turnaround after one of *seconds*; an *average* of 0 means none before."""
    return 0.7 * average + 0.3 * seconds if average else seconds
