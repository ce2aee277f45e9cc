"""Files on their way into the upload hierarchy. Functions that block say so.

A file is written in another place, and moved to its own when it is whole and durable.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from aioboinc.aio import durable, threads

__all__ = ["Damaged", "Gap", "Incoming", "Placing"]

_PARTIAL = "partial"
"""Directory of incomplete files in the upload hierarchy; the names of its other directories are hexadecimal."""


class Gap(Exception):
    """Bytes are missing before the position where a file should continue; *size* is how many are there."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.size = size


class Damaged(Exception):
    """A whole file has a wrong MD5; it is removed."""


@dataclass(frozen=True, slots=True)
class _Move:
    source: str
    target: str


class Incoming:
    """Incomplete files of the upload hierarchy *root*. Methods block."""

    def __init__(self, root: Path) -> None:
        self._partial = f"{root}/{_PARTIAL}"

    def path(self, name: str) -> str:
        return f"{self._partial}/{name}"

    def size(self, name: str) -> int:
        """Return how many bytes of the file *name* are there; 0 if there are none. Raises OSError."""
        try:
            return os.stat(self.path(name)).st_size
        except FileNotFoundError:
            return 0

    def write(self, name: str, position: int, block: bytes) -> None:
        """Write *block* at the end of a file. Raises `Gap`, without changing anything, and OSError."""
        flags = os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC | (0 if position else os.O_CREAT)
        try:
            descriptor = os.open(self.path(name), flags, 0o640)
        except FileNotFoundError:
            if position:
                raise Gap(0) from None
            # Not the upload hierarchy itself, which was made with its own mode.
            with contextlib.suppress(FileExistsError):
                os.mkdir(self._partial)
            descriptor = os.open(self.path(name), flags, 0o640)
        try:
            size = os.fstat(descriptor).st_size
            if size < position:
                raise Gap(size)
            if size > position:
                os.truncate(descriptor, position)
            written = 0
            while written < len(block):
                written += os.pwrite(descriptor, memoryview(block)[written:], position + written)
        finally:
            os.close(descriptor)

    def check(self, name: str, md5: str, content: bytes | None) -> None:
        """Raise `Damaged`, unless the file has this *md5*. *content* is all of it; None: it is read."""
        if content is None:
            with open(self.path(name), "rb") as file:
                actual = hashlib.file_digest(file, _md5).hexdigest()
        else:
            actual = _md5(content).hexdigest()
        if actual != md5:
            os.unlink(self.path(name))
            raise Damaged

    def clear(self, before: float) -> int:
        """Remove files that were last written *before*, in seconds since the epoch; return their number."""
        count = 0
        with contextlib.suppress(FileNotFoundError), os.scandir(self._partial) as entries:
            for entry in entries:
                if entry.stat(follow_symlinks=False).st_mtime < before:
                    os.unlink(entry)
                    count += 1
        return count


class Placing:
    """Moves whole files to their places in the hierarchy *root*, durably.

    A host forgets a file once it is told that the upload is complete, so the file must survive a power cut. A sync
    costs the same for one file and for a hundred, so files that come during one share the next.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._moves: list[_Move] = []
        self._running: asyncio.Task[Mapping[_Move, OSError]] | None = None
        self._next: asyncio.Task[Mapping[_Move, OSError]] | None = None

    async def place(self, source: str, target: str) -> None:
        """Move a whole file to its place; on return it is durable there. Raises OSError."""
        move = _Move(source, target)
        self._moves.append(move)
        failures = await self._round()
        if move in failures:
            raise failures[move]

    async def settle(self) -> None:
        """Wait until all files that are in place now are durable there. Raises OSError."""
        await self.place("", "")

    async def _round(self) -> Mapping[_Move, OSError]:
        """Take part in the next round of syncs."""
        if self._next is None:
            self._next = asyncio.ensure_future(self._after(self._running))
        return await asyncio.shield(self._next)

    async def _after(self, before: asyncio.Task[Mapping[_Move, OSError]] | None) -> Mapping[_Move, OSError]:
        if before is not None:
            await asyncio.wait([before])
        moves, self._moves = self._moves, []
        self._running, self._next = self._next, None
        return await threads.in_thread(_place, self._root, moves)


def _place(root: Path, moves: Sequence[_Move]) -> Mapping[_Move, OSError]:
    """Make *moves*: the contents are durable before the names are. Return what has failed."""
    failures: dict[_Move, OSError] = {}
    real = [move for move in moves if move.source]
    try:
        if real:
            durable.sync(root)
        for move in real:
            try:
                _rename(move.source, move.target)
            except OSError as error:
                failures[move] = error
        durable.sync(root)
    except OSError as error:
        return dict.fromkeys(moves, error)
    return failures


def _rename(source: str, target: str) -> None:
    try:
        os.rename(source, target)
    except FileNotFoundError:
        with contextlib.suppress(FileExistsError):
            os.mkdir(os.path.dirname(target))
        os.rename(source, target)


_md5 = functools.partial(hashlib.md5, usedforsecurity=False)
