"""Handles files of ours among other people's. The functions block, and raise OSError.

Anything may have one of our names: a directory, a pipe that never ends, a link to somewhere.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import stat
from collections.abc import Iterable
from pathlib import Path

__all__ = ["Obstacle", "kind", "open_regular", "read", "remove", "remove_empty", "remove_matching", "remove_tree"]

_KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class Obstacle(OSError):
    """Something that is not ours has one of our names."""

    def __init__(self, path: str | Path, what: str) -> None:
        super().__init__(errno.EEXIST, f"in the way is {what} that aioboinc did not make; move it away", str(path))


def kind(status: os.stat_result) -> str:
    """Return in words what kind of file has this *status*; empty for a regular file."""
    return _KINDS.get(stat.S_IFMT(status.st_mode), "")


def open_regular(path: str | Path, directory: int | None = None) -> int:
    """Return a descriptor to read a regular file by; *directory* is a descriptor to which *path* is relative.

    Raises `Obstacle` for anything else, and does not wait for a pipe's other end.
    """
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW
    try:
        descriptor = os.open(path, flags, dir_fd=directory)
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.ENXIO}:  # a link, a socket
            raise Obstacle(path, kind(os.stat(path, dir_fd=directory, follow_symlinks=False))) from None
        raise
    if what := kind(os.fstat(descriptor)):
        os.close(descriptor)
        raise Obstacle(path, what)
    return descriptor


def read(path: str | Path, limit: int) -> bytes:
    """Return the first *limit* bytes of a regular file. Raises `Obstacle` for anything else."""
    with os.fdopen(open_regular(path), "rb") as file:
        return file.read(limit)


def remove(path: str | Path, directory: int | None = None) -> None:
    """Remove a regular file if it is there; anything else with that name stays."""
    with contextlib.suppress(FileNotFoundError):
        if not kind(os.stat(path, dir_fd=directory, follow_symlinks=False)):
            os.unlink(path, dir_fd=directory)


def remove_matching(folder: Path, pattern: re.Pattern[str]) -> None:
    """Remove the regular files in *folder*, if it is there, whose whole names match *pattern*."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return
    try:
        with os.scandir(descriptor) as entries:
            names = [entry.name for entry in entries if pattern.fullmatch(entry.name)]
        for name in names:
            remove(name, descriptor)
    finally:
        os.close(descriptor)


def remove_tree(path: Path) -> None:
    """Remove a directory that is wholly ours; anything else with that name stays."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)


def remove_empty(folders: Iterable[Path]) -> None:
    """Remove those of *folders* that are empty, one after the other."""
    for folder in folders:
        with contextlib.suppress(OSError):
            folder.rmdir()
