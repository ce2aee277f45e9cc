"""The published outputs of a batch: which files are there, in ``new/`` and ``old/``, and what they say.

All functions that look at files block; callers run them in threads, one at a time.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from aioboinc import errors
from aioboinc.aio import files
from aioboinc.batch import decoder, partition
from aioboinc.batch.decoder import Output
from aioboinc.batch.directory import BatchDirectory
from aioboinc.batch.partition import Workunit
from aioboinc.wire import codec, envelope

__all__ = ["FAILED", "GROUP", "OLD", "THERE", "Output", "Outputs"]

GROUP = 512
"""Maximum number of outputs in a group, which are read together."""
_GROUP_BYTES = 8 << 20
"""Bytes after which a group is complete."""
_READ = 16 << 10
_READ_MORE = 8 << 20
"""Bytes read at once: most outputs are small."""
_MAX_PIECES = 16
"""Files with outputs of several calls that are kept while these are taken."""

_NEW, OLD, FAILED, _TAKEN, _OBSTACLE = 1, 2, 4, 8, 16
THERE = _NEW | OLD
"""There is an output; if `OLD`, it was taken in an earlier run; if `FAILED`, it reports that the job has failed."""


class Outputs:
    """The outputs of *batch* in *directory*, whose calls are in the workunits of *division*.

    *registry* returns the classes to decode them with, *njobs* how many jobs there can be. *located* returns an error
    that is a job's output, with the line numbers of its traceback as in the user's files.
    """

    def __init__(
        self,
        directory: BatchDirectory,
        batch: int,
        registry: Callable[[], codec.Registry],
        njobs: Callable[[], int],
        division: partition.Partition,
        located: Callable[[int, dict[str, Any]], dict[str, Any]] = lambda number, error: error,
    ) -> None:
        self.unfinished: dict[Workunit, bool] = {}
        """Workunits of several calls that have ended without outputs of all: whether they have failed."""
        self._batch = batch
        self._decoder = decoder.Decoder(f"pyboinc_{batch}_", located)
        self._directory = directory
        self._njobs = njobs
        self._partition = division
        self._registry = registry
        self._job = f"pyboinc_{batch}_"
        self._name = re.compile(rf"{self._job}(\d{{1,18}})(?:_([2-9]|[1-9]\d{{1,8}}))?(\.error)?", re.ASCII)
        self._states = bytearray()
        self._untaken: dict[Workunit, int] = {}
        """Of files with the outputs of several calls, how many of these were not taken yet."""
        self._pieces: dict[Workunit, list[bytes]] = {}
        """What is in those of them that were read last."""

    def look_back(self) -> None:
        """Look for what earlier runs have left in both folders."""
        for folder, state in ((self._directory.old, OLD), (self._directory.new, _NEW)):
            with errors.of_files(folder):
                for workunit, failed, is_file in self._entries(folder):
                    if workunit.ncalls > 1:
                        self._find_several(workunit, state, failed=failed, is_file=is_file)
                    elif is_file and (state == OLD or not self.state(workunit.first) & OLD):
                        self._found(workunit.first, state, failed=failed)
                    elif not is_file and state == _NEW:
                        self._set(workunit.first, self.state(workunit.first) | _OBSTACLE)

    def scan(self) -> list[int]:
        """Return the sorted numbers of the outputs that have come into ``new/`` since the last scan.

        If the job's output was taken before, the new one goes to ``old/``. Raises `errors.UsageError`.
        """
        found: set[int] = set()
        again = []
        with errors.of_files(self._directory.new):
            for workunit, failed, is_file in self._entries(self._directory.new):
                if workunit.ncalls > 1:
                    found.update(self._find_several(workunit, _NEW, failed=failed, is_file=is_file))
                    continue
                number = workunit.first
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

    def _find_several(self, workunit: Workunit, where: int, *, failed: bool, is_file: bool) -> list[int]:
        """Note a file of a workunit of several calls; return those whose outputs were not there before."""
        if workunit in self._untaken:
            return []
        numbers = self._partition.calls(workunit)
        if not is_file:
            for number in numbers if where == _NEW else ():
                self._set(number, self.state(number) | _OBSTACLE)
            return []
        if failed:
            if numbers:
                self.unfinished.setdefault(workunit, True)
            elif where == _NEW:  # its calls are in other workunits since
                self._directory.remove_report(workunit.name(self._batch))
            return []
        return self._find_outputs(workunit, numbers, where) if numbers else []

    def _find_outputs(self, workunit: Workunit, numbers: Sequence[int], where: int) -> list[int]:
        try:
            end = workunit.first + self._length(workunit, where)
        except errors.UsageError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                return []  # removed meanwhile
            raise
        there = [number for number in numbers if number < end]
        if len(there) < len(numbers):
            self.unfinished[workunit] = False
        else:
            self.unfinished.pop(workunit, None)
        self._untaken[workunit] = len(there)
        found = [number for number in there if not self.state(number) & THERE]
        for number in there:
            self._found(number, where, failed=False)
        return found

    def _length(self, workunit: Workunit, where: int) -> int:
        """Return of how many calls there are outputs in a file; of one that is damaged, those of all are."""
        try:
            return len(self._read_pieces(workunit, self._directory.new if where == _NEW else self._directory.old))
        except codec.Malformed:
            return workunit.ncalls

    def done(self, workunit: Workunit) -> None:
        """Take note that all is done about an `unfinished` workunit: all its calls are in others, or have outputs."""
        if self.unfinished.pop(workunit):
            self._directory.remove_report(workunit.name(self._batch))

    def state(self, number: int) -> int:
        """Return what is known of the output of the job *number*, as flags: `THERE` and so on."""
        return self._states[number] if number < len(self._states) else 0

    def is_good(self, number: int) -> bool:
        """Tell whether the job *number* has an output that is not an error. Reads its beginning."""
        state = self.state(number)
        if state & (THERE | FAILED) not in {_NEW, OLD, THERE}:
            return False
        folder = self._folder(state)
        workunit = self._partition.of(number)
        try:
            if workunit.ncalls > 1:
                piece = self._read_pieces(workunit, folder)[number - workunit.first]
                return bool(envelope.decode_call(piece, codec.OPAQUE)[0])
            return envelope.is_ok(files.read(folder / f"{self._job}{number}", envelope.HEADER_SIZE))
        except (OSError, errors.UsageError, codec.Malformed):
            return False

    def count(self) -> int:
        """Return how many jobs have outputs."""
        return sum(1 for state in self._states if state & THERE)

    def check_obstacle(self, number: int) -> None:
        """Raise `errors.UsageError` if the job *number*'s output has the name of something that is no file."""
        if self.state(number) & _OBSTACLE:
            name = self._partition.of(number).name(self._batch)
            with errors.of_files(self._directory.new):
                for path in (self._directory.new / name, self._directory.new / f"{name}.error"):
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
                workunit = self._partition.of(number)
                try:
                    if workunit.ncalls > 1:
                        nbytes = self._load_one_of_several(number, workunit, registry, group)
                    else:
                        nbytes = self._load_one(number, (new, old), registry, group)
                except errors.UsageError as error:
                    if not isinstance(error.__cause__, FileNotFoundError):
                        raise
                    self._lose(workunit)
                    gone.append(number)
                    continue
                size += nbytes
                if size >= _GROUP_BYTES:
                    break
        return group, gone

    def _load_one(
        self, number: int, folders: tuple[int, int], registry: codec.Registry, group: list[Output]
    ) -> int:
        """Add the output *number* to *group*; return its size. *folders* are descriptors of ``new/`` and ``old/``."""
        state = self.state(number)
        failed = bool(state & FAILED)
        name = f"{self._job}{number}.error" if failed else f"{self._job}{number}"
        try:
            data = _read(name, folders[0] if state & _NEW else folders[1])
        except OSError:
            with errors.of_files(self._folder(state) / name):  # not around all: that takes as long as the read
                raise
        group.append(self._decoder.output(number, data, registry, failed=failed))
        return len(data)

    def _load_one_of_several(
        self, number: int, workunit: Workunit, registry: codec.Registry, group: list[Output]
    ) -> int:
        state = self.state(number)
        try:
            folder = self._folder(state)
            if not state & THERE:
                raise errors.UsageError(f"{folder}: no output {number}") from FileNotFoundError()
            piece = self._read_pieces(workunit, folder)[number - workunit.first]
        except codec.Malformed as error:
            group.append(self._decoder.malformed(number, error))
            return 0
        group.append(self._decoder.call(number, piece, registry))
        return len(piece)

    def _folder(self, state: int) -> Path:
        return self._directory.new if state & _NEW else self._directory.old

    def _read_pieces(self, workunit: Workunit, folder: Path) -> list[bytes]:
        """Return the outputs in the file of a workunit of several calls.

        Raises codec.Malformed, `errors.UsageError`.
        """
        pieces = self._pieces.get(workunit)
        if pieces is None:
            name = workunit.name(self._batch)
            with errors.of_files(folder / name):
                data = files.read(folder / name, codec.LIMITS.size + 1)
            job, _, _, pieces = envelope.decode_calls(data)
            if job != name:
                raise codec.Malformed(f"it is the output of {job}")
            while len(self._pieces) >= _MAX_PIECES:
                del self._pieces[next(iter(self._pieces))]
            self._pieces[workunit] = pieces
        return pieces

    def _lose(self, workunit: Workunit) -> None:
        """Take note that there is no file of *workunit* any more."""
        self._untaken.pop(workunit, None)
        self._pieces.pop(workunit, None)
        for number in self._partition.calls(workunit):
            self._set(number, self.state(number) & ~(THERE | FAILED))

    def retire(self, numbers: Iterable[int]) -> None:
        """Move the outputs *numbers* to ``old/``, where they are not yet. Raises `errors.UsageError`.

        A file with outputs of several calls moves with the last of them.
        """
        moved: dict[bool, list[str]] = {False: [], True: []}
        for number in numbers:
            state = self.state(number)
            workunit = self._partition.of(number)
            if workunit.ncalls > 1:
                self._retire_one_of_several(number, workunit, moved)
                continue
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

    def _retire_one_of_several(self, number: int, workunit: Workunit, moved: dict[bool, list[str]]) -> None:
        state = self.state(number)
        if state & _TAKEN or workunit not in self._untaken:
            return
        self._set(number, state | _TAKEN)
        self._untaken[workunit] -= 1
        if self._untaken[workunit] == 0:
            if state & _NEW:
                moved[bool(state & OLD)].append(workunit.name(self._batch))
            self._pieces.pop(workunit, None)
            for other in self._partition.calls(workunit):
                if self.state(other) & _TAKEN:  # others have no output there
                    self._set(other, self.state(other) & ~_NEW | OLD)

    def _set(self, number: int, state: int) -> None:
        if number >= len(self._states):
            self._states.extend(bytes(number + 1 - len(self._states) + 4096))
        self._states[number] = state

    def _entries(self, folder: Path) -> Iterator[tuple[Workunit, bool, bool]]:
        """Yield what has names of the batch's workunits: which one, whether it failed, whether it is a file."""
        njobs = self._njobs()
        with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
            for entry in entries:
                match = self._name.fullmatch(entry.name)
                if match:
                    workunit = Workunit(int(match[1]), int(match[2] or 1))
                    if workunit.first + workunit.ncalls <= njobs:
                        yield workunit, match[3] is not None, entry.is_file(follow_symlinks=False)


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
