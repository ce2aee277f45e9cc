"""A disk that forgets, at a power cut, what was not synced."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

__all__ = ["Disk"]


class Disk:
    """What of the files in *root* has been made durable.

    Put `sync` in the place of `durable.sync`. Names and contents are journaled apart, as by ext4: after a cut a name
    may be there and its content not.
    """

    def __init__(self, root: Path, sync: Callable[[Path], None]) -> None:
        self._root = root
        self._sync = sync
        self._contents: dict[tuple[int, int], bytes] = {}
        self._names: set[Path] = set()
        self.syncs = 0
        self.before_sync: Callable[[], None] = lambda: None

    def sync(self, path: Path) -> None:
        """Do as `durable.sync` does."""
        self.before_sync()
        # What is there before the sync begins is durable at its end.
        names = {path for path in self._root.rglob("*") if path.is_file()}
        contents = {_identity(path): path.read_bytes() for path in names}
        self._sync(path)
        self._names, self._contents = names, contents
        self.syncs += 1

    def cut(self, *, names_survive: bool) -> None:
        """Lose what is not durable: contents, and unless *names_survive*, names."""
        for path in list(self._root.rglob("*")):
            if not path.is_file():
                continue
            content = self._contents.get(_identity(path), b"")
            if not names_survive and path not in self._names:
                path.unlink()
            elif path.read_bytes() != content:
                path.write_bytes(content)


def _identity(path: Path) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_dev, status.st_ino
