"""What the finished calls of a workunit have come to, in a file of the slot: a process that is started again reads it.

The file is a list of records, each with a digest of the record, its place and whose it is. Behind what is torn or
damaged nothing counts. It is not synced: the system writes it soon, and what a power cut takes is computed again.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import struct
from typing import List, Optional, Tuple

from aioboinc.wire import names

from . import slot

__all__ = ["Finished", "label"]

_FORMAT = b"pyboinc calls 1\0"
_SIZE = struct.Struct("<I")
_HEAD = _SIZE.size + hashlib.sha256().digest_size
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0)
_MAX_BYTES = 2 << 30


def label(slot_dir: str, name: str) -> str:
    """Return what is to be said first of a mishap in the slot of the workunit *name*: which call it was in.

    Nothing if the workunit has one call only, or if all are finished.
    """
    if names.count_of(name) == 1:
        return ""
    sizes = []
    try:
        with open(os.path.join(slot_dir, slot.CALLS), "rb") as file:
            end = file.seek(0, os.SEEK_END)
            position = 0
            while position + _HEAD <= end:
                file.seek(position)
                sizes.append(_SIZE.unpack(file.read(_SIZE.size))[0])
                position += _HEAD + sizes[-1]
    except (OSError, struct.error):
        return ""
    number = len(sizes) - 1  # the first one is of no call
    calls = names.calls_of(name)
    return f"{calls.job(number)}: " if 0 <= number < calls.count else ""


class Finished:
    """The file *path* of the workunit with this *identity*."""

    def __init__(self, path: str, identity: bytes) -> None:
        self._path = path
        self._seed = hashlib.sha256(_FORMAT + identity)
        self._file: Optional[int] = None
        self._count = 0

    def begin(self, first: bytes) -> List[bytes]:
        """Return the records in the file; if there are none it begins with *first*. Never fails."""
        records, size = self._parse(self._read())
        try:
            self._file = os.open(self._path, _FLAGS | getattr(os, "O_CLOEXEC", 0), 0o664)
            os.ftruncate(self._file, size)
        except OSError:
            self._stop()
        self._count = len(records)
        if not records:
            self.add(first)
            records.append(first)
        return records

    def add(self, record: bytes) -> bool:
        """Write another record; return whether it is in the file. Once one is not there, none will be."""
        if self._file is None:
            return False
        data = _SIZE.pack(len(record)) + self._digest(self._count, record) + record
        try:
            if os.write(self._file, data) < len(data):
                self._stop()
        except OSError:
            self._stop()
        self._count += 1
        return self._file is not None

    def _stop(self) -> None:
        self._file = None

    def _read(self) -> bytes:
        try:
            if os.path.isdir(self._path) and not os.path.islink(self._path):
                shutil.rmtree(self._path, ignore_errors=True)
            elif os.path.islink(self._path) or os.path.getsize(self._path) > _MAX_BYTES:
                slot.remove(self._path)
            with open(self._path, "rb") as file:
                return file.read()
        except OSError:
            return b""

    def _parse(self, content: bytes) -> Tuple[List[bytes], int]:
        """Return the records in *content*, and where the last one ends."""
        records: List[bytes] = []
        position = 0
        while len(content) - position >= _HEAD:
            start = position + _HEAD
            end = start + _SIZE.unpack_from(content, position)[0]
            record = content[start:end]
            if end > len(content) or content[position + _SIZE.size : start] != self._digest(len(records), record):
                break
            records.append(record)
            position = end
        return records, position

    def _digest(self, number: int, record: bytes) -> bytes:
        digest = self._seed.copy()
        digest.update(_SIZE.pack(number))
        digest.update(record)
        return digest.digest()
