"""How much work a host asks for, and which jobs fulfil that."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from aioboinc.serve import durations
from aioboinc.store import candidates

__all__ = ["Wish", "choose"]


@dataclass(frozen=True)
class Wish:
    """How much work a host asks for."""

    seconds: float
    """Seconds of work, over all its cores."""
    instances: float
    """Idle cores."""
    flops: float
    """Floating-point operations that one of its cores does for us in a second."""


def choose(
    found: Iterable[candidates.Candidate],
    wish: Wish,
    sizes: durations.Sizes,
    may_be_late: Callable[[int], bool] = lambda batch: False,
) -> tuple[Sequence[candidates.Candidate], bool]:
    """Take candidates from *found* until the wish is fulfilled; tell whether it is.

    Those that would miss their deadline are skipped, unless *may_be_late* allows it for their batch.
    """
    chosen: list[candidates.Candidate] = []
    seconds, instances = wish.seconds, wish.instances
    for candidate in found:
        if seconds <= 0 and instances <= 0:
            break
        least = sizes.least(candidate.batch, candidate.rsc_fpops_est)
        if least / wish.flops > candidate.delay_bound and not may_be_late(candidate.batch):
            continue
        chosen.append(candidate)
        seconds -= sizes.operations(candidate.batch, candidate.rsc_fpops_est) / wish.flops
        instances -= 1
    return chosen, seconds <= 0 and instances <= 0
