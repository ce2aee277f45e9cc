"""Pieces of ``__main__`` that go to hosts, their order there, and the text that they make."""

from __future__ import annotations

import dataclasses
import graphlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from aioboinc.program import names

__all__ = ["Circle", "Piece", "Rank", "Twice", "joined", "ordered"]

_Key: TypeAlias = tuple[str, int, str]


class Rank:
    """Among pieces that could have any order, a lower rank comes first."""

    IMPORT, CONSTANT, DEFINITION = range(3)


@dataclass(frozen=True)
class Piece:
    """Some lines of the program."""

    name: str
    """The name that it defines."""
    text: str
    filename: str
    """The file it comes from; empty if there is none."""
    line: int
    """The number of its first line there, from 1."""
    rank: int = Rank.DEFINITION
    names: names.Names = dataclasses.field(default_factory=names.Names)
    """What it needs."""
    binds: frozenset[str] = frozenset()
    """Names that no other piece may bind."""
    chains: Mapping[str, set[tuple[str, ...]]] = dataclasses.field(default_factory=dict)
    """The attributes that it uses of modules."""
    future: bool = False
    """Whether its annotations were not evaluated."""
    module: str = ""
    """The module that it imports."""

    @property
    def key(self) -> _Key:
        """Identifies it."""
        return self.filename, self.line, self.text


class Circle(Exception):
    """Pieces that must each come before the others; ``args`` are their names."""


class Twice(Exception):
    """A name that two pieces bind; ``args`` is that."""


def ordered(by_name: Mapping[str, Piece], others: Iterable[Piece]) -> list[Piece]:
    """Return all pieces, each after those that it needs. The order does not depend on where they come from.

    Raises Twice, and Circle if there is no such order.
    """
    pieces = {piece.key: piece for piece in (*others, *by_name.values())}
    _check_bound(pieces.values())
    keys = {name: piece.key for name, piece in by_name.items()}

    def keys_of(wanted: set[str]) -> set[_Key]:
        return {keys[name] for name in wanted if name in keys}

    at_once = {key: keys_of(piece.names.defined) for key, piece in pieces.items()}
    direct = {key: at_once[key] | keys_of(piece.names.called) - {key} for key, piece in pieces.items()}
    reach = {key: _reach(key, direct) for key in pieces}
    # Pieces that need each other only when called go in an order in which they can be defined.
    before = {
        key: {other for other in direct[key] if key not in reach[other] or other in at_once[key]} for key in pieces
    }
    sorter = graphlib.TopologicalSorter(before)
    try:
        sorter.prepare()
    except graphlib.CycleError as error:
        raise Circle(*sorted({pieces[key].name for key in error.args[1]})) from None
    found: list[Piece] = []
    ready: list[Piece] = []
    while sorter.is_active():
        ready += [pieces[key] for key in sorter.get_ready()]
        ready.sort(key=lambda piece: (piece.rank, piece.name, piece.text))
        found.append(ready.pop(0))
        sorter.done(found[-1].key)
    return found


def joined(chosen: Sequence[Piece]) -> tuple[str, list[tuple[Piece, int]]]:
    """Return the text of pieces, and for each line its piece and the number of the line in it, from 0."""
    lines: list[str] = []
    places: list[tuple[Piece, int]] = []

    def add(piece: Piece, text: Iterable[str]) -> None:
        for number, line in enumerate(text):
            lines.append(line)
            places.append((piece, number))

    if any(piece.future for piece in chosen):
        add(chosen[0], ["from __future__ import annotations", ""])
    is_after_long = False
    for piece in chosen:
        block = piece.text.split("\n")
        is_long = len(block) > 1
        if lines and lines[-1] and (is_long or is_after_long):
            add(piece, ["", ""])
        add(piece, block)
        is_after_long = is_long
    return "\n".join(lines) + "\n", places


def _check_bound(pieces: Iterable[Piece]) -> None:
    owners: dict[str, Piece] = {}
    for piece in pieces:
        for name in piece.binds:
            if owners.setdefault(name, piece) is not piece:
                raise Twice(name)


def _reach(start: _Key, direct: Mapping[_Key, set[_Key]]) -> set[_Key]:
    found: set[_Key] = set()
    waiting = [start]
    while waiting:
        for other in direct[waiting.pop()] - found:
            found.add(other)
            waiting.append(other)
    return found
