"""Locks that end with the process that holds them, however it ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

__all__ = ["held", "is_locked"]


@contextlib.contextmanager
def held(lock: Path | int, refusal: Exception, *, mode: int = 0o600) -> Iterator[int]:
    """Hold the lock of a directory or a file, and yield its descriptor, which is closed at the end.

    *lock* is its path, or a descriptor; a file is made with *mode* if it isn't there. Raises *refusal* if somebody else
    holds it, and OSError.
    """
    descriptor = lock if isinstance(lock, int) else _open(lock, mode)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise refusal from None
        yield descriptor
    finally:
        os.close(descriptor)


def is_locked(path: Path) -> bool:
    """Tell whether a process holds the lock of a file as BOINC's programs do (``lockf``). Raises OSError."""
    with path.open("r+b") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _open(path: Path, mode: int) -> int:
    if path.is_dir():
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, mode)
