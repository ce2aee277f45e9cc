"""Selects what a function needs of ``__main__``: the pieces for all names that it uses, directly or not."""

from __future__ import annotations

import builtins
import inspect
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from aioboinc import errors
from aioboinc.program import definitions, importable, pieces, refusals

__all__ = ["Selection"]

_PROVIDED = {
    "pyboinc_get_input",
    "pyboinc_return_output",
    "pyboinc_fraction_done",
    "pyboinc_checkpoint",
    "pyboinc_restore",
}
"""Names that every program has on a host."""


class Selection:
    """What *function*, described in words, needs of *namespace*, which is ``__main__``'s.

    *is_local* tells whether a module goes to hosts with the program. The methods raise `errors.ProgramError` for what
    can't be sent.
    """

    def __init__(self, function: str, namespace: Mapping[str, Any], is_local: Callable[[str], bool]) -> None:
        self._function = function
        self._namespace = namespace
        self._is_local = is_local
        self._refusals = refusals.Refusals(function, namespace)
        self._definitions = definitions.Definitions(namespace, is_local, self._refusals)
        self._pieces: dict[str, pieces.Piece] = {}

    @property
    def is_of_notebook(self) -> bool:
        """Whether the pieces come from cells."""
        return self._definitions.is_of_notebook

    @property
    def classes(self) -> frozenset[str]:
        """The names of the classes."""
        return frozenset(name for name in self._pieces if definitions.is_class_of_main(self._namespace.get(name)))

    @property
    def constants(self) -> dict[str, bytes]:
        """The constants by name, encoded."""
        found = self._definitions.constants
        return {name: found[name].data for name in self._pieces if name in found}

    @property
    def modules(self) -> set[str]:
        """The modules of the classes of objects in the constants."""
        found = self._definitions.constants
        return {module for name in self._pieces if name in found for module in found[name].modules}

    def add(self, name: str, function: types.FunctionType | None = None) -> None:
        """Add the value of *name*, or *function* if given, and what it needs."""
        if function is not None:
            piece = self._definitions.of_function(name, function, "")
            self._put(name, piece)
            self._add(_needs(piece))
        else:
            self._add([(name, "")])

    def add_annotated(self) -> None:
        """Add names used only in annotations, if hosts can have them: dataclasses and others read annotations."""
        tried: set[str] = set()
        while wanted := {name for piece in self._pieces.values() for name in piece.names.annotated} - tried:
            tried |= wanted
            for name in sorted(wanted - self._pieces.keys()):
                before = dict(self._pieces)
                try:
                    self._add([(name, self._function)])
                    is_wanted = all(self._is_cheap(self._pieces[new]) for new in self._pieces.keys() - before)
                except errors.ProgramError:
                    is_wanted = False
                if not is_wanted:
                    self._pieces = before

    def ordered(self) -> list[pieces.Piece]:
        """Return the pieces in the order that they have in the program."""
        try:
            return pieces.ordered(self._pieces, self._submodules())
        except pieces.Twice as error:
            trouble = f"it needs two things that are called {error}, of which one has replaced the other"
            remedy = "give them different names, or run again what uses the older one"
            raise refusals.refused(self._function, trouble, remedy) from None
        except pieces.Circle as error:
            trouble = f"of {' and '.join(error.args)} each needs the other one to be defined"
            raise refusals.refused(self._function, trouble, "run again what defines them") from None

    def _add(self, wanted: list[tuple[str, str]]) -> None:
        """Add the values of names; each comes with the name of the piece that wants it."""
        waiting = list(wanted)
        while waiting:
            name, user = waiting.pop(0)
            if name not in self._namespace or name == "get_ipython":
                self._check_builtin(name, user)
            if name not in self._pieces and self._is_sent(name):
                piece = self._definitions.of(name, user)
                self._put(name, piece)
                waiting += _needs(piece)

    def _check_builtin(self, name: str, user: str) -> None:
        module = getattr(getattr(builtins, name, None), "__module__", None) or ""
        if name == "get_ipython" or module.partition(".")[0] == "IPython":
            raise self._refusals.of(
                user, name, "which only a notebook has", "leave what is for display, and magics, out"
            )

    def _put(self, name: str, piece: pieces.Piece) -> None:
        if piece.names.written:
            raise self._refusals.of_writing(piece.name, min(piece.names.written))
        self._pieces[name] = piece

    def _is_sent(self, name: str) -> bool:
        is_pythons = name.startswith("__") and name.endswith("__")
        return name in self._namespace and name not in _PROVIDED and not is_pythons and not self._is_builtin(name)

    def _is_builtin(self, name: str) -> bool:
        """Tell whether *name* is a builtin that the notebook has wrapped, such as ``open``."""
        value = self._namespace[name]
        around = getattr(value, "__globals__", {}).get("__name__", "")
        return around.partition(".")[0] == "IPython" and inspect.unwrap(value) is getattr(builtins, name, None)

    def _is_cheap(self, piece: pieces.Piece) -> bool:
        """Tell whether hosts have what *piece* imports in any case."""
        if not piece.module:
            return piece.rank != pieces.Rank.IMPORT
        return piece.module.partition(".")[0] in sys.stdlib_module_names or self._is_local(piece.module)

    def _submodules(self) -> Iterator[pieces.Piece]:
        """Yield imports of the submodules that are used as attributes of packages."""
        for piece in self._pieces.values():
            for name, attributes in piece.chains.items():
                package = self._pieces.get(name)
                if (
                    package is None
                    or not package.module
                    or not isinstance(self._namespace[name], types.ModuleType)
                ):
                    continue
                for module in {importable.submodule(package.module, chain) for chain in attributes} - {
                    package.module
                }:
                    yield pieces.Piece(
                        module,
                        f"import {module}",
                        package.filename,
                        package.line,
                        pieces.Rank.IMPORT,
                        module=module,
                    )


def _needs(piece: pieces.Piece) -> list[tuple[str, str]]:
    return sorted((name, piece.name) for name in piece.names.defined | piece.names.called)
