"""The upload handler: output files of results in progress, whole or in parts.

A file is written beside its place and moved there when it is complete; from then on it does not change. So nothing
that was validated can be replaced, and what a host reports is what it has uploaded.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import logging
import os
import re
import shutil
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

from aioboinc import documents, project, service
from aioboinc.store import clients

__all__ = [
    "HEADER_LIMIT",
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
"""Bytes before the data."""
_PARTIAL = "partial"
"""Directory of incomplete files in the upload hierarchy; the names of its other directories are hexadecimal."""
_PARTIAL_DAYS = 14
_LEAST_FREE = 100 << 20
"""Bytes of disk below which no upload begins."""
_BLOCK = 1 << 18
_FRESH = 1.0
"""Seconds for which a result that was in progress is taken to be so."""
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,254}")
_RESULT = re.compile(r"(.+)_r\d+_\w+")

_log = logging.getLogger(__name__)


class Refusal(Exception):
    """The request is refused; the text says why."""


class Permanent(Refusal):
    """Trying again will not help."""


class Transient(Refusal):
    """The client shall try again later."""


@dataclass(frozen=True, slots=True)
class Header:
    """What comes before the data."""

    name: str
    """Of the file."""
    size_wanted: bool
    """The client asks how much of the file is there; nothing below counts then."""
    nbytes: int = 0
    """Size of the whole file."""
    offset: int = 0
    """Where in the file the data belong."""
    md5: str = ""
    """Of the whole file, in hexadecimal; empty if the client does not tell."""
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
    nbytes, offset = _whole(text, "nbytes"), _whole(text, "offset")
    if nbytes is None:
        raise Permanent("nbytes missing or negative")
    md5 = _element(text, "md5_cksum") or ""
    return Header(
        _checked(name),
        False,
        nbytes,
        offset or 0,
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
    """Return the answer to the question how much of a file is there."""
    return (
        f"<data_server_reply>\n    <status>0</status>\n    <file_size>{size}</file_size>\n</data_server_reply>\n"
    )


class Uploads:
    """The project's output files."""

    def __init__(self, project: project.Project, clients: clients.Clients, thread: service.FileThread) -> None:
        self._project = project
        self._clients = clients
        self._thread = thread
        self._partial = project.upload_dir / _PARTIAL
        self._busy: set[str] = set()

    async def clear(self) -> int:
        """Remove incomplete files that nobody has gone on with for long; return their number."""
        return await service.in_thread(self._clear, time.time() - _PARTIAL_DAYS * 86400)

    async def size(self, name: str) -> int:
        """Return how many bytes of a file are there. Raises `Refusal`."""
        await self._limit(name)
        await service.in_thread(self._check_room)
        if name in self._busy:
            raise Transient(f"{name} is being uploaded")
        return await service.in_thread(self._size, name)

    async def receive(self, header: Header, data: AsyncIterator[bytes]) -> None:
        """Take in the data of a file. What has come before they end early is kept. Raises `Refusal`."""
        name = header.name
        limit = await self._limit(name)
        if header.nbytes > limit:
            raise Permanent(f"file size ({header.nbytes} bytes) exceeds limit ({limit} bytes)")
        if header.offset > header.nbytes:
            raise Permanent("offset is beyond the end")
        with self._alone(name):
            position = header.offset
            checked = time.monotonic()
            async for block in _blocks(data):
                end = position + len(block)
                if end > header.nbytes:
                    raise Permanent("more data than nbytes")
                if end == header.nbytes and time.monotonic() - checked > _FRESH:
                    await self._limit(name)  # the result may be over by now
                # Large files take their time, and get a thread of their own.
                in_thread = self._thread.run if len(block) == header.nbytes else service.in_thread
                if not await in_thread(self._append, header, position, block):
                    return  # complete: the client has not heard of it
                position = end
            if position < header.nbytes:
                raise Transient(f"incomplete: {position} of {header.nbytes} bytes")
        _log.debug("%s: %d bytes", name, header.nbytes)

    async def _limit(self, name: str) -> int:
        """Return how large a file may be. Raises `Permanent` unless it is one of a result in progress."""
        match = _RESULT.fullmatch(name)
        document = await self._clients.output_of(match[1]) if match else None
        for file in documents.files(document or ""):
            if file.name == name:
                return int(file.max_nbytes) if file.max_nbytes < float("inf") else 0
        raise Permanent(f"{name} is not expected")

    @contextlib.contextmanager
    def _alone(self, name: str) -> Iterator[None]:
        if name in self._busy:
            raise Transient(f"{name} is being uploaded")
        self._busy.add(name)
        try:
            yield
        finally:
            self._busy.discard(name)

    def _check_room(self) -> None:
        if shutil.disk_usage(self._project.upload_dir).free < _LEAST_FREE:
            raise Transient("Server is out of disk space")

    def _size(self, name: str) -> int:
        for path in (self._project.upload_path(name), self._partial / name):
            with contextlib.suppress(FileNotFoundError):
                return path.stat().st_size
        return 0

    def _append(self, header: Header, position: int, block: bytes) -> bool:
        """Write a part of a file; with its last one the file takes its place. Return False if it was complete."""
        path = str(self._project.upload_path(header.name))
        partial = f"{self._partial}/{header.name}"
        if os.path.exists(path):
            return False
        self._check_room()
        try:
            size = _write(partial, position, block)
            if size == header.nbytes:
                if header.md5 and header.md5 != (_md5_of_file(partial) if position else _md5(block).hexdigest()):
                    os.unlink(partial)
                    raise Transient(f"{header.name} has arrived damaged")
                _rename(partial, path)
        except OSError as error:
            raise Transient(f"can't write file {header.name}: {error.strerror}") from None
        return True

    def _clear(self, before: float) -> int:
        count = 0
        with contextlib.suppress(FileNotFoundError), os.scandir(self._partial) as entries:
            for entry in entries:
                if entry.stat(follow_symlinks=False).st_mtime < before:
                    os.unlink(entry)
                    count += 1
        return count


async def _blocks(data: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Put small pieces together; yield one block at least."""
    pieces: list[bytes] = []
    size = 0
    async for piece in data:
        pieces.append(piece)
        size += len(piece)
        if size >= _BLOCK:
            yield b"".join(pieces)
            pieces, size = [], 0
    yield b"".join(pieces)


def _write(path: str, position: int, block: bytes) -> int:
    """Write *block* as the end of a file; return its size then. Raises `Transient` if something is missing before."""
    descriptor = _open(path, 0 if position else os.O_TRUNC)
    try:
        if position and (size := os.fstat(descriptor).st_size) != position:
            if size < position:
                name = os.path.basename(path)
                raise Transient(f"length of file {name} {size} bytes < offset {position} bytes")
            os.truncate(descriptor, position)
        written = 0
        while written < len(block):
            written += os.pwrite(descriptor, memoryview(block)[written:], position + written)
    finally:
        os.close(descriptor)
    return position + len(block)


def _open(path: str, flags: int) -> int:
    flags |= os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(path, flags, 0o640)
    except FileNotFoundError:
        _make_parent(path)
        return os.open(path, flags, 0o640)


def _rename(source: str, target: str) -> None:
    try:
        os.rename(source, target)
    except FileNotFoundError:
        _make_parent(target)
        os.rename(source, target)


def _make_parent(path: str) -> None:
    """Make the directory of a file; not the upload hierarchy, which is made with its mode or not at all."""
    with contextlib.suppress(FileExistsError):
        os.mkdir(os.path.dirname(path))


def _md5_of_file(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, _md5).hexdigest()


_md5 = functools.partial(hashlib.md5, usedforsecurity=False)


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
