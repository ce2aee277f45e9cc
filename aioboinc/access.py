"""Who may do what with a file, seen beforehand: by owners, groups and modes. The functions block.

What can't be told from these, access control lists for example, is taken for permitted.
"""

from __future__ import annotations

import contextlib
import os
import pwd
from dataclasses import dataclass
from pathlib import Path

__all__ = ["READ", "SEARCH", "WRITE", "User", "obstacle"]

READ, WRITE, SEARCH = os.R_OK, os.W_OK, os.X_OK
"""What one may do with a file or a directory; to be added."""
_ACCESS_LIST = "system.posix_acl_access"


@dataclass(frozen=True)
class User:
    """A user, and the groups that a process of this user's has when it is started."""

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
        """Tell whether *permissions* are given for what has this *status*: its owner's, its group's or others'."""
        if self.uid == 0:
            return True
        shift = 6 if status.st_uid == self.uid else 3 if status.st_gid in self.groups else 0
        return status.st_mode >> shift & permissions == permissions


def obstacle(user: User, directory: Path) -> Path | None:
    """Return what keeps *user* from making files in *directory*: that, or the first one on the way to it.

    None if nothing does, or if it can't be known.
    """
    place = Path(os.path.realpath(directory))
    with contextlib.suppress(OSError):
        for path in (*reversed(place.parents), place):
            if not user.may(WRITE | SEARCH if path == place else SEARCH, path.stat()) and not _has_list(path):
                return path
    return None


def _has_list(path: Path) -> bool:
    """Tell whether there is an access control list: modes are not the whole truth then."""
    try:
        return _ACCESS_LIST in os.listxattr(path)
    except (OSError, AttributeError):
        return False
