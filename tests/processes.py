"""Other processes, as /proc shows them.

One may end between two steps of a look: what was opened then can't be read (ESRCH).
"""

from __future__ import annotations

__all__ = ["is_alive", "parent", "state"]


def _stat(pid: int) -> list[str]:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ["X", "0"]


def state(pid: int) -> str:
    """Return its letter: Z for one that has ended and was not waited for, X for one that is gone."""
    return _stat(pid)[0]


def parent(pid: int) -> int:
    """Return the id of its parent, 0 if it is gone."""
    return int(_stat(pid)[1])


def is_alive(pid: int) -> bool:
    """Say whether it has not ended."""
    return state(pid) not in "ZX"
