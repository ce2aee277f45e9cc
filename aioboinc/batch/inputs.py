"""The inputs of this run's calls, kept for whoever asks a job for its input: on the disk, as there may be millions."""

from __future__ import annotations

import os
import tempfile
from array import array
from pathlib import Path

from aioboinc import errors

__all__ = ["Inputs"]


class Inputs:
    """Encoded inputs by the order of their calls, in a file of *folder* that has no name and goes with the process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with errors.of_files(folder):
            self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - it lives as long as the batch
        self._ends = array("q", [0])

    def add(self, data: bytes) -> None:
        """Keep the input of the next call. Raises `errors.UsageError`."""
        with errors.of_files(self._folder):
            self._file.write(data)
        self._ends.append(self._ends[-1] + len(data))

    def read(self, order: int) -> bytes:
        """Return the input of a call. Raises `errors.UsageError`."""
        with errors.of_files(self._folder):
            self._file.flush()
            begin, end = self._ends[order], self._ends[order + 1]
            return os.pread(self._file.fileno(), end - begin, begin)

    def close(self) -> None:
        """Forget all."""
        self._file.close()
