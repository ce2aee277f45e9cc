"""The upload handler: output files of results in progress, whole or in parts.

A complete file does not change any more. So nothing that was validated can be replaced, and what a host reports is what
it has uploaded. A refused request changes nothing. A newer request for a file ends an older one: a client that tries
again has given up the earlier connection, even if the server has not noticed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import shutil
import time
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass

from aioboinc.aio import seldom, threads
from aioboinc.project import config
from aioboinc.serve import incoming
from aioboinc.store import reports
from aioboinc.wire import documents

__all__ = [
    "HEADER_LIMIT",
    "BrokenOff",
    "Header",
    "Permanent",
    "Refusal",
    "Transient",
    "Uploads",
    "parse_header",
    "reply",
    "reply_size",
]

HEADER_LIMIT = 8192
"""Maximum bytes before the data."""
_PARTIAL_DAYS = 14
_MIN_FREE = 100 << 20
"""Bytes of disk below which no upload begins."""
_BLOCK = 1 << 18
_FRESH = 1.0
"""Seconds for which a result is assumed to be still in progress."""
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,254}")
_RESULT = re.compile(r"(.+)_r\d+_\w+")

_log = logging.getLogger(__name__)


class Refusal(Exception):
    """The request is refused; the text says why."""


class Permanent(Refusal):
    """The request is refused for good."""


class Transient(Refusal):
    """The request is refused for now; the client should try again later."""


class BrokenOff(Transient):
    """The data ended too early; the text says why."""


@dataclass(frozen=True, slots=True)
class Header:
    """What comes before the data."""

    name: str
    """Of the file."""
    size_wanted: bool
    """The client asks how much of the file is there; then the fields below don't count."""
    nbytes: int = 0
    """Size of the whole file."""
    offset: int = 0
    """Position of the data in the file."""
    md5: str = ""
    """MD5 of the whole file, in hexadecimal; empty if the client does not give it."""
    length: int = 0
    """Bytes of the header itself."""


def parse_header(start: bytes) -> Header:
    """Read the header from the *start* of a request. Raises `Refusal`."""
    head, marker, _ = start.partition(b"<data>\n")
    text = head.decode("utf-8", "replace")
    wanted = _element(text, "get_file_size")
    if wanted is not None:
        return Header(_checked(wanted), size_wanted=True)
    if "<file_upload>" not in text:
        raise Transient("no command")
    name = _element(text, "name")
    if not name:
        raise Permanent("Missing name")
    if not marker:
        raise Permanent("Missing <data> tag")
    nbytes = _whole(text, "nbytes")
    if nbytes is None:
        raise Permanent("nbytes missing or negative")
    offset = _whole(text, "offset") if "<offset>" in text else 0
    if offset is None or offset > nbytes:
        raise Permanent("offset is none within the file")
    md5 = _element(text, "md5_cksum") or ""
    return Header(
        _checked(name),
        False,
        nbytes,
        offset,
        md5 if re.fullmatch("[0-9a-f]{32}", md5) else "",
        len(head) + len(marker),
    )


def reply(refusal: Refusal | None = None) -> str:
    """Return the answer to an upload."""
    if refusal is None:
        return "<data_server_reply>\n    <status>0</status>\n</data_server_reply>\n"
    status = 1 if isinstance(refusal, Transient) else -1
    return (
        f"<data_server_reply>\n    <status>{status}</status>\n    <message>{refusal}</message>\n"
        "</data_server_reply>\n"
    )


def reply_size(size: int) -> str:
    """Return the answer to a request for the file's present size."""
    return (
        f"<data_server_reply>\n    <status>0</status>\n    <file_size>{size}</file_size>\n</data_server_reply>\n"
    )


class Uploads:
    """The project's output files."""

    def __init__(self, project: config.Project, reports: reports.Reports, thread: threads.FileThread) -> None:
        self._project = project
        self._reports = reports
        self._thread = thread
        self._incoming = incoming.Incoming(project.upload_dir)
        self._placing = incoming.Placing(project.upload_dir)
        self._turns: dict[str, _Turn] = {}
        self._seldom = seldom.Seldom(_log)

    async def clear(self) -> int:
        """Remove incomplete files that nobody has continued for long; return their number."""
        return await threads.in_thread(self._incoming.clear, time.time() - _PARTIAL_DAYS * 86400)

    async def size(self, name: str) -> int:
        """Return how many bytes of a file are there. Raises `Refusal`.

        If that is all of them, the client takes the file as uploaded. So the last byte of a file that is not in its
        place yet is not counted.
        """
        await self._limit(name)
        async with self._turn(name):
            try:
                await threads.in_thread(self._check_room)
                size = await threads.in_thread(self._placed_size, name)
                if size is not None:
                    await self._placing.settle()
                    return size
                return max(0, await threads.in_thread(self._incoming.size, name) - 1)
            except OSError as error:
                raise self._trouble(name, error) from None

    async def receive(self, header: Header, data: AsyncIterator[bytes], length: int) -> None:
        """Receive *length* bytes of a file's data. If they break off, what has come is kept.

        On return the file is durable. *data* may raise `BrokenOff`. Raises `Refusal`.
        """
        limit = await self._limit(header.name)
        if header.nbytes > limit:
            raise Permanent(f"file size ({header.nbytes} bytes) exceeds limit ({limit} bytes)")
        if length > header.nbytes - header.offset:
            raise Permanent("more data than nbytes")
        async with self._turn(header.name) as turn:
            try:
                await self._receive(header, turn.while_mine(data, length))
            except OSError as error:
                raise self._trouble(header.name, error) from None

    async def _receive(self, header: Header, data: AsyncGenerator[bytes, None]) -> None:
        name = header.name
        position = header.offset
        checked = time.monotonic()
        try:
            async for block in _blocks(data):
                end = position + len(block)
                if not block and end < header.nbytes:
                    break  # keep what is there
                if end == header.nbytes and time.monotonic() - checked > _FRESH:
                    await self._limit(name)  # the result may be over by now
                # Large files take long, and get a thread of their own.
                in_thread = self._thread.run if len(block) == header.nbytes else threads.in_thread
                if not await in_thread(self._append, header, position, block):
                    # It was complete, but the client does not know that.
                    await self._placing.settle()
                    return
                position = end
        except BrokenOff as error:
            raise BrokenOff(f"incomplete: {position} of {header.nbytes} bytes: {error}") from None
        if position < header.nbytes:
            raise BrokenOff(f"incomplete: {position} of {header.nbytes} bytes: the data have ended")
        await self._placing.place(self._incoming.path(name), self._path(name))
        _log.debug("%s: %d bytes", name, header.nbytes)

    async def _limit(self, name: str) -> int:
        """Return how large a file may be. Raises `Permanent` unless it belongs to a result in progress."""
        match = _RESULT.fullmatch(name)
        document = await self._reports.output_of(match[1]) if match else None
        for file in documents.files(document or ""):
            if file.name == name:
                return int(file.max_nbytes) if file.max_nbytes < float("inf") else 0
        raise Permanent(f"{name} is not expected")

    @contextlib.asynccontextmanager
    async def _turn(self, name: str) -> AsyncIterator[_Turn]:
        """Become the only one to write a file; who was writing it ends, keeping what came. Raises `BrokenOff`."""
        before = self._turns.get(name)
        turn = self._turns[name] = _Turn()
        try:
            if before is not None:
                before.end()
                await before.over.wait()
            turn.check()
            yield turn
        finally:
            if before is not None:
                await before.over.wait()
            turn.over.set()
            if self._turns[name] is turn:
                del self._turns[name]

    def _append(self, header: Header, position: int, block: bytes) -> bool:
        """Write a part of a file; check a whole one. Return False if it was complete. Blocks."""
        if os.path.exists(self._path(header.name)):
            return False
        self._check_room()
        try:
            self._incoming.write(header.name, position, block)
            if header.md5 and position + len(block) == header.nbytes:
                self._incoming.check(header.name, header.md5, None if position else block)
        except incoming.Gap as gap:
            raise Transient(f"length of file {header.name} {gap.size} bytes < offset {position} bytes") from None
        except incoming.Damaged:
            raise Transient(f"{header.name} has arrived damaged") from None
        return True

    def _placed_size(self, name: str) -> int | None:
        try:
            return os.stat(self._path(name)).st_size
        except FileNotFoundError:
            return None

    def _path(self, name: str) -> str:
        return self._project.upload_path(name)

    def _check_room(self) -> None:
        if shutil.disk_usage(self._project.upload_dir).free < _MIN_FREE:
            self._seldom(
                logging.ERROR, "uploads are refused: %s has less than 100 MiB left", self._project.upload_dir
            )
            raise Transient("Server is out of disk space")

    def _trouble(self, name: str, error: OSError) -> Transient:
        """Return a short refusal for the client, who can do nothing about it; log the details."""
        if os.path.isdir(self._project.upload_dir):
            self._seldom(logging.ERROR, "uploads fail: %s: %s", name, error.strerror)
            return Transient(f"can't write file {name}: {error.strerror}")
        self._seldom(
            logging.ERROR,
            "uploads are refused: %s is not there: mount it, or make it again; results whose files are lost are "
            "computed again then",
            self._project.upload_dir,
        )
        return Transient("Server can't take files now")


class _Turn:
    """One request's turn to write a file."""

    def __init__(self) -> None:
        self.over = asyncio.Event()
        self._ended = False
        self._reading: asyncio.Timeout | None = None

    def end(self) -> None:
        """Make way for a newer one, as soon as nothing is half done."""
        if not self._ended and self._reading is not None:
            self._reading.reschedule(0)
        self._ended = True

    def check(self) -> None:
        """Raise `BrokenOff` if the turn has been ended."""
        if self._ended:
            raise BrokenOff("there is a newer request for the file")

    async def while_mine(self, data: AsyncIterator[bytes], length: int) -> AsyncGenerator[bytes, None]:
        """Yield *length* bytes of *data*, or what there is. Raises `BrokenOff` when the turn was ended."""
        while length > 0:
            self.check()
            try:
                async with asyncio.timeout(None) as self._reading:
                    piece = await anext(data, None)
            except TimeoutError:
                self.check()
                raise
            finally:
                self._reading = None
            if piece is None:
                return
            length -= len(piece)
            yield piece


async def _blocks(data: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """Join small pieces. If *data* break off, yield what came before; without data, yield one empty block."""
    pieces: list[bytes] = []
    size = total = 0
    broken: BrokenOff | None = None
    try:
        async for piece in data:
            pieces.append(piece)
            size += len(piece)
            total += len(piece)
            if size >= _BLOCK:
                yield b"".join(pieces)
                pieces, size = [], 0
    except BrokenOff as error:
        broken = error
    if size or not (total or broken):
        yield b"".join(pieces)
    if broken is not None:
        raise broken


def _element(text: str, name: str) -> str | None:
    _, start, rest = text.partition(f"<{name}>")
    content, end, _ = rest.partition(f"</{name}>")
    return content.strip() if start and end else None


def _whole(text: str, name: str) -> int | None:
    content = _element(text, name)
    return int(content) if content and len(content) <= 15 and content.isascii() and content.isdigit() else None


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise Permanent("invalid filename")
    return name
