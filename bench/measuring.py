"""Rounds: the contenders of a stage take turns, each time in a fresh place, and all measurements are kept."""

from __future__ import annotations

import enum
import os
import statistics
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

__all__ = ["Contender", "Curve", "Figure", "Kind", "Point", "Series", "Stage", "compete", "settle"]


class Kind(enum.StrEnum):
    """The role of a contender."""

    OURS = "ours"
    BESIDE = "beside"
    """An alternative for users."""
    BOUND = "bound"
    """A part of the work, done as fast as the machine can."""


@dataclass(frozen=True)
class Contender:
    """One way to do a stage's work."""

    name: str
    kind: Kind
    measure: Callable[[], Awaitable[float]]
    """Does the work once in a fresh place; returns the seconds that it took, without the preparation."""
    task: str = ""
    """What is done. Contenders with the same task are compared; those without a task, with all."""


@dataclass(frozen=True)
class Series:
    """The measurements of a contender."""

    name: str
    kind: Kind
    count: int
    """Jobs, rows or files in a round."""
    seconds: tuple[float, ...]
    """Of each round."""
    task: str = ""
    """What is done, as in `Contender`."""

    @property
    def rates(self) -> tuple[float, ...]:
        """Jobs a second of each round."""
        return tuple(self.count / seconds for seconds in self.seconds)

    @property
    def rate(self) -> float:
        """Median of the rates."""
        return statistics.median(self.rates)

    def is_comparable(self, other: Series) -> bool:
        """Tell whether *other* has done the same, or a part of it, and is not ours."""
        return other.kind is not Kind.OURS and other.task in {"", self.task}

    def ratio(self, other: Series) -> float:
        """Return how many times as fast as *other* this is: the median of the ratios in each round."""
        return statistics.median(theirs / ours for ours, theirs in zip(self.seconds, other.seconds, strict=True))


@dataclass(frozen=True)
class Figure:
    """A measurement that is not a rate."""

    name: str
    value: float
    unit: str


@dataclass(frozen=True)
class Point:
    """What a file of one size took."""

    size: int
    """MiB."""
    seconds: float
    """Processor time."""
    memory: float
    """MiB, besides the file."""
    refused: str = ""
    """Why there is no value, if there is none."""


@dataclass(frozen=True)
class Curve:
    """The measurements of files of one kind."""

    name: str
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Stage:
    """All measurements of a stage."""

    name: str
    jobs: int
    database: str
    series: Sequence[Series] = ()
    figures: Sequence[Figure] = field(default=())
    curves: Sequence[Curve] = field(default=())


async def compete(contenders: Sequence[Contender], count: int, rounds: int) -> list[Series]:
    """Let *contenders* take turns, *rounds* times; each time another one begins."""
    seconds: list[list[float]] = [[] for _ in contenders]
    for number in range(rounds):
        for place in range(len(contenders)):
            index = (place + number) % len(contenders)
            seconds[index].append(await contenders[index].measure())
            contender = contenders[index]
            rate = count / seconds[index][-1]
            print(f"  round {number + 1}: {contender.name}: {rate:,.0f}/s", file=sys.stderr, flush=True)
    return [
        Series(contender.name, contender.kind, count, tuple(taken), contender.task)
        for contender, taken in zip(contenders, seconds, strict=True)
    ]


def settle() -> None:
    """Let the disk write what the preparation has left, so that it does not distort the measurement."""
    os.sync()
