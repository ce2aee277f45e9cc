"""Values that are not data, and are made again on the host by the statement that made them here."""

from __future__ import annotations

import ast
import functools
import inspect
import logging
import operator
import pathlib
import re
import struct
import types
import typing
from collections.abc import Mapping
from typing import Any

from aioboinc.program import texts
from aioboinc.wire import codec

__all__ = ["differs", "is_assignment", "is_sent", "unwrapped"]

_KINDS: tuple[type, ...] = (
    re.Pattern,
    struct.Struct,
    logging.Logger,
    pathlib.PurePath,
    functools.partial,
    operator.attrgetter,
    operator.itemgetter,
    operator.methodcaller,
    typing.TypeVar,
    typing.ParamSpec,
    typing.NewType,
    *(getattr(typing, name) for name in ("TypeAliasType", "TypeVarTuple") if hasattr(typing, name)),
)
"""Values that are determined by what they were made from."""
_OF_NUMPY = {"dtype", "ufunc", "vectorize"}
_SAFE = (
    *(ast.Constant, ast.Name, ast.Attribute, ast.Load, ast.Subscript, ast.Slice, ast.Starred, ast.keyword),
    *(ast.Tuple, ast.List, ast.Set, ast.Dict, ast.UnaryOp, ast.unaryop, ast.BinOp, ast.operator),
)
"""Parts of expressions that only combine existing values."""


_UNKNOWN = object()


def is_assignment(statement: ast.stmt, name: str) -> bool:
    """Tell whether *statement* assigns only to *name*, an expression that does not contain *name*."""
    match statement:
        case ast.Assign(targets=[ast.Name(id=target)], value=value):
            pass
        case ast.AnnAssign(target=ast.Name(id=target), value=ast.expr() as value):
            pass
        case _:
            return type(statement).__name__ == "TypeAlias" and statement.name.id == name  # type: ignore[attr-defined]
    return target == name and not any(isinstance(node, ast.Name) and node.id == name for node in ast.walk(value))


def is_sent(binding: texts.Binding, name: str, value: Any, namespace: Mapping[str, Any]) -> bool:
    """Tell whether the statement of *binding* makes *value* for *name* on a host, as it does here."""
    statement = binding.statement
    if not is_assignment(statement, name):
        return False
    expression: ast.expr | None = getattr(statement, "value", None)
    if isinstance(value, types.FunctionType) and value.__name__ == "<lambda>":
        return isinstance(expression, ast.Lambda) and expression.lineno == value.__code__.co_firstlineno
    kind = type(value)
    if isinstance(value, _KINDS) or (kind.__module__.partition(".")[0] == "numpy" and kind.__name__ in _OF_NUMPY):
        return True
    inner = unwrapped(value)
    if inner is not None and inner is not value:  # a decorator was called
        return True
    return expression is not None and _gives(expression, value, namespace)


def unwrapped(value: Any) -> types.FunctionType | None:
    """Return the function that decorators, even of packages, have wrapped; *value* itself if it is a function."""
    seen: set[int] = set()
    while value is not None and id(value) not in seen:
        seen.add(id(value))
        inner = inspect.getattr_static(value, "__wrapped__", None)
        for attribute in ("py_func", "pyfunc"):  # numba's, numpy's
            inner = inner or getattr(value, "__dict__", {}).get(attribute)
        if inner is None:
            break
        value = inner
    return value if isinstance(value, types.FunctionType) else None


def differs(expression: ast.expr, value: Any, namespace: Mapping[str, Any]) -> bool:
    """Tell whether *expression* now certainly gives something other than *value*, which is data or just a name."""
    again = _evaluated(expression, namespace)
    if again is _UNKNOWN or again is value or not any(isinstance(node, ast.Name) for node in ast.walk(expression)):
        return False
    try:
        return codec.encode(again) != codec.encode(value)
    except codec.NotData:
        pass
    try:
        return isinstance(expression, ast.Name) and type(again) is type(value) and bool(again != value)
    except Exception:  # whatever comparing a class's objects raises
        return False


def _gives(expression: ast.expr, value: Any, namespace: Mapping[str, Any]) -> bool:
    """Tell whether *expression*, which only combines values, gives something equal to *value* again."""
    again = _evaluated(expression, namespace)
    try:
        return type(again) is type(value) and bool(again == value)
    except Exception:  # as above
        return False


def _evaluated(expression: ast.expr, namespace: Mapping[str, Any]) -> Any:
    """Return the value of *expression* if it only combines values, else _UNKNOWN."""
    if not all(isinstance(node, _SAFE) for node in ast.walk(expression)):
        return _UNKNOWN
    try:
        code = compile(ast.Expression(expression), "<expression>", "eval", dont_inherit=True)
        return eval(code, dict(namespace))
    except Exception:  # whatever the parts raise
        return _UNKNOWN
