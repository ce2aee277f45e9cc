"""The batch directory: checkpoint, lock, ``new/``, ``old/``, ``tmp/``.

``new/`` holds what the assimilator has published and no handler has seen, ``old/`` what one has seen. The functions
that take a directory's files block; callers run them in threads.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import aiofiles

from aioboinc import access, durable, errors, locking, service

__all__ = ["EMBEDDED", "BatchDirectory", "Checkpoint"]

EMBEDDED = "embedded"
_FORMAT = 1


@dataclass(frozen=True)
class Checkpoint:
    """What a batch directory knows of its batch."""

    token: str
    """32 random hex digits, by which the batch's row is found or made."""
    project: str
    """The project's master URL, or `EMBEDDED`."""
    batch: int | None
    """ID of the batch, None before its row is known to exist."""
    state: str
    """``submitting``, ``submitted`` or ``finished``."""
    version: int = _FORMAT
    """Version of the format of this batch's files and rows."""


class BatchDirectory:
    """The directory *path*, which must exist."""

    def __init__(self, path: Path) -> None:
        self.path = Path(os.path.abspath(path))
        self.new = self.path / "new"
        self.old = self.path / "old"
        self.tmp = self.path / "tmp"
        self.embedded_project = self.path / ".pyboinc"
        self._checkpoint = self.path / "pyboinc_checkpoint"

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other masters out of the directory; the lock goes with the process, however that ends.

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
            yield

    async def read_checkpoint(self) -> Checkpoint | None:
        """Return the checkpoint, or None where no batch was begun; raises `errors.CheckpointError`."""
        try:
            async with aiofiles.open(self._checkpoint, encoding="utf-8") as file:
                text = await file.read()
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise errors.CheckpointError(f"{self._checkpoint}: {error}") from None
        try:
            return _parse(text)
        except (ValueError, TypeError, KeyError) as error:
            raise errors.CheckpointError(
                f"{self._checkpoint}: damaged ({error}); restore it, or start anew with --fresh"
            ) from None

    async def write_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Replace the checkpoint; it is durable on return. A write that was begun is finished."""
        await service.in_thread(self._write_checkpoint, checkpoint)

    def _write_checkpoint(self, checkpoint: Checkpoint) -> None:
        temporary = self._checkpoint.with_name(self._checkpoint.name + ".tmp")
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(json.dumps(dataclasses.asdict(checkpoint), indent=1) + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, self._checkpoint)
        durable.sync_directory(self.path)

    def create(self) -> None:
        """Make the subdirectories that are missing.

        They are as open as the batch directory: the assimilator may be another user, who has access by a group.
        """
        for directory in (self.new, self.old, self.tmp):
            access.make_directory(directory, self.path.stat())

    def withdraw(self) -> None:
        """Forget a batch to which nothing was submitted: the checkpoint, and the subdirectories if they are empty."""
        self._checkpoint.unlink(missing_ok=True)
        self.remove_empty()

    def remove_empty(self) -> None:
        """Remove the subdirectories that have nothing in them."""
        for directory in (self.new, self.old, self.tmp):
            with contextlib.suppress(OSError):
                directory.rmdir()

    def has(self, *names: str) -> bool:
        """Tell whether one of the files *names* is in ``new/`` or ``old/``."""
        return any((folder / name).exists() for name in names for folder in (self.new, self.old))

    def retire(self, names: Iterable[str], *, linked: bool = True) -> None:
        """Move the handled files *names* from ``new/`` to ``old/``; *linked* as in `move`."""
        self.move(names, self.new, self.old, linked=linked)

    @staticmethod
    def move(names: Iterable[str], source: Path, target: Path, *, linked: bool = True) -> None:
        """Rename files from one directory to another, replacing those of the same name.

        Unless they may be *linked*, one that is there as a link to the same file stays where it is, too: to rule
        that out takes a quarter more time.
        """
        source_descriptor = os.open(source, os.O_RDONLY | os.O_DIRECTORY)
        try:
            target_descriptor = os.open(target, os.O_RDONLY | os.O_DIRECTORY)
            try:
                for name in names:
                    os.rename(name, name, src_dir_fd=source_descriptor, dst_dir_fd=target_descriptor)
                    if linked:
                        with contextlib.suppress(FileNotFoundError):
                            # A rename between two links of one file leaves both.
                            os.unlink(name, dir_fd=source_descriptor)
            finally:
                os.close(target_descriptor)
        finally:
            os.close(source_descriptor)

    def discard(self) -> None:
        """Remove the batch: the embedded project, the outputs, and last the checkpoint."""
        for directory in (self.embedded_project, self.new, self.old, self.tmp):
            with contextlib.suppress(FileNotFoundError):
                shutil.rmtree(directory)
        durable.sync_directory(self.path)
        self._checkpoint.unlink(missing_ok=True)


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
