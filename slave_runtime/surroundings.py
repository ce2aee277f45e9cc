"""What a call among several finds in its process: the same as the first one, whatever those before it have done.

The modules of the program are imported once, and what they do to the process at import stays, as it would be done
again in a process of its own: what they append to ``sys.path``, the files that they make.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import os
import signal
import sys
import time
from typing import Any, Callable, Dict, Iterable, List

from . import folder, preparation, slot

if sys.platform == "win32":
    resource = None
else:
    import resource

__all__ = ["Surroundings", "names_in"]

_SHARE = 0.05
"""Share of the time that the garbage collector may take to free what calls have left in memory."""
_COLLECTION = 0.005
"""Seconds that its first run is expected to take."""
_GROWTH = 64 << 20
"""Bytes more than ever before at which it runs in any case."""
_UNIT = 1 if sys.platform == "darwin" else 1024
"""Bytes, in which the system says how much memory was used at most."""


def _is_ours_or_the_clients(name: str) -> bool:
    return name.startswith(("boinc_", "pyboinc_"))


def names_in(slot_dir: str) -> List[str]:
    """Return the names of what is in the slot but for files that are there at any time. Raises OSError."""
    return [name for name in os.listdir(slot_dir) if not _is_ours_or_the_clients(name)]


class Surroundings:
    """The process as it is when the first call begins; *names* are those that were in the slot then."""

    def __init__(
        self,
        prepared: preparation.Prepared,
        slot_dir: str,
        names: Iterable[str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._slot_dir = slot_dir
        self._finder = prepared.finder
        temporary = os.path.join(slot_dir, slot.TEMPORARY)
        self._has_temporary = os.path.isdir(temporary)
        self._temporary = folder.Folder(temporary, ())
        kept = {*names, slot.INIT_DATA, slot.STDERR, *([slot.TEMPORARY] if self._has_temporary else [])}
        self._slot = folder.Folder(slot_dir, kept, _is_ours_or_the_clients)
        self._argv = sys.argv[:]
        self._path = sys.path[:]
        self._recursion_limit = sys.getrecursionlimit()
        self._streams = sys.stdin, sys.stdout, sys.stderr
        self._environ = os.environ
        self._variables = _variables().copy()
        self._modules = len(sys.modules)
        self._is_importing = False
        self._clock = clock
        self._collected = clock()
        self._collection = _COLLECTION
        self._peak = _peak()
        self._finder.watch(self._watched)

    def restore(self) -> bool:
        """Make the process as it was; return whether it is one that another call may run in."""
        sys.stdin, sys.stdout, sys.stderr = self._streams
        if any(getattr(stream, "closed", False) for stream in self._streams):
            return False
        if sys.meta_path[:1] != [self._finder]:
            sys.meta_path[:] = [self._finder, *(one for one in sys.meta_path if one is not self._finder)]
        sys.argv[:] = self._argv
        if sys.path != self._path:
            sys.path[:] = self._path
        if sys.getrecursionlimit() != self._recursion_limit:
            sys.setrecursionlimit(self._recursion_limit)
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, 0)
        has_imported = len(sys.modules) != self._modules
        self._modules = len(sys.modules)
        self._restore_environ(has_imported)
        self._collect()
        return self._restore_files()

    def _restore_environ(self, has_imported: bool) -> None:
        """Undo changes of the environment, but where packages were imported: they set variables for themselves."""
        os.environ = self._environ  # noqa: B003 - it is the one that was there
        found = _variables()
        if found == self._variables:
            return
        if has_imported:
            self._variables = found.copy()
            return
        for name in found.keys() - self._variables.keys():
            del os.environ[os.fsdecode(name)]
        for name, value in self._variables.items():
            os.environ[os.fsdecode(name)] = os.fsdecode(value)

    def _restore_files(self) -> bool:
        """Remove files that were left; return whether that could be done."""
        try:
            os.chdir(self._slot_dir)
        except OSError:
            return False
        is_clean = self._slot.is_unchanged() or self._slot.empty()
        if self._has_temporary and not self._temporary.is_unchanged():
            with contextlib.suppress(OSError):
                os.makedirs(os.path.join(self._slot_dir, slot.TEMPORARY), exist_ok=True)
            is_clean = self._temporary.empty() and is_clean
        return is_clean

    def _collect(self) -> None:
        """Collect garbage now and then: what a call has left goes in circles with its ``__main__``."""
        now = self._clock()
        peak = _peak()
        if (now - self._collected) * _SHARE > self._collection or peak > self._peak + _GROWTH:
            gc.collect()
            self._collected = self._clock()
            self._collection = self._collected - now
            self._peak = peak

    def _watched(self, import_module: Callable[..., Any]) -> Callable[..., Any]:
        """Return *import_module*, which runs a module of the program, so that what it does to the process stays."""

        @functools.wraps(import_module)
        def watched(*args: Any) -> Any:
            if self._is_importing:
                return import_module(*args)
            self._is_importing = True
            before = sys.path[:], sys.getrecursionlimit(), self._slot.names(), self._temporary.names()
            try:
                return import_module(*args)
            finally:
                self._is_importing = False
                self._adopt(*before)

        return watched

    def _adopt(self, path: List[str], recursion_limit: int, files: List[str], temporary: List[str]) -> None:
        """Take over what has changed since it was as the arguments say."""
        self._path = _extended(self._path, path, sys.path)
        if sys.getrecursionlimit() != recursion_limit:
            self._recursion_limit = sys.getrecursionlimit()
        self._slot.keep(set(self._slot.names()) - set(files))
        self._temporary.keep(set(self._temporary.names()) - set(temporary))


def _peak() -> int:
    """Return how many bytes of memory this process has had at most; 0 where that can't be known."""
    return 0 if resource is None else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _UNIT


def _variables() -> Dict[Any, Any]:
    """Return the environment as ``os.environ`` has it: to decode all names takes longer than the rest."""
    found: Dict[Any, Any] = getattr(os.environ, "_data", None) or dict(os.environ)
    return found


def _extended(path: List[str], before: List[str], after: List[str]) -> List[str]:
    """Return *path* with what *after* has more than *before*, at the same end."""
    known = {*path, *before}
    new: Dict[str, int] = {name: place for place, name in enumerate(after) if name not in known}
    end = next((place for place, name in enumerate(after) if name in known), len(after))
    return [
        *(name for name, place in new.items() if place < end),
        *path,
        *(name for name, place in new.items() if place >= end),
    ]
