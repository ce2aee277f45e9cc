"""From ``new/`` through the handlers to ``old/``; and from there once more, after a restart.

An output is handed over when its call has been made in this run: the call's program has the classes to decode it
with, and a program that has just made a call expects its output, not before.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from aioboinc import errors
from aioboinc.aio import files, threads
from aioboinc.batch import tracebacks
from aioboinc.batch.directory import BatchDirectory
from aioboinc.wire import codec, envelope

__all__ = ["Calls", "Handlers", "Handling"]

_GROUP = 512
"""Published files read in one go at most."""
_GROUP_BYTES = 8 << 20
"""Bytes read in one go, one larger file aside."""
_READ = 16 << 10
_READ_MORE = 8 << 20
"""Bytes read at once: most outputs are small."""
_SLICE = 0.005
"""Seconds of handling after which the event loop gets its turn."""
_KEPT_ERRORS = 1000
"""Errors kept for `errors.BatchFailed`; their number is told in full."""
_MAX_TEXT = 1000
_HANDLED, _FAILED = 1, 2

_Name = tuple[str, str, int, bool]
"""A file's name, its job's, the number of the call, and whether the job has failed."""


class Calls(Protocol):
    """What has been called so far, such as `calls.Calls`."""

    @property
    def made(self) -> int:
        """Number of calls."""

    def registry(self) -> codec.Registry:
        """Return the classes of their programs."""


@dataclass(frozen=True)
class Handlers:
    """The master's two handlers."""

    result: Callable[[Any], Any]
    """Gets the output of each job."""
    error: Callable[[errors.JobFailed], Any] | None
    """Gets the error of each job that failed; None: they are raised together at the end."""


class _Published(NamedTuple):
    """One file of ``new/`` or ``old/``, decoded."""

    name: str
    call: int
    output: Any
    error: errors.JobFailed | None


@dataclass(frozen=True, slots=True)
class _Done:
    """Files that were handled."""

    names: list[str] = field(default_factory=list)
    again: list[str] = field(default_factory=list)
    """Those whose jobs had been handled before."""


class Handling:
    """Hands the outputs of one batch to its handlers, each job once."""

    def __init__(
        self,
        directory: BatchDirectory,
        batch: int,
        handlers: Handlers,
        calls: Calls,
    ) -> None:
        self._directory = directory
        self._handlers = handlers
        self._calls = calls
        self._job = f"pyboinc_{batch}_"
        self._name = re.compile(rf"({self._job}(\d+))(\.error)?", re.ASCII)
        self._made = 0
        """Number of calls whose classes the files being loaded are decoded with."""
        self._seen = bytearray()
        self._former = bytearray()
        """For each call that was submitted in former runs, what ``old/`` has of it."""
        self._replayed = 0
        """How many of these were looked at."""
        self._early = False
        """There are files in ``new/`` whose calls have not been made."""
        self.handled = 0
        """Jobs handed to a handler, failed ones included."""
        self.failed = 0
        """Jobs that failed."""
        self.errors: list[errors.JobFailed] = []
        """The first errors for which there was no handler."""

    @property
    def waits_for_calls(self) -> bool:
        """Whether there are outputs to hand over as soon as their calls are made."""
        return self._early or self._replayed < len(self._former)

    def unhandled(self, first: int, end: int, limit: int) -> list[int]:
        """Return the numbers from *first* up to *end* of the first *limit* jobs that were not handled."""
        numbers: list[int] = []
        while first < end and len(numbers) < limit:
            first = self._seen.find(b"\0", first, end) if first < len(self._seen) else first
            if first < 0:
                first = len(self._seen)
                continue
            if first >= len(self._former) or not self._former[first]:
                numbers.append(first)
            first += 1
        return numbers

    async def look_back(self, submitted: int, *, replay: bool) -> None:
        """See what former runs have handled of *submitted* calls. To be replayed, or else it counts as handled."""
        former = await threads.in_thread(self._look_back, submitted)
        if replay:
            self._former = former
        else:
            for call, kind in enumerate(former):
                if kind and self._mark(call):
                    self.handled += 1
                    self.failed += kind == _FAILED

    async def replay(self, progressed: Callable[[], None]) -> int:
        """Hand over what former runs have handled of the calls made so far, in their order; return how many files.

        An exception of a handler propagates. The files stay in ``old/``.
        """
        if self._replayed == len(self._former):
            return 0
        return await self._hand_over(self._directory.old, self._former_names(), progressed)

    async def drain(self, progressed: Callable[[], None]) -> int:
        """Handle all that is in ``new/`` now, of calls made so far; return how many files that was.

        An exception of a handler propagates; its file stays in ``new/``, with those behind it.
        """
        self._early = False
        return await self._hand_over(self._directory.new, self._published_names(), progressed)

    async def _hand_over(self, folder: Path, names: Iterator[_Name], progressed: Callable[[], None]) -> int:
        """Hand over files of *folder*; return their number.

        While a group is being handled, the one before it moves to ``old/`` and the next one is read.
        """
        count = 0
        done = _Done()
        group = await threads.in_thread(self._load, folder, names)
        try:
            while group:
                advancing = asyncio.ensure_future(self._advance(done, folder, names))
                done = _Done()
                try:
                    await self._handle(group, done)
                    count += len(group)
                    progressed()
                finally:
                    group = await advancing
        finally:
            if done.names or done.again:
                await threads.in_thread(self._retire, done, folder)
        return count

    async def _advance(self, done: _Done, folder: Path, names: Iterator[_Name]) -> Sequence[_Published]:
        """Move the files that are *done* to ``old/``; meanwhile read and decode the next ones."""
        retiring = asyncio.ensure_future(threads.in_thread(self._retire, done, folder))
        try:
            return await threads.in_thread(self._load, folder, names)
        finally:
            await retiring

    async def _handle(self, group: Iterable[_Published], done: _Done) -> None:
        """Hand over *group*; note in *done* what the handlers have taken, up to where one raises."""
        loop = asyncio.get_running_loop()
        breath = loop.time()
        for item in group:
            if self._mark(item.call):
                await self._deliver(item)
                self.handled += 1
                done.names.append(item.name)
            else:
                done.again.append(item.name)
            if loop.time() - breath > _SLICE:
                await asyncio.sleep(0)
                breath = loop.time()

    @tracebacks.calls_program
    async def _deliver(self, item: _Published) -> None:
        if item.error is None:
            outcome = self._handlers.result(item.output)
        else:
            self.failed += 1
            if self._handlers.error is None:
                if len(self.errors) < _KEPT_ERRORS:
                    self.errors.append(item.error)
                return
            outcome = self._handlers.error(item.error)
        if inspect.isawaitable(outcome):
            await outcome

    def _mark(self, call: int) -> bool:
        """Tell whether *call* was not handled before; from now on it was."""
        if call >= len(self._seen):
            self._seen.extend(bytes(call + 1 - len(self._seen) + 4096))
        if self._seen[call]:
            return False
        self._seen[call] = 1
        return True

    def _was_handled(self, call: int) -> bool:
        return call < len(self._seen) and bool(self._seen[call])

    def _look_back(self, submitted: int) -> bytearray:
        former = bytearray(submitted)
        with errors.of_files(self._directory.old):
            for (_, _, call, failed), is_file in self._names(self._directory.old):
                if is_file and call < submitted:
                    former[call] = _FAILED if failed else _HANDLED
        return former

    def _former_names(self) -> Iterator[_Name]:
        """Yield what is in ``old/``, in the order of the calls, up to the first one that has not been made."""
        while self._replayed < min(len(self._former), self._made):
            call = self._replayed
            self._replayed += 1
            if self._former[call]:
                job, failed = f"{self._job}{call}", self._former[call] == _FAILED
                yield f"{job}.error" if failed else job, job, call, failed

    def _published_names(self) -> Iterator[_Name]:
        """Raises `files.Obstacle` where something that is no file keeps an output from being published."""
        for name, is_file in self._names(self._directory.new):
            call = name[2]
            if call >= self._made:
                self._early = True
            elif is_file:
                yield name
            elif not self._was_handled(call):
                path = self._directory.new / name[0]
                raise files.Obstacle(path, files.kind(path.lstat()))

    def _names(self, folder: Path) -> Iterator[tuple[_Name, bool]]:
        """Yield what has names of the batch's jobs, and whether it is a file; nothing if *folder* was removed."""
        with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
            for entry in entries:
                match = self._name.fullmatch(entry.name)
                if match:
                    name = entry.name, match[1], int(match[2]), match[3] is not None
                    yield name, entry.is_file(follow_symlinks=False)

    def _retire(self, done: _Done, folder: Path) -> None:
        if folder == self._directory.old:
            return
        with errors.of_files(folder):
            self._directory.create()  # somebody may have removed it meanwhile
            if done.names:
                self._directory.retire(done.names, linked=False)
            if done.again:
                self._directory.retire(done.again)

    def _load(self, folder: Path, names: Iterator[_Name]) -> Sequence[_Published]:
        """Read and decode the next files of *folder*. Raises `errors.UsageError` if they can't be read."""
        group: list[_Published] = []
        self._made = self._calls.made  # before the registry, which has the classes of all these then
        registry = self._calls.registry()
        with errors.of_files(folder):
            try:
                directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            except FileNotFoundError:
                return group  # somebody has removed it
            try:
                self._read_group(group, names, directory, registry)
            finally:
                os.close(directory)
        return group

    @staticmethod
    def _read_group(
        group: list[_Published], names: Iterator[_Name], directory: int, registry: codec.Registry
    ) -> None:
        size = 0
        for name, job, call, failed in names:
            try:
                data = _read(name, directory)
            except FileNotFoundError:
                continue
            try:
                if failed:
                    item = _Published(name, call, None, _job_failed(job, call, data))
                else:
                    item = _output(name, job, call, data, registry)
            except Exception as error:  # of a class of the program, say, or no memory: it is this job's
                reason = f"its output can't be read here: {_described(error)}"
                item = _Published(name, call, None, errors.JobFailed(job, call, reason))
            group.append(item)
            size += len(data)
            if len(group) >= _GROUP or size >= _GROUP_BYTES:
                return


def _read(name: str, directory: int) -> bytes:
    """Return the file *name* of a directory, given its descriptor: half the work of opening a path as a file object."""
    descriptor = files.open_regular(name, directory)
    try:
        data = os.read(descriptor, _READ)
        if len(data) == _READ:
            pieces = [data]
            while piece := os.read(descriptor, _READ_MORE):
                pieces.append(piece)
            data = b"".join(pieces)
        return data
    finally:
        os.close(descriptor)


def _described(error: Exception) -> str:
    try:
        text = str(error)[:_MAX_TEXT]
    except Exception:
        text = ""
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _output(name: str, job: str, call: int, data: bytes, registry: codec.Registry) -> _Published:
    try:
        decoded = envelope.decode(data, registry)
        if decoded.job != job:
            raise codec.Malformed(f"it is the output of {decoded.job}")
    except codec.Malformed as error:
        failure = errors.JobFailed(job, call, f"malformed output: {error}")
        failure.__cause__ = errors.MalformedResult(str(error))
        return _Published(name, call, None, failure)
    if decoded.status == "ok":
        return _Published(name, call, decoded.value, None)
    remote = decoded.value
    return _Published(
        name,
        call,
        None,
        errors.RemoteError(job, call, remote["type"], remote["message"], envelope.format_traceback(remote)),
    )


def _job_failed(job: str, call: int, data: bytes) -> errors.JobFailed:
    try:
        report = codec.decode(data, None)
        results = [
            errors.FailedResult(result["name"], result["reason"], result["exit_status"], result["stderr"])
            for result in report["results"]
        ]
        return errors.JobFailed(job, call, report["reason"], results)
    except (codec.Malformed, KeyError, TypeError) as error:
        return errors.JobFailed(job, call, f"failed; its report is damaged: {error}")
