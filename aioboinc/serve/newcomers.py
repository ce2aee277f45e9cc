"""Limits what strangers' hosts without valid results so far may have together."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["MAX_HELD", "Newcomers"]

MAX_HELD = 64
"""Results that such hosts of one account, or one address, may have at a time."""


class Newcomers:
    """Such hosts. *held* returns how many results a host has."""

    def __init__(self, held: Callable[[int], int]) -> None:
        self._held = held
        self._groups: dict[str, set[int]] = {}

    def room(self, hostid: int, *groups: str) -> int:
        """Return how many more results a new host in *groups* may have; the host counts from now on."""
        for group in groups:
            self._groups.setdefault(group, set()).add(hostid)
        return min(MAX_HELD - sum(map(self._held, self._groups[group])) for group in groups)

    def leave(self, hostid: int, *groups: str) -> None:
        """Note that a result of the host was found valid."""
        for group in groups:
            members = self._groups.get(group, set())
            members.discard(hostid)
            if not members:
                self._groups.pop(group, None)
