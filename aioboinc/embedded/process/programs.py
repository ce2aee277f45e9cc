"""The programs of a local host's last jobs, checked and unpacked."""

from __future__ import annotations

import os
import shutil

from aioboinc.embedded.process import forker
from aioboinc.slave_runtime import program_file, signature, unpacking

__all__ = ["Programs"]


class Programs:
    """Programs unpacked below *directory*, checked with the public key in the file *key*."""

    def __init__(self, directory: str, key: str) -> None:
        self._directory = directory
        self._key = key
        self._known: dict[str, program_file.Program] = {}
        self._count = 0
        shutil.rmtree(directory, ignore_errors=True)

    def get(self, path: str) -> program_file.Program | str:
        """Return the program in the file *path*, or what is wrong with it."""
        program = self._known.pop(path, None)
        if program is None:
            self._count += 1
            directory = os.path.join(self._directory, str(self._count))
            try:
                program = unpacking.unpack(path, directory, signature.load(self._key))
            except (program_file.Refused, signature.BadKey, OSError) as error:
                return str(error)
        self._known[path] = program  # last: the order is that of use
        if len(self._known) > forker.PROGRAMS_KEPT:
            forgotten = self._known.pop(next(iter(self._known)))
            shutil.rmtree(forgotten.root, ignore_errors=True)
        return program
