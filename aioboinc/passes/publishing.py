"""Publishes files in the ``new/`` of batch directories, whole or not at all. The functions block.

Each file appears under its name in one step, a hard link or a rename, and is durable when `publish` returns.
Publishing a file again does no harm.
"""

from __future__ import annotations

import contextlib
import filecmp
import itertools
import os
import shutil
import stat
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from aioboinc.aio import durable, files
from aioboinc.project import access

__all__ = ["NEW", "OLD", "TMP", "Item", "Outcome", "SourceLost", "publish"]

NEW = "new"
"""Folder of a batch directory where outputs are published."""
OLD = "old"
"""Folder where its master moves those that it has handled."""
TMP = "tmp"
"""Folder where copies are written before they are published."""

_numbers = itertools.count()


@dataclass(frozen=True, slots=True)
class Item:
    """A file to publish in a batch directory: a copy of *source*, or one with *content*."""

    key: int
    """Identifies it for the caller."""
    directory: str
    """Path of the batch directory."""
    name: str
    source: str = ""
    content: bytes = b""
    flaw: Callable[[str], str] = lambda path: ""
    """Returns what is wrong with the file at a path, or an empty text if it may be published."""


class SourceLost(Exception):
    """A file to publish is gone or damaged; the text says which."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the files."""

    published: set[int] = field(default_factory=set)
    """Keys of those that were published."""
    lost: dict[int, str] = field(default_factory=dict)
    """What is wrong with sources that are gone or damaged, by key."""
    errors: dict[str, OSError] = field(default_factory=dict)
    """What went wrong, by batch directory; not all files for these were published."""


def publish(
    items: Iterable[Item], stop: Callable[[], bool] = lambda: False, *, unsynced: Path | None = None
) -> Outcome:
    """Publish files until *stop* returns true. All of them are made durable together.

    A master may take a file as soon as it is there, so a source must be durable before it is linked. Sources are,
    except on the file system of *unsynced*. A failure in one batch directory does not affect the others.
    """
    by_directory: defaultdict[str, list[Item]] = defaultdict(list)
    for item in items:
        by_directory[item.directory].append(item)
    outcome = Outcome()
    if by_directory and unsynced is not None:
        try:
            durable.sync(unsynced)
        except OSError as failure:
            outcome.errors.update(dict.fromkeys(by_directory, failure))
            return outcome
    failures: dict[int, OSError | None] = {}
    for directory, its in by_directory.items():
        published = _publish(Path(directory), its, outcome, stop)
        by_directory[directory] = [item for item in its if item.key in published]
    for directory, its in by_directory.items():
        error = _sync(Path(directory), failures) if its else None
        if error is None:
            outcome.published.update(item.key for item in its)
        else:
            outcome.errors[directory] = error
    return outcome


def _publish(directory: Path, items: Iterable[Item], outcome: Outcome, stop: Callable[[], bool]) -> set[int]:
    """Publish files in one batch directory, not yet durably; return the keys of those published."""
    published: set[int] = set()
    copied: set[int] = set()
    try:
        place = _Place(directory)
    except OSError as error:
        outcome.errors[str(directory)] = error
        return published
    try:
        for item in items:
            if stop():
                break
            try:
                if place.link(item):
                    published.add(item.key)
                else:
                    place.copy(item)
                    copied.add(item.key)
            except SourceLost as lost:
                outcome.lost[item.key] = str(lost)
            except files.Obstacle as error:
                outcome.errors[str(directory)] = error
        place.rename_copies()
    except OSError as error:
        outcome.errors[str(directory)] = error
        place.discard_copies()
        return published
    return published | copied


class _Place:
    """A batch directory into which files are published."""

    def __init__(self, directory: Path) -> None:
        # Strings, because making a Path takes longer than making a link.
        self._new, self._old, self._tmp = (f"{directory}/{name}" for name in (NEW, OLD, TMP))
        self._copies: list[tuple[str, str]] = []
        owner = os.stat(self._new).st_uid
        self._is_foreign = owner != os.geteuid()
        """The master is another user, who must be able to read what is published."""
        self._reader = access.User.of(owner) if self._is_foreign else None

    def link(self, item: Item) -> bool:
        """Publish *item* by a hard link, if it is not there already; return False if it must be copied.

        Raises `SourceLost`, or OSError if nothing can be published here.
        """
        target = f"{self._new}/{item.name}"
        # A master may have handled it before it was counted; a second link to the file could not be moved to old/.
        if _is_file(f"{self._old}/{item.name}"):
            return True
        if not item.source:
            return _holds(target, item.content)
        flaw = item.flaw(item.source)
        return self._keep(item, target, flaw) if flaw else self._link(item.source, target)

    def _link(self, source: str, target: str) -> bool:
        try:
            if self._is_foreign:
                self._check_readable(source)
            os.link(source, target)
        except FileExistsError:
            if what := files.kind(os.lstat(target)):
                raise files.Obstacle(target, what) from None
            return os.path.samefile(source, target) or filecmp.cmp(source, target, shallow=False)
        except FileNotFoundError:
            if not os.path.exists(source):
                raise SourceLost("is not there any more") from None
            raise
        except OSError:
            return False  # another file system, or one without links; copying will tell
        return True

    @staticmethod
    def _keep(item: Item, target: str, flaw: str) -> bool:
        """Accept what was published before, if it is intact; else raise `SourceLost`, as both are one file."""
        if os.path.exists(target) and not item.flaw(target):
            return True
        with contextlib.suppress(FileNotFoundError):
            os.unlink(target)
        raise SourceLost(flaw)

    def copy(self, item: Item) -> None:
        """Write a copy of *item*, which `rename_copies` publishes."""
        if not self._copies:
            with contextlib.suppress(FileExistsError):
                os.mkdir(self._tmp)
        temporary, descriptor = self._new_copy(item.name)
        self._copies.append((temporary, f"{self._new}/{item.name}"))
        with os.fdopen(descriptor, "wb") as file:
            if item.source:
                with os.fdopen(files.open_regular(item.source), "rb") as source:
                    shutil.copyfileobj(source, file)
            else:
                file.write(item.content)
            if self._is_foreign:
                os.fchmod(descriptor, 0o644)

    def _new_copy(self, name: str) -> tuple[str, int]:
        """Return the path of a new file in ``tmp/`` and a descriptor to write it by."""
        while True:
            path = f"{self._tmp}/{name}.{os.getpid()}-{next(_numbers)}"
            with contextlib.suppress(FileExistsError):  # left by a killed process that had the same ID
                return path, os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)

    def _check_readable(self, path: str) -> None:
        """Raise PermissionError if, by the file's mode, the master can't read it."""
        status = os.stat(path)
        if not (self._reader.may(access.READ, status) if self._reader else status.st_mode & stat.S_IROTH):
            raise PermissionError(path)

    def rename_copies(self) -> None:
        """Publish the copies, whose content is already durable."""
        if self._copies:
            durable.sync(Path(self._tmp))
        while self._copies:
            os.replace(*self._copies[-1])
            self._copies.pop()

    def discard_copies(self) -> None:
        """Remove copies that won't be published."""
        for temporary, _ in self._copies:
            with contextlib.suppress(OSError):
                os.unlink(temporary)


def _is_file(path: str) -> bool:
    try:
        return not files.kind(os.lstat(path))
    except FileNotFoundError:
        return False


def _holds(path: str, content: bytes) -> bool:
    """Tell whether there is a file *path* with *content*. Raises `files.Obstacle` for anything else."""
    try:
        return files.read(path, len(content) + 1) == content
    except FileNotFoundError:
        return False


def _sync(directory: Path, failures: dict[int, OSError | None]) -> OSError | None:
    """Make the names in ``new/`` durable, once for each file system; *failures* keeps the outcomes."""
    new = directory / NEW
    try:
        device = os.stat(new).st_dev
    except OSError as error:
        return error
    if device not in failures:
        failures[device] = None
        try:
            durable.sync(new)
        except OSError as error:
            failures[device] = error
    return failures[device]
