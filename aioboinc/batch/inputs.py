"""The inputs of this run's calls, for `Job.input` and for calls that get another workunit.

They are on disk, because there may be millions.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from array import array
from pathlib import Path

from aioboinc import errors
from aioboinc.store import jobs

__all__ = ["Inputs"]

_BUFFER = 1 << 18
"""Bytes to collect before they are written."""


class Inputs:
    """Encoded inputs by the order of their calls, in an unnamed file in *folder*.

    The file lives as long as this object, which jobs refer to: their inputs are available after the batch was left.
    """

    def __init__(self, folder: Path, *, all_of_them: bool = True) -> None:
        """Keep those of all calls, or only of calls that may share a workunit."""
        self._folder = folder
        self._all = all_of_them
        self._kinds: list[jobs.Kind] = []
        self._places: dict[jobs.Kind, int] = {}
        self._kind_of = array("I")
        self._buffer = bytearray()
        self._written = 0
        self._ends = array("q", [0])
        with errors.of_files(folder):
            self._file, path = tempfile.mkstemp(dir=folder)
            os.unlink(path)

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError):  # the file could not be made
            os.close(self._file)

    def add(self, call: jobs.Call) -> None:
        """Keep the input of the next *call*. Raises `errors.UsageError`."""
        kind = call.kind
        place = self._places.get(kind)
        if place is None:
            place = self._places[kind] = len(self._kinds)
            self._kinds.append(kind)
        self._kind_of.append(place)
        data = call.input if self._all or kind.chunk != 1 else b""
        self._buffer += data
        self._ends.append(self._ends[-1] + len(data))
        if len(self._buffer) >= _BUFFER:
            self._flush()

    def call(self, order: int) -> jobs.Call:
        """Return a call that may share a workunit once more, for another one. Raises `errors.UsageError`."""
        data = self.read(order)
        kind = self._kinds[self._kind_of[order]]
        return jobs.Call(kind, data, hashlib.sha256(data).digest(), b"", False, None)

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
