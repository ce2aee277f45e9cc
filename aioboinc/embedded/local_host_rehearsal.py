"""A rehearsal of a job, in the process that forks the jobs.

Python specializes code and fills caches as it runs. A child that finds that done copies fewer pages of memory: a
short job takes a fifth less time.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator

from aioboinc import codec
from aioboinc.slave_runtime import importing, init_data, program_file, slave, slot

__all__ = ["rehearse"]

_TIMES = 10
_SLAVE = "rehearsal.py"
_MODULE = "pyboinc_rehearsal"
_FILES = {
    _SLAVE: f"import {_MODULE}\npyboinc_return_output({_MODULE}.Data(pyboinc_get_input()))\n",
    f"{_MODULE}.py": "class Data:\n    def __init__(self, value):\n        self.value = value\n",
}


def rehearse(directory: str) -> None:
    """Run a program of our own some times, as a job is run, in *directory*, which is made."""
    os.makedirs(directory, exist_ok=True)
    for name, text in _FILES.items():
        with open(os.path.join(directory, name), "w", encoding="utf-8") as file:
            file.write(text)
    modules = {_MODULE: f"{_MODULE}.py"}
    prepared = slave.Prepared(
        program=program_file.Program(directory, _SLAVE, modules, bytes(32)),
        code=importing.compile_file(os.path.join(directory, _SLAVE)),
        finder=importing.Finder(directory, modules),
        registry=codec.Registry.of_modules(modules),
        path=sys.path[:],
    )
    with _as_before():
        for _ in range(_TIMES):
            slave.run(prepared, directory, init_data.InitData(wu_name=_MODULE), codec.encode([0]))
            os.unlink(os.path.join(directory, slot.OUTPUT))


@contextlib.contextmanager
def _as_before() -> Iterator[None]:
    """Undo what makes a process a slave."""
    folder = os.getcwd()
    modules, path, finders, arguments = sys.modules.copy(), sys.path[:], sys.meta_path[:], sys.argv[:]
    try:
        yield
    finally:
        os.chdir(folder)
        sys.path[:], sys.meta_path[:], sys.argv[:] = path, finders, arguments
        for name in sys.modules.keys() - modules.keys():
            del sys.modules[name]
        sys.modules.update(modules)
