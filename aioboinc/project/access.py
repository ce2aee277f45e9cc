"""Predicts who may do what with a file, from owners, groups and modes. The functions block.

What can't be told from these, such as access control lists, counts as permitted.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import stat
from dataclasses import dataclass
from pathlib import Path

__all__ = ["READ", "SEARCH", "WRITE", "User", "inherits", "make_directory", "obstacle"]

READ, WRITE, SEARCH = os.R_OK, os.W_OK, os.X_OK
"""Permissions for a file or a directory; may be combined."""
_ACCESS_LIST = "system.posix_acl_access"
_DEFAULT_LIST = "system.posix_acl_default"


@dataclass(frozen=True)
class User:
    """A user, and the groups that a newly started process of the user has."""

    uid: int
    name: str
    groups: frozenset[int]

    @classmethod
    def of(cls, uid: int) -> User | None:
        """Return the user *uid*, None if the system does not know it."""
        try:
            entry = pwd.getpwuid(uid)
            return cls(uid, entry.pw_name, frozenset(os.getgrouplist(entry.pw_name, entry.pw_gid)))
        except (KeyError, OSError):
            return None

    def may(self, permissions: int, status: os.stat_result) -> bool:
        """Tell whether the mode in *status* gives the user *permissions*: as owner, in the group, or as another."""
        if self.uid == 0:
            return True
        shift = 6 if status.st_uid == self.uid else 3 if status.st_gid in self.groups else 0
        return status.st_mode >> shift & permissions == permissions


def obstacle(user: User, directory: Path) -> Path | None:
    """Return the directory that keeps *user* from making files in *directory*: itself, or the first on the way.

    None if nothing does, or if it can't be known.
    """
    place = Path(os.path.realpath(directory))
    with contextlib.suppress(OSError):
        for path in (*reversed(place.parents), place):
            if not user.may(WRITE | SEARCH if path == place else SEARCH, path.stat()) and not _has_list(path):
                return path
    return None


def inherits(user: User, directory: Path) -> bool:
    """Tell whether *user* may make and remove files in what anybody makes in *directory* by `make_directory`.

    Raises OSError.
    """
    status = directory.stat()
    of_group = bool(status.st_mode & stat.S_ISGID) or status.st_gid in {os.getegid(), *os.getgroups()}
    by_group = of_group and bool(status.st_mode & stat.S_IWGRP) and status.st_gid in user.groups
    return user.uid == 0 or by_group or bool(status.st_mode & stat.S_IWOTH) or _has(_DEFAULT_LIST, directory)


def make_directory(name: str | Path, around: os.stat_result, *, dir_fd: int | None = None) -> None:
    """Make a directory, unless it is there, with the permissions of the one around it.

    *around* is that one's status; if root makes the directory, it gets the same owner. Raises OSError.
    """
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, 0o700, dir_fd=dir_fd)
    status = os.stat(name, dir_fd=dir_fd)
    # Not the sticky bit: one user's files there may be moved or deleted by another.
    mode = (status.st_mode | around.st_mode) & ~stat.S_ISVTX
    if status.st_uid == os.geteuid():
        with contextlib.suppress(PermissionError):
            os.chown(name, -1 if os.geteuid() else around.st_uid, around.st_gid, dir_fd=dir_fd)
        os.chmod(name, stat.S_IMODE(mode), dir_fd=dir_fd)


def _has_list(path: Path) -> bool:
    """Tell whether there is an access control list: then the mode does not say everything."""
    return _has(_ACCESS_LIST, path)


def _has(attribute: str, path: Path) -> bool:
    try:
        return attribute in os.listxattr(path)
    except (OSError, AttributeError):
        return False
