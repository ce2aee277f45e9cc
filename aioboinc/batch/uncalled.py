"""Calls that their program has taken back: nobody waits for their outputs."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from aioboinc.batch import ledger

__all__ = ["Uncalled"]


class Uncalled:
    """Calls of *book* that were made in this run and taken back before their outputs were there."""

    def __init__(self, book: ledger.Ledger) -> None:
        self.count = 0
        """How many; a call that was made and taken back twice counts twice."""
        self._ledger = book
        self._jobs: set[int] = set()
        self._keys: dict[int, bytes] = {}
        """Of those that are not in the project yet. Until then nobody can make them again."""

    def add(self, numbers: Sequence[int], ncalls: int) -> None:
        """Take back the calls *numbers*. Of the batch's calls the first *ncalls* are in the project."""
        for number in numbers:
            self._ledger.uncall(number)
        self.count += len(numbers)
        self._jobs.update(numbers)
        self._keys |= self._ledger.forget([number for number in numbers if number >= ncalls])

    def called(self, number: int) -> None:
        """Take note that a call is made, maybe again."""
        self._jobs.discard(number)

    def committed(self, ncalls: int) -> None:
        """Take note that the first *ncalls* calls of the batch are in the project."""
        if self._keys:
            self._ledger.restore({number: key for number, key in self._keys.items() if number < ncalls})
            self._keys = {number: key for number, key in self._keys.items() if number >= ncalls}

    def has_all(self, numbers: Collection[int]) -> bool:
        """Tell whether all calls *numbers* were taken back, and not made again."""
        return self._jobs.issuperset(numbers)
