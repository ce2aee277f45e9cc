"""A directory that calls leave things in, and is emptied of them: cheaply where nothing was left."""

from __future__ import annotations

import contextlib
import os
import shutil
from typing import Callable, Iterable, List, Set

__all__ = ["Folder"]

_LONG_AGO = 10**18
"""Nanoseconds since 1970, for a directory's time of change: the next change is at another time."""


class Folder:
    """The directory *path*, in which what has a name among *kept*, or one that *is_kept*, stays."""

    def __init__(
        self, path: str, kept: Iterable[str], is_kept: Callable[[str], bool] = lambda name: False
    ) -> None:
        self._path = path
        self._kept = set(kept)
        self._is_kept = is_kept
        self._unchanged = -1
        """The directory's time of change as long as nothing comes or goes; -1 if that can't be told by it."""
        self._has_times = os.name != "nt" and self._mark() and self._sees_changes()
        self._unchanged = -1  # nothing is known of what is there

    def names(self) -> List[str]:
        """Return the names of what is in the directory; none if there is no such directory."""
        try:
            return os.listdir(self._path)
        except OSError:
            return []

    def keep(self, names: Iterable[str]) -> None:
        """Let what has one of *names* stay from now on."""
        self._kept.update(names)

    def is_unchanged(self) -> bool:
        """Say whether nothing has come or gone since it was emptied last."""
        try:
            return self._unchanged >= 0 and os.stat(self._path).st_mtime_ns == self._unchanged
        except OSError:
            return False

    def others(self) -> Set[str]:
        """Return the names of what is to be removed."""
        return {name for name in self.names() if name not in self._kept and not self._is_kept(name)}

    def empty(self) -> bool:
        """Remove what is not to stay; return whether nothing else is left."""
        for name in self.others():
            path = os.path.join(self._path, name)
            with contextlib.suppress(OSError):
                if os.path.isdir(path) and not os.path.islink(path):
                    shutil.rmtree(path)
                else:
                    os.unlink(path)
        if self._has_times:
            self._mark()  # before the look: what comes later is seen
        return not self.others()

    def _mark(self) -> bool:
        """Give the directory a time of change that none has; say whether that works."""
        self._unchanged = -1
        try:
            os.utime(self._path, ns=(_LONG_AGO, _LONG_AGO))
            self._unchanged = os.stat(self._path).st_mtime_ns
        except OSError:
            return False
        return abs(self._unchanged - _LONG_AGO) < 10**10

    def _sees_changes(self) -> bool:
        """Say whether a file that comes changes the directory's time, as in all file systems that we know."""
        path = os.path.join(self._path, "pyboinc.tmp")
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
            os.unlink(path)
        except OSError:
            return False
        return not self.is_unchanged()
