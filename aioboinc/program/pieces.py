"""The pieces of ``__main__`` that a function needs: imports, constants, classes, functions, and their order.

A name is looked up in the namespace as it is now, and its value says what is sent: of a module or what was imported
the import, of a function or class the text that it was made from, of data the value.
"""

from __future__ import annotations

import ast
import dataclasses
import graphlib
import sys
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from aioboinc import errors
from aioboinc.program import importable, names, remade, texts
from aioboinc.wire import codec

__all__ = ["PROVIDED", "Piece", "Selection"]

PROVIDED = {
    "pyboinc_get_input",
    "pyboinc_return_output",
    "pyboinc_fraction_done",
    "pyboinc_checkpoint",
    "pyboinc_restore",
}
"""What every program has on a host."""
_IMPORT, _CONSTANT, _DEFINITION = range(3)


@dataclass(frozen=True)
class Piece:
    """Some lines of the program."""

    name: str
    """The name for which it is there."""
    text: str
    filename: str
    """Where it comes from."""
    line: int
    """The number of its first line there, from 1."""
    rank: int = _DEFINITION
    """Of pieces that could have any order the one with the lower rank is first."""
    names: names.Names = dataclasses.field(default_factory=names.Names)
    """What it needs."""
    binds: frozenset[str] = frozenset()
    """Names that no other piece may bind."""
    chains: Mapping[str, set[tuple[str, ...]]] = dataclasses.field(default_factory=dict)
    """What it takes from modules."""
    future: bool = False
    """Its annotations were not evaluated."""
    module: str = ""
    """The module that it imports."""

    @property
    def key(self) -> tuple[str, int, str]:
        """What tells it from others."""
        return self.filename, self.line, self.text


class Selection:
    """What *function*, in words, needs of *namespace*, that of ``__main__``.

    Raises `errors.ProgramError` for what can't be sent. *is_local* says whether a module goes to hosts with the
    program.
    """

    def __init__(self, function: str, namespace: Mapping[str, Any], is_local: Callable[[str], bool]) -> None:
        self.constants: dict[str, bytes] = {}
        """Values, encoded, by name."""
        self.modules: set[str] = set()
        """The modules of the classes of objects in them."""
        self._function = function
        self._namespace = namespace
        self._is_local = is_local
        self._texts = texts.Texts(namespace)
        self._pieces: dict[str, Piece] = {}

    @property
    def is_of_notebook(self) -> bool:
        """Whether the pieces come from cells."""
        return self._texts.is_notebook

    @property
    def classes(self) -> frozenset[str]:
        """The names of the classes."""
        return frozenset(name for name in self._pieces if is_class_of_main(self._namespace.get(name)))

    def add_function(self, function: types.FunctionType) -> str:
        """Add *function*, which is under no name in the namespace, with what it needs; return its name."""
        name = function.__name__
        piece = self._function_piece(name, function, "")
        self._pieces[name] = piece
        self._add_needs(piece)
        return name

    def add(self, name: str) -> None:
        """Add what *name* stands for, and what that needs."""
        self._add([(name, "")])

    def _add_needs(self, piece: Piece) -> None:
        self._check_written(piece)
        self._add([(needed, piece.name) for needed in piece.names.defined | piece.names.called])

    def _add(self, wanted: list[tuple[str, str]]) -> None:
        """Add what names stand for, each wanted by the piece of another name."""
        waiting = sorted(wanted)
        while waiting:
            name, user = waiting.pop(0)
            if name in self._pieces or not self._is_sent(name):
                continue
            piece = self._pieces[name] = self._piece(name, self._namespace[name], user)
            self._check_written(piece)
            waiting += sorted((needed, piece.name) for needed in piece.names.defined | piece.names.called)

    def add_annotated(self) -> None:
        """Add what is only in annotations as far as it can be sent: some look at annotations later."""
        tried: set[str] = set()
        while wanted := {name for piece in self._pieces.values() for name in piece.names.annotated} - tried:
            tried |= wanted
            for name in sorted(wanted - set(self._pieces)):
                before = dict(self._pieces), dict(self.constants), set(self.modules)
                try:
                    self._add([(name, "")])
                    is_wanted = all(self._is_cheap(self._pieces[new]) for new in self._pieces.keys() - before[0])
                except errors.ProgramError:
                    is_wanted = False
                if not is_wanted:
                    self._pieces, self.constants, self.modules = before

    def _is_cheap(self, piece: Piece) -> bool:
        """Say whether hosts have what *piece* imports in any case."""
        top = piece.module.partition(".")[0]
        if not top:
            return piece.rank != _IMPORT
        return top in sys.stdlib_module_names or self._is_local(top)

    def ordered(self) -> list[Piece]:
        """Return the pieces, each after those that it needs; in one order, wherever they come from."""
        pieces = {piece.key: piece for piece in self._pieces.values()}
        for piece in self._submodules():
            pieces.setdefault(piece.key, piece)
        keys = {name: piece.key for name, piece in self._pieces.items()}
        self._check_bound(pieces.values())
        direct = {
            key: {keys[name] for name in piece.names.defined | piece.names.called if name in keys} - {key}
            for key, piece in pieces.items()
        }
        at_once = {
            key: {keys[name] for name in piece.names.defined if name in keys} for key, piece in pieces.items()
        }
        reach = {key: _reach(key, direct) for key in pieces}
        # Those that need each other when they are called have the order in which they can be defined.
        before = {
            key: {other for other in direct[key] if key not in reach[other] or other in at_once[key]}
            for key in pieces
        }
        sorter = graphlib.TopologicalSorter(before)
        try:
            sorter.prepare()
        except graphlib.CycleError as error:
            circle = sorted({pieces[key].name for key in error.args[1]})
            raise self._refused("", f"{' and '.join(circle)} each need the other one to be defined", "") from None
        found: list[Piece] = []
        ready: list[Piece] = []
        while sorter.is_active():
            ready = sorted(
                [*ready, *(pieces[key] for key in sorter.get_ready())],
                key=lambda piece: (piece.rank, piece.name, piece.key),
            )
            found.append(ready.pop(0))
            sorter.done(found[-1].key)
        return found

    def _submodules(self) -> Iterable[Piece]:
        """Yield imports of the submodules that are used as attributes of packages."""
        for piece in list(self._pieces.values()):
            for name, attributes in piece.chains.items():
                module = self._namespace.get(name)
                imported = self._pieces.get(name)
                if not isinstance(module, types.ModuleType) or imported is None or not imported.module:
                    continue
                for chain in attributes:
                    path = importable.submodule(imported.module, chain)
                    if path != imported.module:
                        yield Piece(path, f"import {path}", imported.filename, imported.line, _IMPORT, module=path)

    def _check_bound(self, pieces: Iterable[Piece]) -> None:
        owners: dict[str, Piece] = {}
        for piece in pieces:
            for name in piece.binds:
                if owners.setdefault(name, piece) is not piece:
                    raise self._refused(
                        "",
                        f"there are two things with the name {name}, of which one was replaced by the other",
                        "give each its own name, or run the cells again in which the older one is used",
                    )

    def _check_written(self, piece: Piece) -> None:
        if piece.names.written:
            name = min(piece.names.written)
            raise self._refused(
                piece.name,
                f"assigns to the global name {name}",
                "return the value: each job has a process of its own",
            )

    def _is_sent(self, name: str) -> bool:
        is_pythons = name.startswith("__") and name.endswith("__")
        return name in self._namespace and name not in PROVIDED and not is_pythons

    def _piece(self, name: str, value: Any, user: str) -> Piece:
        bindings = list(self._texts.bindings(name))
        piece = self._imported(name, value, bindings, user)
        if piece is not None:
            return piece
        if isinstance(value, types.FunctionType) and value.__globals__ is self._namespace:
            if not (value.__closure__ or value.__name__ == "<lambda>" or hasattr(value, "__wrapped__")):
                return self._function_piece(name, value, user)
        elif is_class_of_main(value):
            return self._class_piece(name, value, user)
        refusal: codec.NotData | None = None
        recorder = Recorder(self._namespace, self._is_local)
        try:
            data = codec.encode(value, recorder, root=name)
        except codec.NotData as error:
            refusal = error
        else:
            self.constants[name] = data
            self.modules |= recorder.modules
            needed = names.Names(defined=set(recorder.classes))
            text = f"{name} = pyboinc_constant({name!r})"
            return Piece(name, text, "", 0, _CONSTANT, needed, frozenset((name,)))
        piece = self._by_its_own_name(name, value, user) or self._from_text(name, value, bindings)
        if piece is None:
            raise self._refused(user, f"uses {self._what(name, value, refusal)}", self._remedy(value, user))
        return piece

    def _imported(self, name: str, value: Any, bindings: list[texts.Binding], user: str) -> Piece | None:
        """Return the import statement that has bound *name* to *value*, if it is one."""
        for binding in bindings:
            found = importable.statement(binding, name, value, self._namespace.get("__package__") or "")
            if found is None:
                continue
            self._check_ours(name, found.module, user)
            line = binding.statement.lineno
            if importable.is_conditional(binding.outer):
                return self._piece_of(name, binding.text, binding.outer, rank=_IMPORT)
            return Piece(name, found.text, binding.text.filename, line, _IMPORT, module=found.module)
        for binding in bindings:
            if importable.is_conditional(binding.outer) and importable.is_literal(binding.statement, value):
                return self._piece_of(name, binding.text, binding.outer, rank=_IMPORT)
        if isinstance(value, types.ModuleType):
            return self._by_its_own_name(name, value, user)
        return None

    def _by_its_own_name(self, name: str, value: Any, user: str) -> Piece | None:
        found = importable.find(name, value)
        if found is None:
            return None
        self._check_ours(name, found.module, user)
        return Piece(name, found.text, "", 0, _IMPORT, module=found.module)

    def _check_ours(self, name: str, module: str, user: str) -> None:
        if module.partition(".")[0] == "aioboinc":
            raise self._refused(
                user, f"uses {name} of aioboinc", "hosts have no aioboinc: only the master calls it"
            )

    def _function_piece(self, name: str, function: types.FunctionType, user: str) -> Piece:
        code = function.__code__
        text = self._texts.of_code(code)
        binding = text.definition(code) if text else None
        if text is None or binding is None:
            raise self._refused(
                user,
                f"uses {name}, whose text can't be found, or has changed"
                if user
                else "its text can't be found, or has changed",
                f"put it into a file, and run the program again if {code.co_filename} has changed since",
            )
        own = code.co_name
        if own == name:
            return self._piece_of(name, text, binding.statement)
        if self._namespace.get(own) is function:
            return self._alias(name, own, text, binding)
        piece = self._piece_of(name, text, binding.statement)
        return dataclasses.replace(piece, text=f"{piece.text}\n{name} = {own}", binds=frozenset((name, own)))

    def _alias(self, name: str, own: str, text: texts.Text, binding: texts.Binding) -> Piece:
        line = binding.statement.lineno
        return Piece(
            name,
            f"{name} = {own}",
            text.filename,
            line,
            names=names.Names(defined={own}),
            binds=frozenset((name,)),
        )

    def _class_piece(self, name: str, cls: type, user: str) -> Piece:
        own = cls.__qualname__
        binding = self._class_binding(cls)
        if binding is not None and isinstance(binding.statement, ast.ClassDef):
            if own == name:
                return self._piece_of(name, binding.text, binding.statement)
            if self._namespace.get(own) is cls:
                return self._alias(name, own, binding.text, binding)
        elif binding is not None and remade.is_assignment(binding.statement, name):
            return self._piece_of(name, binding.text, binding.statement)
        trouble = (
            f"class {own}, which is defined in a function"
            if "." in own
            else f"class {own}, which was defined again since, or whose text can't be found"
        )
        raise self._refused(
            user,
            f"uses {trouble}",
            "define it at the top level"
            if "." in own
            else "run again what uses the old one, or put it into a module",
        )

    def _class_binding(self, cls: type) -> texts.Binding | None:
        for function in _methods(cls):
            if function.__globals__ is self._namespace:
                text = self._texts.of_code(function.__code__)
                binding = text.class_around(function.__code__) if text else None
                if binding is not None and binding.statement.name == cls.__qualname__:  # type: ignore[attr-defined]
                    return binding
        for binding in self._texts.bindings(cls.__qualname__):
            if not isinstance(binding.statement, ast.ClassDef) or _fits(binding.statement, cls):
                return binding
        return None

    def _from_text(self, name: str, value: Any, bindings: list[texts.Binding]) -> Piece | None:
        """Return the statement that makes what *name* stands for, if doing so again on a host makes the same."""
        inner = remade.unwrapped(value)
        if inner is not None and inner.__globals__ is self._namespace:
            text = self._texts.of_code(inner.__code__)
            binding = text.definition(inner.__code__) if text else None
            bindings = [binding] if binding and _is_decorated(binding.statement, name) else bindings
        for binding in bindings:
            if _is_decorated(binding.statement, name) or remade.is_sent(binding, name, value, self._namespace):
                return self._piece_of(name, binding.text, binding.statement)
            if not (isinstance(value, types.FunctionType) and value.__name__ == "<lambda>"):
                return None
        return None

    def _piece_of(self, name: str, text: texts.Text, statement: ast.stmt, rank: int = _DEFINITION) -> Piece:
        source, line = text.source(statement)
        return Piece(
            name,
            source,
            text.filename,
            line,
            rank,
            names.of(statement, future=text.future),
            frozenset((name,)),
            names.chains(statement),
            text.future,
        )

    def _what(self, name: str, value: Any, refusal: codec.NotData | None) -> str:
        kind = type(value)
        if isinstance(value, types.FunctionType):
            if value.__closure__:
                return f"{name}, a closure over {', '.join(value.__code__.co_freevars)}"
            return (
                f"{name}, a {'lambda' if value.__name__ == '<lambda>' else 'function'} whose text can't be found"
            )
        if isinstance(value, types.ModuleType):
            return f"{name}, a module that can't be imported by its name"
        if refusal is not None and refusal.path != name:
            return f"{name}, which is not data: {refusal}"
        where = "" if kind.__module__ in ("builtins", "__main__") else f"{kind.__module__}."
        return f"{name}, which is not data: an object of class {where}{kind.__qualname__}"

    def _remedy(self, value: Any, user: str) -> str:
        if isinstance(value, types.FunctionType):
            return "write it with def, at the top level"
        if isinstance(value, types.ModuleType):
            return "import it from a file"
        return f"make it inside {user or self._function}, or give what is in it as an argument"

    def _refused(self, user: str, trouble: str, remedy: str) -> errors.ProgramError:
        subject = "it " if not user or user == self._function else f"{user}, which it needs, "
        if not trouble.startswith(("uses ", "assigns ")):
            subject = ""
        return errors.ProgramError(
            f"{self._function} can't be sent to hosts: {subject}{trouble}{f': {remedy}' if remedy else ''}"
        )


class Recorder(codec.Registry):
    """All classes that may be sent, and which of them were."""

    def __init__(self, namespace: Mapping[str, Any], is_local: Callable[[str], bool]) -> None:
        super().__init__()
        self.classes: set[str] = set()
        """The names of those of ``__main__``."""
        self.modules: set[str] = set()
        """The modules of all."""
        self._namespace = namespace
        self._is_local = is_local

    def find(self, module: str, name: str) -> type:
        found: Any = None
        if module == "__main__":
            found = self._namespace.get(name)
        elif self._is_local(module):
            found = vars(sys.modules[module]).get(name)
        if not isinstance(found, type) or (found.__module__, found.__qualname__) != (module, name):
            raise LookupError(f"class {name!r} of module {module!r} is not one of the program's")
        self.modules.add(module)
        if module == "__main__":
            self.classes.add(name)
        return found

    def has_module(self, module: str) -> bool:
        return module == "__main__" or self._is_local(module)


def is_class_of_main(value: object) -> bool:
    """Say whether *value* is a class of ``__main__``."""
    return isinstance(value, type) and value.__module__ == "__main__"


def _reach(start: Any, direct: Mapping[Any, set[Any]]) -> set[Any]:
    found: set[Any] = set()
    waiting = [start]
    while waiting:
        for other in direct[waiting.pop()] - found:
            found.add(other)
            waiting.append(other)
    return found


def _is_decorated(statement: ast.stmt, name: str) -> bool:
    return (
        isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        and statement.name == name
        and bool(statement.decorator_list)
    )


def _methods(cls: type) -> Iterable[types.FunctionType]:
    for value in list(vars(cls).values()):
        for attribute in (value, *(getattr(value, part, None) for part in ("__func__", "fget", "func"))):
            function = remade.unwrapped(attribute)
            if function is not None and function.__qualname__.startswith(f"{cls.__qualname__}."):
                yield function


def _fits(statement: ast.ClassDef, cls: type) -> bool:
    """Say whether *cls*, which has no functions, may have been made by *statement*."""
    there = {*vars(cls), *getattr(cls, "__annotations__", ()), *getattr(cls, "__members__", ())}
    expected = {name for inner in statement.body for name in names.bound(inner)}
    return all(name in there or f"_{cls.__name__.lstrip('_')}{name}" in there for name in expected)
