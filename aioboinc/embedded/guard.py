"""Looks after the files of an embedded project while it runs: people remove things, and disks fill up."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from aioboinc import errors
from aioboinc.aio import loops, threads
from aioboinc.embedded import clock as clocks
from aioboinc.embedded import layout
from aioboinc.project import config

__all__ = ["Guard"]

_INTERVAL = 1.0
"""Seconds between two checks."""
MIN_FREE = 512 << 10
"""Bytes of free disk below which nothing can be stored, not even the local hosts' bytecode."""
MIN_FREE_FILES = 16
"""Number of files that must still fit on the file system for a job to begin."""


class Guard:
    """Guards *project*, whose database must exist. *status* returns its file system's; a parameter for tests."""

    def __init__(
        self,
        project: config.Project,
        clock: clocks.Clock,
        status: Callable[[Path], os.statvfs_result] = os.statvfs,
    ) -> None:
        self._root = project.root
        self._clock = clock
        self._status = status
        self._kept = {name: self._identity(name) for name in ("", layout.DATABASE, "download")}
        """Identities of what can't be made again."""

    @contextlib.asynccontextmanager
    async def blame(self) -> AsyncIterator[None]:
        """If the body fails because of a removed file or a full disk, raise that cause instead."""
        try:
            yield
        except (errors.UsageError, OSError):
            await threads.in_thread(self.check)
            raise

    async def run(self, stop: asyncio.Event) -> None:
        """Check again and again until *stop* is set. Raises `errors.ProjectError`."""
        while not stop.is_set():
            await threads.in_thread(self.check)
            await loops.wait(_INTERVAL, stop)

    def check(self) -> None:
        """Make missing directories again. Raises `errors.ProjectError` for what can't be repaired. Blocks."""
        for name, identity in self._kept.items():
            if self._identity(name) != identity:
                raise errors.ProjectError(
                    f"{self._root / name} was removed or replaced while the master was running: put it back, then run "
                    "the same command again; or start anew with --fresh"
                )
        with errors.of_files(self._root, errors.ProjectError):
            self._check_disk()
            for name in layout.DIRECTORIES:
                (self._root / name).mkdir(exist_ok=True)
            self._clock.keep()

    def _check_disk(self) -> None:
        """Raise `errors.ProjectError` if the disk is full. Blocks."""
        status = self._status(self._root)
        blocks = status.f_bfree if os.geteuid() == 0 else status.f_bavail
        what = ""
        if blocks * status.f_frsize < MIN_FREE:
            what = "the disk is full"
        elif status.f_files and (status.f_ffree if os.geteuid() == 0 else status.f_favail) < MIN_FREE_FILES:
            what = "the file system has no room for more files"
        if what:
            raise errors.ProjectError(
                f"{self._root}: {what}: make room, then run the same command again; nothing is lost"
            )

    def _identity(self, name: str) -> tuple[int, int] | None:
        try:
            status = os.stat(self._root / name)
        except OSError:
            return None
        return status.st_dev, status.st_ino
