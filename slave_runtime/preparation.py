"""A program made ready to run: checked, unpacked and compiled once, for any number of jobs."""

from __future__ import annotations

import dataclasses
import os
import site
import sys
import types
from typing import List

from aioboinc.wire import codec

from . import importing, program_file

__all__ = ["Prepared", "prepare"]


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A program that is ready to run any number of jobs."""

    program: program_file.Program
    """Its files."""
    code: types.CodeType
    """The slave file, compiled."""
    finder: importing.Finder
    """Imports its modules."""
    registry: codec.Registry
    """The classes that may be in its inputs and outputs."""
    path: List[str]
    """``sys.path`` for the program."""

    def registry_of_call(self) -> codec.Registry:
        """Return the registry for one call of several: classes of ``__main__`` are others in each call."""
        return _registry(self.program) if "__main__" in self.program.modules else self.registry


def prepare(program: program_file.Program) -> Prepared:
    """Compile *program*. Raises program_file.Refused if this Python can't; OSError. Blocks."""
    try:
        code = importing.compile_file(os.path.join(program.root, *program.slave.split("/")))
    except (SyntaxError, ValueError, RecursionError) as error:
        version = sys.version.split()[0]
        raise program_file.Refused(f"Python {version} can't compile {program.slave}: {error}") from error
    return Prepared(
        program=program,
        code=code,
        finder=importing.Finder(program.root, program.modules),
        registry=_registry(program),
        path=[program.root, *_installed_path()],
    )


def _registry(program: program_file.Program) -> codec.Registry:
    return codec.Registry.of_modules(
        sorted(name for name, path in program.modules.items() if path != program.slave)
    )


def _installed_path() -> List[str]:
    """Return ``sys.path`` without the runtime's archive, the working directory and the user's packages."""
    unwanted = {os.path.realpath(path) for path in (os.getcwd(), site.getusersitepackages())}
    if not (sys.flags.isolated or getattr(sys.flags, "safe_path", False)):
        unwanted.add(os.path.realpath(sys.path[0]))
    return [path for path in sys.path if path and os.path.realpath(path) not in unwanted]
