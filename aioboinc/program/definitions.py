"""Makes the piece of a program that defines a name of ``__main__``.

The name's present value decides what is sent: for a module, or something imported, the import; for a function or class,
its source text; for data, the value.
"""

from __future__ import annotations

import ast
import dataclasses
import types
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from aioboinc.program import bundle, importable, names, pieces, recorder, refusals, remade, stale, texts
from aioboinc.wire import codec

__all__ = ["Constant", "Definitions", "is_class_of_main"]


class Constant(NamedTuple):
    """Data that goes with the program."""

    data: bytes
    """Encoded."""
    modules: set[str]
    """The modules of the classes of objects in it."""


class Definitions:
    """The definitions in *namespace*, which is ``__main__``'s. Methods raise `errors.ProgramError` from *refusals*.

    *user* is the name of the piece that uses a name; it is empty for the called function.
    """

    def __init__(
        self, namespace: Mapping[str, Any], is_local: Callable[[str], bool], refusals: refusals.Refusals
    ) -> None:
        self.constants: dict[str, Constant] = {}
        """Those found so far, by name."""
        self._namespace = namespace
        self._is_local = is_local
        self._refusals = refusals
        self._texts = texts.Texts(namespace)

    @property
    def is_of_notebook(self) -> bool:
        """Whether they are in a notebook's cells."""
        return self._texts.is_notebook

    def of(self, name: str, user: str) -> pieces.Piece:
        """Return the piece for *name*."""
        value = self._namespace[name]
        bindings = list(self._texts.bindings(name))
        piece = self._imported(name, value, bindings, user)
        if piece is not None:
            return piece
        if isinstance(value, types.FunctionType) and value.__globals__ is self._namespace:
            if not (value.__closure__ or value.__name__ == "<lambda>" or hasattr(value, "__wrapped__")):
                return self.of_function(name, value, user)
        elif is_class_of_main(value):
            return self._of_class(name, value, user)
        refusal: codec.NotData | None = None
        try:
            return self._of_data(name, value, user)
        except codec.NotData as error:
            refusal = error
        piece = self._by_its_own_name(name, value, user) or self._remade(name, value, bindings, user)
        if piece is None:
            raise self._refusals.of_value(user, name, value, refusal, has_text=bool(bindings))
        return piece

    def of_function(self, name: str, function: types.FunctionType, user: str) -> pieces.Piece:
        """Return the piece for *function*, which *name* stands for."""
        text = self._texts.of_code(function.__code__)
        binding = text.definition(function.__code__) if text else None
        if text is None or binding is None:
            raise self._refusals.of_text(user, name, function.__code__)
        self._check_current(name, function, binding, user)
        own = function.__code__.co_name
        if own != name and self._namespace.get(own) is function:
            return _alias(name, own, binding)
        piece = _piece_of(name, text, binding.statement)
        if own == name:
            return piece
        return dataclasses.replace(piece, text=f"{piece.text}\n{name} = {own}", binds=frozenset((name, own)))

    def _imported(self, name: str, value: Any, bindings: list[texts.Binding], user: str) -> pieces.Piece | None:
        """Return the import that bound *name* to *value*, if there is one."""
        for binding in bindings:
            found = importable.statement(binding, name, value, self._namespace.get("__package__") or "")
            if found is not None:
                self._check_ours(name, found.module, user)
                if importable.is_conditional(binding.outer):
                    return _piece_of(name, binding.text, binding.outer, pieces.Rank.IMPORT)
                place = binding.text.filename, binding.statement.lineno
                return pieces.Piece(name, found.text, *place, pieces.Rank.IMPORT, module=found.module)
        for binding in bindings:
            if importable.is_conditional(binding.outer) and importable.is_literal(binding.statement, value):
                return _piece_of(name, binding.text, binding.outer, pieces.Rank.IMPORT)
        return self._by_its_own_name(name, value, user) if isinstance(value, types.ModuleType) else None

    def _by_its_own_name(self, name: str, value: Any, user: str) -> pieces.Piece | None:
        found = importable.find(name, value)
        if found is None:
            return None
        self._check_ours(name, found.module, user)
        return pieces.Piece(name, found.text, "", 0, pieces.Rank.IMPORT, module=found.module)

    def _check_ours(self, name: str, module: str, user: str) -> None:
        if module.partition(".")[0] == "aioboinc":
            raise self._refusals.of(user, name, "which hosts do not have", "only the master calls aioboinc")

    def _of_data(self, name: str, value: Any, user: str) -> pieces.Piece:
        """Return the piece that takes *value* from the program's constants. Raises codec.NotData."""
        known = recorder.Recorder(self._namespace, self._is_local)
        data = codec.encode(value, known, root=name)
        if len(data) > bundle.MAX_BYTES:
            trouble = f"of which each host would download {len(data) >> 20} MiB"
            raise self._refusals.of(user, name, trouble, "give each job its part of it as an argument")
        self.constants[name] = Constant(data, known.modules)
        needed = names.Names(defined=set(known.classes))
        text = f"{name} = pyboinc_constant({name!r})"
        return pieces.Piece(name, text, "", 0, pieces.Rank.CONSTANT, needed, frozenset((name,)))

    def _of_class(self, name: str, cls: type, user: str) -> pieces.Piece:
        own = cls.__qualname__
        binding = self._class_binding(cls)
        if binding is not None and isinstance(binding.statement, ast.ClassDef):
            self._check_current(name, cls, binding, user)
            if own == name:
                return _piece_of(name, binding.text, binding.statement)
            if self._namespace.get(own) is cls:
                return _alias(name, own, binding)
        elif binding is not None and remade.is_assignment(binding.statement, name):
            return _piece_of(name, binding.text, binding.statement)
        raise self._refusals.of_class(user, cls)

    def _check_current(self, name: str, value: Any, binding: texts.Binding, user: str) -> None:
        changed = stale.changed(binding.statement, value, self._namespace)
        if changed:
            trouble = f"{'which was ' if user else ''}defined when {changed} was not what it is now"
            raise self._refusals.of(user, name, trouble, "run again what defines it")

    def _class_binding(self, cls: type) -> texts.Binding | None:
        for function in _methods(cls):
            if function.__globals__ is self._namespace:
                text = self._texts.of_code(function.__code__)
                binding = text.class_around(function.__code__) if text else None
                if binding is not None and names.bound(binding.statement) == {cls.__qualname__}:
                    return binding
        for binding in self._texts.bindings(cls.__qualname__):
            if not isinstance(binding.statement, ast.ClassDef) or _fits(binding.statement, cls):
                return binding
        return None

    def _remade(self, name: str, value: Any, bindings: list[texts.Binding], user: str) -> pieces.Piece | None:
        """Return the statement that makes the value of *name*, if it makes the same on a host."""
        inner = remade.unwrapped(value)
        if inner is not None and inner.__globals__ is self._namespace:
            text = self._texts.of_code(inner.__code__)
            binding = text.definition(inner.__code__) if text else None
            bindings = [binding] if binding and _is_decorated(binding.statement, name) else bindings
        for binding in bindings:
            if _is_decorated(binding.statement, name) or remade.is_sent(binding, name, value, self._namespace):
                self._check_current(name, value, binding, user)
                return _piece_of(name, binding.text, binding.statement)
            if not (isinstance(value, types.FunctionType) and value.__name__ == "<lambda>"):
                break
        return None


def is_class_of_main(value: object) -> bool:
    """Say whether *value* is a class of ``__main__``."""
    return isinstance(value, type) and value.__module__ == "__main__"


def _piece_of(
    name: str, text: texts.Text, statement: ast.stmt, rank: int = pieces.Rank.DEFINITION
) -> pieces.Piece:
    source, line = text.source(statement)
    return pieces.Piece(
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


def _alias(name: str, own: str, binding: texts.Binding) -> pieces.Piece:
    """Return the piece that makes *name* another name of what is called *own*."""
    place = binding.text.filename, binding.statement.lineno
    needed = names.Names(defined={own})
    return pieces.Piece(name, f"{name} = {own}", *place, names=needed, binds=frozenset((name,)))


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
    """Tell whether *statement* may have made *cls*, which has no functions of its own."""
    there = {*vars(cls), *getattr(cls, "__annotations__", ()), *getattr(cls, "__members__", ())}
    expected = {name for inner in statement.body for name in names.bound(inner)}
    return all(name in there or f"_{cls.__name__.lstrip('_')}{name}" in there for name in expected)
