"""Making files survive a power cut. The functions block."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

__all__ = ["is_placed", "place", "sync", "sync_directory"]


def place(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Write a file whole or not at all, unless it is there with this content. Raises OSError.

    Nobody whom *mode* excludes can read it at any time. Two at once must not write the same file.
    """
    if is_placed(path, data, mode):
        return
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)  # of a process that was killed
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            os.fchmod(descriptor, mode)
            file.flush()
            os.fsync(descriptor)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def is_placed(path: Path, data: bytes, mode: int = 0o644) -> bool:
    """Tell whether `place` has nothing to do. Raises OSError."""
    try:
        with open(path, "rb") as file:
            return os.fstat(file.fileno()).st_mode & mode == mode and file.read() == data
    except FileNotFoundError:
        return False


def sync(path: Path) -> None:
    """Write everything that is pending on the file system of *path* to the disk.

    One call for many small files costs a fraction of an ``fsync`` for each. Raises OSError.
    """
    if not sys.platform.startswith("linux"):
        os.sync()
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        if _libc.syncfs(descriptor) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(path))
    finally:
        os.close(descriptor)


def sync_directory(path: Path) -> None:
    """Make the names in the directory *path* durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


_libc = ctypes.CDLL(None, use_errno=True)
