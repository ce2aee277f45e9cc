"""Makes files survive a power cut. The functions block."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

from aioboinc.aio import files

__all__ = ["is_placed", "place", "sync", "sync_directory", "write"]


def place(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Write a file whole or not at all, unless it has this content already. Raises OSError.

    Nobody whom *mode* excludes can read it at any time. Only one caller at a time may write a file.
    """
    if not is_placed(path, data, mode):
        write(path, data, mode)


def write(path: Path, data: bytes, mode: int | None = None, *, temporary: Path | None = None) -> None:
    """Replace a file whole or not at all; it is durable on return. Raises OSError.

    Nobody whom *mode* excludes can read it at any time; None: the umask decides. *temporary* is a path in the same
    directory to write to first; a file left there by a killed process is removed. Only one caller at a time may write a
    file.
    """
    temporary = temporary or path.with_name(f".{path.name}.new")
    files.remove(temporary)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(temporary, flags, 0o666 if mode is None else 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            if mode is not None:
                os.fchmod(descriptor, mode)
            file.flush()
            os.fsync(descriptor)
        os.replace(temporary, path)
    except BaseException:
        files.remove(temporary)
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
    """Flush everything pending on the file system of *path* to the disk.

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
