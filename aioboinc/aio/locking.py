"""A lock that goes with the process that has it, however that ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator

__all__ = ["held"]


@contextlib.contextmanager
def held(descriptor: int, refusal: Exception) -> Iterator[None]:
    """Hold the lock of an open file or directory, and close it. Raises *refusal* where somebody else holds it."""
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise refusal from None
        yield
    finally:
        os.close(descriptor)
