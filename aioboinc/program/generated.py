"""Programs made of generated text and the user's modules, and where these modules are."""

from __future__ import annotations

import functools
import os
import site
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from aioboinc import errors
from aioboinc.program import bundle, local_modules
from aioboinc.slave_runtime import program_file
from aioboinc.wire import codec

__all__ = ["Main", "bundled", "locality", "root"]

_CONSTANTS = "pyboinc-constants"


@dataclass(frozen=True)
class Main:
    """What is ``__main__`` on the host."""

    filename: str
    """The file name that tracebacks show."""
    text: str
    origins: Sequence[tuple[str, int]] = ()
    """As in `bundle.Sources`."""
    classes: frozenset[str] = frozenset()
    """As in `bundle.Sources`."""
    constants: Mapping[str, bytes] = field(default_factory=dict)
    """Encoded, by name."""
    modules: frozenset[str] = frozenset()
    """The modules of the classes of objects in these."""


def bundled(
    called: str,
    modules: Iterable[str],
    main: Main | None,
    folder: Path,
    include: Sequence[str | Path],
    place: Callable[[str, int], str],
) -> bundle.Sources:
    """Return the program that calls the value of the expression *called*, in *main*.

    It imports *modules*. These and *include* are in *folder*, as for `bundle.collect`. *place* maps the path and line
    of a generated file to where the line comes from. Blocks; raises `errors.ProgramError`.
    """
    files = {program_file.GENERATED: _slave(called, modules, main).encode()}
    if main is not None:
        files[main.filename] = main.text.encode("utf-8", "surrogatepass")
        if main.constants:
            files[_CONSTANTS] = codec.encode(dict(sorted(main.constants.items())))
    collector = bundle.Collector(folder / program_file.GENERATED, place)
    collector.add(files, {"__main__": main.filename} if main is not None else {})
    for item in include:
        collector.include(item)
    for name, path in collector.modules.items():
        if path in files and name != "__main__":
            raise errors.ProgramError(
                f"{folder / path}: a module of the program imports {name}, but that is the program that makes the "
                "calls: move what both need into a module of its own"
            )
    if main is None:
        return collector.sources(program_file.GENERATED)
    return collector.sources(program_file.GENERATED, main.classes, main.origins)


def locality(folder: Path) -> Callable[[str], bool]:
    """Return a function that tells whether a module, by its dotted name, is bundled with programs in *folder*."""
    local = local_modules.LocalModules(folder)

    @functools.cache
    def is_local(top: str) -> bool:
        try:
            return local.top(top) is not None
        except local_modules.Missing:
            return False

    return lambda name: is_local(name.partition(".")[0])


def root(name: str, folder: Path) -> Path | None:
    """Return the folder that the loaded module *name* was imported from; None if hosts have it installed.

    *folder* is that of the running program.
    """
    top = name.partition(".")[0]
    module = sys.modules[top]
    file = getattr(module, "__file__", None)
    packages = list(getattr(module, "__path__", ()))
    found = os.path.dirname(packages[0] if packages else file or "")
    if not found:
        return None
    spec = local_modules.LocalModules(folder).installed(top)
    if spec is not None:
        is_of_python = top in sys.stdlib_module_names and spec.origin in {"frozen", "built-in"}
        if is_of_python or spec.origin == file:
            return None
    # A module installed for this user only is not bundled either; collecting the program refuses it.
    return folder if os.path.abspath(found) == os.path.abspath(site.getusersitepackages()) else Path(found)


def _slave(called: str, modules: Iterable[str], main: Main | None) -> str:
    """Return the slave file. It defines no global names that don't begin with pyboinc."""
    lines = ['"""Calls a function; written by aioboinc."""', ""]
    if main is not None and main.constants:
        lines += [
            "",
            "def pyboinc_constant(name, _read=[]):",
            "    from aioboinc.wire import codec",
            "    if not _read:",
            f"        with open(__file__[: -len({program_file.GENERATED!r})] + {_CONSTANTS!r}, 'rb') as file:",
            f"            _read[:] = codec.decode(file.read()), codec.Registry.of_modules({sorted(main.modules)!r})",
            "    constants, registry = _read",
            "    codec.import_packages(constants[name])",
            "    return codec.decode(constants[name], registry)",
            "",
        ]
    lines += [f'__import__("{module}")' for module in modules]
    if main is not None:
        lines.append('exec(__import__("sys").meta_path[0].find_spec("__main__").loader.get_code("__main__"))')
    lines += [
        "",
        "def pyboinc_call_function(function):",
        "    args, kwargs = pyboinc_get_input()",
        "    pyboinc_return_output(function(*args, **kwargs))",
        "",
        f"pyboinc_call_function({called})",
        "",
    ]
    return "\n".join(lines)
