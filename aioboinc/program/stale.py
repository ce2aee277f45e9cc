"""Finds definitions that used global names whose values have changed since.

Defaults, bases and attributes of classes were evaluated when the definition ran. A host runs it with the present values
of the names; if these differ, it would compute something else than here.
"""

from __future__ import annotations

import ast
import types
from collections.abc import Iterator, Mapping
from typing import Any

from aioboinc.program import names, remade

__all__ = ["changed"]

_MISSING = object()


def changed(statement: ast.stmt, value: Any, namespace: Mapping[str, Any]) -> str:
    """Return what the definition *statement* of *value* used and has changed since; empty if nothing is known.

    *namespace* has the values of global names.
    """
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
        parts = _of_function(statement, value)
    elif isinstance(statement, ast.ClassDef) and isinstance(value, type):
        parts = _of_class(statement, value)
        for base in statement.bases:
            now = namespace.get(base.id) if isinstance(base, ast.Name) else None
            if isinstance(now, type) and now.__module__ == "__main__" and now not in value.__mro__:
                return ast.unparse(base)
    else:
        return ""
    for expression, taken in parts:
        if taken is not _MISSING and remade.differs(expression, taken, namespace):
            return ast.unparse(expression)
    return ""


def _of_function(statement: ast.FunctionDef | ast.AsyncFunctionDef, value: Any) -> Iterator[tuple[ast.expr, Any]]:
    """Yield the defaults, as text and value."""
    function = remade.unwrapped(value)
    if not isinstance(function, types.FunctionType) or function.__name__ != statement.name:
        return
    arguments = statement.args
    positional = function.__defaults__ or ()
    if len(positional) == len(arguments.defaults):
        yield from zip(arguments.defaults, positional, strict=True)
    keywords = function.__kwdefaults__ or {}
    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        if default is not None:
            yield default, keywords.get(argument.arg, _MISSING)


def _of_class(statement: ast.ClassDef, cls: type) -> Iterator[tuple[ast.expr, Any]]:
    """Yield what the class body takes from outside: attributes and the defaults of methods."""
    own = {name for inner in statement.body for name in names.bound(inner)}
    for inner in statement.body:
        parts: list[tuple[ast.expr, Any]] = []
        match inner:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                found = vars(cls).get(inner.name)
                parts += _of_function(inner, getattr(found, "__func__", found))
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                parts.append((value, vars(cls).get(name, _MISSING)))
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                parts.append((value, vars(cls).get(name, _MISSING)))
        for expression, taken in parts:
            used = {node.id for node in ast.walk(expression) if isinstance(node, ast.Name)}
            if not used & own:
                yield expression, taken
