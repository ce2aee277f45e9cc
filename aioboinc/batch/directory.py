"""The batch directory: checkpoint, lock, ``new/``, ``old/``, ``tmp/``.

``new/`` holds outputs that are published and that no handler has seen yet, ``old/`` those that one has seen. Other
people's files may lie beside ours, even in these folders: we touch only regular files named after the batch's jobs.
Functions that work on files block; callers run them in threads.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from aioboinc import errors
from aioboinc.aio import durable, files, locking, threads
from aioboinc.passes import publishing
from aioboinc.project import access

__all__ = ["EMBEDDED", "BatchDirectory", "Checkpoint"]

EMBEDDED = "embedded"
_FORMAT = 1
_MAX_CHECKPOINT = 1 << 16
"""Bytes; a checkpoint has a few hundred."""
_OF_JOB = re.compile(r"pyboinc_(\d{1,18})_\d+(\.error)?(\.\d+-\d+)?", re.ASCII)
"""Names of outputs and reports, and of those that are being written in ``tmp/``."""


@dataclass(frozen=True)
class Checkpoint:
    """What a batch directory knows of its batch."""

    token: str
    """32 random hex digits that identify the batch's row."""
    project: str
    """The project's master URL, or `EMBEDDED`."""
    batch: int | None
    """ID of the batch, None before its row is known to exist."""
    state: str
    """``submitting``, ``submitted`` or ``finished``."""
    version: int = _FORMAT
    """Version of the format of this batch's files and rows."""


class BatchDirectory:
    """The directory *path*."""

    def __init__(self, path: Path) -> None:
        self.path = Path(os.path.abspath(path))
        self.new = self.path / publishing.NEW
        self.old = self.path / publishing.OLD
        self.tmp = self.path / publishing.TMP
        self.embedded_project = self.path / ".pyboinc"
        self._checkpoint = self.path / "pyboinc_checkpoint"
        self._temporary = self.path / "pyboinc_checkpoint.tmp"
        self._made: list[Path] = []
        self._identity: tuple[int, int] | None = None

    @contextlib.contextmanager
    def made(self) -> Iterator[None]:
        """Make the directory and its parents if missing; at the end, remove those of them that are empty.

        Raises `errors.UsageError`.
        """
        missing: list[Path] = []
        with errors.of_files(self.path):
            place = self.path
            while not os.path.lexists(place):
                missing.append(place)
                place = place.parent
            try:
                self.path.mkdir(parents=True, exist_ok=True)
            except FileExistsError:
                raise errors.UsageError(f"batch directory {self.path}: not a directory") from None
        try:
            yield
        finally:
            files.remove_empty(missing)

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other masters out of the directory. The lock ends with the process, however that ends.

        Raises `errors.BatchLocked` when another master has it, `errors.UsageError` when the directory is
        missing or not writable.
        """
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise errors.UsageError(f"batch directory {errors.describe(self.path, error)}") from None
        refusal = errors.BatchLocked(
            f"batch directory {self.path}: another master is running here; stop it or use another directory"
        )
        with locking.held(descriptor, refusal):
            if not os.access(self.path, os.W_OK | os.X_OK):
                raise errors.UsageError(
                    f"batch directory {self.path}: not writable; choose another with --batch-dir or batch_dir="
                )
            self._identity = _identity(os.fstat(descriptor))
            yield

    async def read_checkpoint(self) -> Checkpoint | None:
        """Return the checkpoint, or None if no batch was begun; raises `errors.CheckpointError`."""
        return await threads.in_thread(self._read_checkpoint)

    def _read_checkpoint(self) -> Checkpoint | None:
        data = self._checkpoint_bytes()
        if data is None:
            return None
        self.check_checkpoint()
        try:
            return _parse(data.decode())
        except (ValueError, TypeError, KeyError) as error:
            remedy = (
                "delete it to continue the batch in .pyboinc" if self.embedded_project.exists() else "restore it"
            )
            raise errors.CheckpointError(
                f"{self._checkpoint}: damaged ({error}); {remedy}, or start anew with --fresh"
            ) from None

    def check_checkpoint(self) -> None:
        """Refuse a file with the checkpoint's name that is not ours, not even a damaged one of ours.

        Raises `errors.CheckpointError`.
        """
        data = self._checkpoint_bytes()
        # A write interrupted by a power cut may leave zeros.
        if data is not None and data.strip(b"\0 \n")[:1] not in {b"", b"{"}:
            raise errors.CheckpointError(
                f"{self._checkpoint}: not a checkpoint of aioboinc; move it away, or use another batch directory"
            )

    def _checkpoint_bytes(self) -> bytes | None:
        try:
            return files.read(self._checkpoint, _MAX_CHECKPOINT)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise errors.CheckpointError(errors.describe(self._checkpoint, error)) from None

    async def write_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Replace the checkpoint; it is durable on return. If cancelled, the write is finished first."""
        await threads.in_thread(self._write_checkpoint, checkpoint)

    def _write_checkpoint(self, checkpoint: Checkpoint) -> None:
        text = json.dumps(dataclasses.asdict(checkpoint), indent=1) + "\n"
        with errors.of_files(self._checkpoint):
            durable.write(self._checkpoint, text.encode(), temporary=self._temporary)

    def create(self) -> None:
        """Make the subdirectories that are missing. Raises `errors.UsageError`.

        They get the batch directory's permissions: the assimilator may be another user, with access by a group.
        """
        for directory in (self.new, self.old, self.tmp):
            with errors.of_files(directory):
                self._make(directory)

    def _make(self, directory: Path) -> None:
        is_there = os.path.lexists(directory)
        if is_there and not directory.is_dir():
            raise files.Obstacle(directory, files.kind(directory.lstat()) or "a file")
        access.make_directory(directory, self.path.stat())
        if not is_there:
            self._made.append(directory)

    def withdraw(self) -> None:
        """Remove the checkpoint and the empty subdirectories of a batch to which nothing was submitted."""
        self._checkpoint.unlink(missing_ok=True)
        self.remove_made()

    def heal(self, checkpoint: Checkpoint) -> None:
        """Restore what somebody has removed while the master runs. Raises `errors.UsageError` if all is gone."""
        try:
            is_here = _identity(os.stat(self.path)) == self._identity
        except OSError:
            is_here = False
        if not is_here:
            raise errors.UsageError(
                f"batch directory {self.path}: it was removed or replaced while its master was running; put it back, "
                "then run the same command again"
            )
        self.create()
        if not os.path.lexists(self._checkpoint):
            self._write_checkpoint(checkpoint)

    def remove_made(self) -> None:
        """Remove the subdirectories that `create` has made, if they are empty."""
        files.remove_empty(self._made)

    def batches(self) -> set[int]:
        """Return the IDs of all batches that anything in the subdirectories is named after."""
        found: set[int] = set()
        for directory in (self.new, self.old, self.tmp):
            with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(directory) as entries:
                found.update(int(match[1]) for entry in entries if (match := _OF_JOB.fullmatch(entry.name)))
        return found

    def has(self, *names: str) -> bool:
        """Tell whether one of the files *names* is in ``new/`` or ``old/``."""
        return any((folder / name).exists() for name in names for folder in (self.new, self.old))

    def remove_report(self, name: str) -> None:
        """Remove the report from ``new/`` that the workunit *name* has failed, as its calls are in others now."""
        with errors.of_files(self.new):
            files.remove(self.new / f"{name}.error")

    def retire(self, names: Iterable[str], *, linked: bool = True) -> None:
        """Move the handled files *names* from ``new/`` to ``old/``; *linked* as in `move`."""
        self.move(names, self.new, self.old, linked=linked)

    @staticmethod
    def move(names: Iterable[str], source: Path, target: Path, *, linked: bool = True) -> None:
        """Rename files from one directory to another, replacing regular files of the same name.

        Files that are gone are skipped, and so are those whose names in *target* belong to anything but a regular file.
        *linked* says that *target* may have links to the same files: removing these from *source* takes a quarter more
        time.
        """
        source_descriptor = os.open(source, os.O_RDONLY | os.O_DIRECTORY)
        try:
            target_descriptor = os.open(target, os.O_RDONLY | os.O_DIRECTORY)
            try:
                for name in names:
                    if _is_obstructed(name, target_descriptor):
                        continue
                    with contextlib.suppress(FileNotFoundError):
                        os.rename(name, name, src_dir_fd=source_descriptor, dst_dir_fd=target_descriptor)
                    if linked:
                        # A rename between two links of one file leaves both.
                        files.remove(name, source_descriptor)
            finally:
                os.close(target_descriptor)
        finally:
            os.close(source_descriptor)

    def discard(self, batches: Collection[int]) -> None:
        """Remove the files of *batches*, and last the checkpoint. Raises `errors.UsageError`.

        Folders that are empty then are removed too.
        """
        with errors.of_files(self.path):
            if batches:
                numbers = "|".join(map(str, batches))
                output = re.compile(rf"pyboinc_({numbers})_\d+(\.error)?", re.ASCII)
                copy = re.compile(rf"{output.pattern}\.\d+-\d+", re.ASCII)
                for directory, pattern in ((self.new, output), (self.old, output), (self.tmp, copy)):
                    files.remove_matching(directory, pattern)
                files.remove_empty((self.new, self.old, self.tmp))
            durable.sync_directory(self.path)
            files.remove(self._temporary)
            files.remove(self._checkpoint)


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _is_obstructed(name: str, directory: int) -> bool:
    try:
        return bool(files.kind(os.stat(name, dir_fd=directory, follow_symlinks=False)))
    except FileNotFoundError:
        return False


def _parse(text: str) -> Checkpoint:
    fields = json.loads(text)
    checkpoint = Checkpoint(
        token=fields["token"],
        project=fields["project"],
        batch=fields["batch"],
        state=fields["state"],
        version=fields["version"],
    )
    if not (
        isinstance(checkpoint.token, str)
        and len(checkpoint.token) == 32
        and isinstance(checkpoint.project, str)
        and isinstance(checkpoint.batch, int | None)
        and checkpoint.state in {"submitting", "submitted", "finished"}
        and isinstance(checkpoint.version, int)
    ):
        raise ValueError("a field has a wrong value")
    if checkpoint.version > _FORMAT:
        raise ValueError(f"written by a newer aioboinc (format {checkpoint.version})")
    return checkpoint
