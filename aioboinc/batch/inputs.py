"""The inputs of this run's calls, kept for `Job.input`: on disk, because there may be millions."""

from __future__ import annotations

import contextlib
import os
import tempfile
from array import array
from pathlib import Path

from aioboinc import errors

__all__ = ["Inputs"]

_BUFFER = 1 << 18
"""Bytes to collect before they are written."""


class Inputs:
    """Encoded inputs by the order of their calls, in an unnamed file in *folder*.

    The file lives as long as this object, which jobs refer to: their inputs are available after the batch was left.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._buffer = bytearray()
        self._written = 0
        self._ends = array("q", [0])
        with errors.of_files(folder):
            self._file, path = tempfile.mkstemp(dir=folder)
            os.unlink(path)

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError):  # the file could not be made
            os.close(self._file)

    def add(self, data: bytes) -> None:
        """Keep the input of the next call. Raises `errors.UsageError`."""
        self._buffer += data
        self._ends.append(self._ends[-1] + len(data))
        if len(self._buffer) >= _BUFFER:
            self._flush()

    def read(self, order: int) -> bytes:
        """Return the input of a call. Raises `errors.UsageError`."""
        begin, end = self._ends[order], self._ends[order + 1]
        if end > self._written:
            self._flush()
        with errors.of_files(self._folder):
            return os.pread(self._file, end - begin, begin)

    def _flush(self) -> None:
        with errors.of_files(self._folder):
            while self._buffer:
                written = os.write(self._file, self._buffer)
                del self._buffer[:written]
                self._written += written
