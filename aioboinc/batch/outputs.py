"""The published outputs of a batch: which files are there, in ``new/`` and ``old/``, and what they say.

All functions that look at files block; callers run them in threads, one at a time.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aioboinc import errors
from aioboinc.aio import files
from aioboinc.batch.directory import BatchDirectory
from aioboinc.wire import codec, envelope

__all__ = ["FAILED", "GROUP", "OLD", "THERE", "Output", "Outputs"]

GROUP = 512
"""Maximum number of outputs in a group, which are read together."""
_GROUP_BYTES = 8 << 20
"""Bytes after which a group is complete."""
_READ = 16 << 10
_READ_MORE = 8 << 20
"""Bytes in the first read, and in each further one: most outputs are small."""
_MAX_TEXT = 1000

_NEW, OLD, FAILED, _TAKEN, _OBSTACLE = 1, 2, 4, 8, 16
THERE = _NEW | OLD
"""There is an output; if `OLD`, it was taken in an earlier run; if `FAILED`, it reports that the job has failed."""


@dataclass(frozen=True, slots=True)
class Output:
    """What became of one job."""

    number: int
    value: Any
    """What the slave returned; None if the job failed."""
    error: errors.JobFailed | None


class Outputs:
    """The outputs of *batch* in *directory*.

    *registry* returns the classes to decode them with, *njobs* how many jobs there can be. *located* returns an error
    that is a job's output, with the line numbers of its traceback as in the user's files.
    """

    def __init__(
        self,
        directory: BatchDirectory,
        batch: int,
        registry: Callable[[], codec.Registry],
        njobs: Callable[[], int],
        located: Callable[[int, dict[str, Any]], dict[str, Any]] = lambda number, error: error,
    ) -> None:
        self._located = located
        self._directory = directory
        self._njobs = njobs
        self._registry = registry
        self._job = f"pyboinc_{batch}_"
        self._name = re.compile(rf"{self._job}(\d{{1,18}})(\.error)?", re.ASCII)
        self._states = bytearray()

    def look_back(self) -> None:
        """Look for what earlier runs have left in both folders."""
        for folder, state in ((self._directory.old, OLD), (self._directory.new, _NEW)):
            with errors.of_files(folder):
                for number, failed, is_file in self._entries(folder):
                    if is_file and (state == OLD or not self.state(number) & OLD):
                        self._found(number, state, failed=failed)
                    elif not is_file and state == _NEW:
                        self._set(number, self.state(number) | _OBSTACLE)

    def scan(self) -> list[int]:
        """Return the sorted numbers of the outputs that have come into ``new/`` since the last scan.

        If the job's output was taken before, the new one goes to ``old/``. Raises `errors.UsageError`.
        """
        found = set()
        again = []
        with errors.of_files(self._directory.new):
            for number, failed, is_file in self._entries(self._directory.new):
                state = self.state(number)
                if not is_file:
                    self._set(number, state | _OBSTACLE)
                elif state & _TAKEN:
                    again.append(number)
                    self._found(number, _NEW, failed=failed)
                else:
                    self._found(number, _NEW, failed=failed)
                    if not state & _NEW:
                        found.add(number)
        self.retire(again)
        return sorted(found)

    def _found(self, number: int, where: int, *, failed: bool) -> None:
        """Note a file. If a job has both an output and a report of its failure, the output counts."""
        state = self.state(number)
        if state & where and failed:
            return
        self._set(number, state & ~FAILED | where | (FAILED if failed else 0))

    def state(self, number: int) -> int:
        """Return what is known of the output of the job *number*, as flags: `THERE` and so on."""
        return self._states[number] if number < len(self._states) else 0

    def is_good(self, number: int) -> bool:
        """Tell whether the job *number* has an output that is not an error. Reads its beginning."""
        state = self.state(number)
        if state & (THERE | FAILED) not in {_NEW, OLD, THERE}:
            return False
        folder = self._directory.new if state & _NEW else self._directory.old
        try:
            return envelope.is_ok(files.read(folder / f"{self._job}{number}", envelope.HEADER_SIZE))
        except (OSError, errors.UsageError):
            return False

    def count(self) -> int:
        """Return how many jobs have outputs."""
        return sum(1 for state in self._states if state & THERE)

    def check_obstacle(self, number: int) -> None:
        """Raise `errors.UsageError` if the job *number*'s output has the name of something that is no file."""
        if self.state(number) & _OBSTACLE:
            with errors.of_files(self._directory.new):
                for name in (f"{self._job}{number}", f"{self._job}{number}.error"):
                    path = self._directory.new / name
                    if os.path.lexists(path) and files.kind(path.lstat()):
                        raise files.Obstacle(path, files.kind(path.lstat()))
            self._set(number, self.state(number) & ~_OBSTACLE)

    def load(self, numbers: Sequence[int]) -> tuple[list[Output], list[int]]:
        """Read and decode a group of outputs, from the first of *numbers* on; at least one.

        The second list has the numbers of outputs that are gone. An output that can't be decoded becomes its job's
        error. Raises `errors.UsageError` for a file that can't be read.
        """
        group: list[Output] = []
        gone: list[int] = []
        registry = self._registry()
        size = 0
        with _opened(self._directory.new) as new, _opened(self._directory.old) as old:
            for number in numbers[:GROUP]:
                state = self.state(number)
                failed = bool(state & FAILED)
                name = f"{self._job}{number}.error" if failed else f"{self._job}{number}"
                folder = self._directory.new if state & _NEW else self._directory.old
                try:
                    with errors.of_files(folder / name):
                        data = _read(name, new if state & _NEW else old)
                except errors.UsageError as error:
                    if not isinstance(error.__cause__, FileNotFoundError):
                        raise
                    self._set(number, state & ~(THERE | FAILED))
                    gone.append(number)
                    continue
                group.append(self._decoded(number, failed, data, registry))
                size += len(data)
                if size >= _GROUP_BYTES:
                    break
        return group, gone

    def retire(self, numbers: Iterable[int]) -> None:
        """Move the outputs *numbers* to ``old/``, unless they are there. Raises `errors.UsageError`."""
        moved: dict[bool, list[str]] = {False: [], True: []}
        for number in numbers:
            state = self.state(number)
            if state & _NEW:
                suffix = ".error" if state & FAILED else ""
                moved[bool(state & OLD)].append(f"{self._job}{number}{suffix}")
            self._set(number, state & ~_NEW | OLD | _TAKEN)
        if moved[False] or moved[True]:
            with errors.of_files(self._directory.new):
                self._directory.create()  # somebody may have removed it meanwhile
                for linked, names in moved.items():
                    if names:
                        self._directory.retire(names, linked=linked)

    def _set(self, number: int, state: int) -> None:
        if number >= len(self._states):
            self._states.extend(bytes(number + 1 - len(self._states) + 4096))
        self._states[number] = state

    def _entries(self, folder: Path) -> Iterator[tuple[int, bool, bool]]:
        """Yield what is named after the batch's jobs: number, whether it failed, whether it is a file."""
        njobs = self._njobs()
        with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
            for entry in entries:
                match = self._name.fullmatch(entry.name)
                if match and int(match[1]) < njobs:
                    yield int(match[1]), match[2] is not None, entry.is_file(follow_symlinks=False)

    def _decoded(self, number: int, failed: bool, data: bytes, registry: codec.Registry) -> Output:
        job = f"{self._job}{number}"
        try:
            return _job_failed(job, number, data) if failed else self._output(job, number, data, registry)
        except Exception as error:  # from a class of the program, say, or out of memory
            reason = f"its output can't be read here: {_described(error)}"
            return Output(number, None, errors.JobFailed(job, number, reason))

    def _output(self, job: str, number: int, data: bytes, registry: codec.Registry) -> Output:
        try:
            decoded = envelope.decode(data, registry)
            if decoded.job != job:
                raise codec.Malformed(f"it is the output of {decoded.job}")
        except codec.Malformed as error:
            failure = errors.JobFailed(job, number, f"malformed output: {error}")
            failure.__cause__ = errors.MalformedResult(str(error))
            return Output(number, None, failure)
        if decoded.status == "ok":
            return Output(number, decoded.value, None)
        remote = self._located(number, decoded.value)
        trace = envelope.format_traceback(remote)
        return Output(number, None, errors.RemoteError(job, number, remote["type"], remote["message"], trace))


@contextlib.contextmanager
def _opened(folder: Path) -> Iterator[int]:
    """Open *folder*; yield a descriptor, that of ``/`` if somebody has removed the folder."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        descriptor = os.open("/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _read(name: str, directory: int) -> bytes:
    """Return the content of the file *name* in *directory*, a descriptor: twice as fast as a file object."""
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


def _job_failed(job: str, number: int, data: bytes) -> Output:
    try:
        report = codec.decode(data, None)
        results = [
            errors.FailedResult(result["name"], result["reason"], result["exit_status"], result["stderr"])
            for result in report["results"]
        ]
        error = errors.JobFailed(job, number, report["reason"], results)
    except (codec.Malformed, KeyError, TypeError) as damage:
        error = errors.JobFailed(job, number, f"failed; its report is damaged: {damage}")
    return Output(number, None, error)
