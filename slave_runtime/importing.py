"""Imports of a program's modules, compiled once and run anew in every job."""

from __future__ import annotations

import ast
import contextlib
import importlib.machinery
import importlib.util
import os
import types
from typing import Any, Callable, Dict, Mapping, Optional, Sequence, Set

__all__ = ["Finder", "compile_file", "importer", "named"]

_MACHINERY = ("importlib", "pkgutil")


def compile_file(path: str) -> types.CodeType:
    """Compile a Python file. Raises OSError, SyntaxError, ValueError."""
    with open(path, "rb") as file:
        return compile(file.read(), path, "exec", dont_inherit=True)


def named(root: str, slave: str, modules: Mapping[str, str]) -> Set[str]:
    """Return the first parts of the modules' names that a program's files import by name, own and installed ones."""
    found: Set[str] = set()
    for relative in {slave, *modules.values()}:
        try:
            with open(os.path.join(root, *relative.split("/")), "rb") as file:
                tree = ast.parse(file.read())
        except (OSError, SyntaxError, ValueError, RecursionError):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                found.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                found.add(node.module)
            elif isinstance(node, ast.Call) and _function(node) in ("import_module", "__import__"):
                found.update(
                    argument.value
                    for argument in [*node.args[:1], *(keyword.value for keyword in node.keywords)]
                    if isinstance(argument, ast.Constant) and isinstance(argument.value, str)
                )
    return {name.partition(".")[0] for name in found}


def importer(trace: Optional[types.TracebackType]) -> str:
    """Return the file of the innermost frame of *trace* that is not of Python's own import machinery."""
    file = ""
    while trace is not None:
        name = trace.tb_frame.f_globals.get("__name__")
        if not (isinstance(name, str) and name.partition(".")[0] in _MACHINERY):
            file = trace.tb_frame.f_code.co_filename
        trace = trace.tb_next
    return file


def _function(call: ast.Call) -> str:
    """Return the last part of the name of the function that is called."""
    function = call.func
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


class Finder:
    """Finds the modules of one program, in front of all others; for ``sys.meta_path``.

    *modules* are paths relative to the directory *root*, by dotted name. Modules that this Python can't compile
    are left to fail where they are imported.
    """

    def __init__(self, root: str, modules: Mapping[str, str]) -> None:
        self._specs: Dict[str, Optional[importlib.machinery.ModuleSpec]] = {}
        for name, relative in modules.items():
            path = os.path.join(root, *relative.split("/"))
            folders = [os.path.dirname(path)] if os.path.basename(path) == "__init__.py" else None
            self._specs[name] = importlib.util.spec_from_file_location(
                name, path, loader=_Loader(name, path), submodule_search_locations=folders
            )

    def find_spec(
        self, name: str, path: Optional[Sequence[str]] = None, target: Optional[types.ModuleType] = None
    ) -> Optional[importlib.machinery.ModuleSpec]:
        """Return the spec of module *name*, None if it is not the program's (the finder protocol)."""
        return self._specs.get(name)

    def watch(self, around: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
        """Run the modules from now on with what *around* makes of the functions that do it."""
        for spec in self._specs.values():
            loader: Any = spec.loader if spec is not None else None
            if loader is not None:
                loader.exec_module = around(loader.exec_module)


class _Loader(importlib.machinery.SourceFileLoader):
    """Gives out the code that was compiled before, and never writes any."""

    def __init__(self, name: str, path: str) -> None:
        super().__init__(name, path)
        self._code: Optional[types.CodeType] = None
        with contextlib.suppress(SyntaxError, ValueError, RecursionError):
            self._code = compile_file(path)

    def get_code(self, fullname: str) -> Optional[types.CodeType]:
        return self._code or compile_file(self.path)
