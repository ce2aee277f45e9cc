"""What the slave tells its supervisor while it runs: sixteen bytes in a file of the slot directory."""

from __future__ import annotations

import os
import struct
import sys
from typing import NamedTuple, Optional

__all__ = ["Part", "Progress", "Writer", "read"]

_LAYOUT = struct.Struct("<dQ")
_FRACTION = struct.Struct("<d")
_UNKNOWN = -1.0


class Progress(NamedTuple):
    """The state of a slave."""

    fraction_done: Optional[float]
    """From 0 to 1; None until the slave says it."""
    checkpoints: int
    """Number of checkpoints written since the slave was started."""


def read(path: str) -> Progress:
    """Return what the slave said last."""
    try:
        with open(path, "rb") as file:
            fraction, checkpoints = _LAYOUT.unpack(file.read(_LAYOUT.size))
    except (OSError, struct.error):
        return Progress(None, 0)
    return Progress(fraction if 0 <= fraction <= 1 else None, checkpoints)


class Writer:
    """The slave's end. The file is made at the first word, so that a slave that says nothing pays nothing."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._file: Optional[int] = None
        self._checkpoints = 0

    def fraction_done(self, fraction: float) -> None:
        """Tell the fraction done, from 0 to 1. Takes about a microsecond."""
        self._write(_FRACTION.pack(fraction), 0)

    def checkpointed(self) -> None:
        """Tell that a checkpoint is on disk."""
        self._checkpoints += 1
        self._write(struct.pack("<Q", self._checkpoints), _FRACTION.size)

    def finished(self, fraction: float, *, is_saved: bool) -> None:
        """Tell the fraction done at the end of a call of several, and whether what it has come to is in a file."""
        self._checkpoints += is_saved
        self._write(_LAYOUT.pack(fraction, self._checkpoints), 0)

    def _write(self, data: bytes, offset: int) -> None:
        if self._file is None:
            binary = getattr(os, "O_BINARY", 0)
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | binary, 0o664)
            os.write(self._file, _LAYOUT.pack(_UNKNOWN, 0))
        if sys.platform == "win32":
            os.lseek(self._file, offset, os.SEEK_SET)
            os.write(self._file, data)
        else:
            os.pwrite(self._file, data, offset)


class Part:
    """The slave's end for one call of several."""

    def __init__(self, whole: Writer, number: int, count: int) -> None:
        """Be that of the call *number*, from 0 on, of *count*."""
        self._whole = whole
        self._number = number
        self._count = count
        self.checkpointed = whole.checkpointed

    def fraction_done(self, fraction: float) -> None:
        """Tell the fraction done of the call, from 0 to 1."""
        self._whole.fraction_done((self._number + fraction) / self._count)
