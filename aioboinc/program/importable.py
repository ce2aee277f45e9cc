"""Finds import statements: the one that bound a name, or one that finds a value by the value's own name."""

from __future__ import annotations

import ast
import importlib.util
import sys
import types
from dataclasses import dataclass
from typing import Any

from aioboinc.program import imports, names, texts

__all__ = ["Found", "find", "is_conditional", "is_literal", "resolve", "statement", "submodule"]

_MISSING = object()


@dataclass(frozen=True)
class Found:
    """An import of one name."""

    text: str
    module: str


def statement(binding: texts.Binding, name: str, value: object, package: str) -> Found | None:
    """Return the part of the import *binding* that gives *value* as *name*; None if it is no import, or of another."""
    match binding.statement:
        case ast.Import(names=aliases):
            for alias in aliases:
                module = alias.name if alias.asname else alias.name.partition(".")[0]
                if (alias.asname or module) == name and sys.modules.get(module) is value:
                    return _module(module, name)
        case ast.ImportFrom(module=module, names=aliases, level=level):
            try:
                source = importlib.util.resolve_name("." * level + (module or ""), package)
            except ImportError:
                return None
            for alias in aliases:
                attribute = name if alias.name == "*" else alias.name
                if (alias.asname or attribute) == name and _attribute(source, attribute) is value:
                    return Found(f"from {source} import {attribute}{_as(attribute, name)}", source)
    return None


def find(name: str, value: Any) -> Found | None:
    """Return an import that gives *value* as *name*, from the value's own module and name."""
    if isinstance(value, types.ModuleType):
        module = value.__name__
        return _module(module, name) if sys.modules.get(module) is value and module != "__main__" else None
    found = resolve(value)
    if found is None:
        return None
    module, path = found
    top, _, rest = path.partition(".")
    text = f"from {module} import {top}{_as(top, name)}"
    return Found(f"{text}\n{name} = {name}.{rest}" if rest else text, module)


def resolve(value: Any) -> tuple[str, str] | None:
    """Return the module and dotted name where *value*, a function or class, is found; None if nowhere."""
    path = getattr(value, "__qualname__", None) or getattr(value, "__name__", None)
    module = getattr(value, "__module__", None)
    if not isinstance(path, str) or module == "__main__":
        return None
    if isinstance(module, str) and _attribute(module, path) is value:
        return module, path
    if module is not None and isinstance(value, types.FunctionType | type):
        return None
    # For numpy's array functions, say, which don't know their module. Public and short names are better.
    candidates = sorted(
        (any(part.startswith("_") for part in module.split(".")), module.count("."), module)
        for module, loaded in list(sys.modules.items())
        if isinstance(loaded, types.ModuleType) and module != "__main__" and vars(loaded).get(path) is value
    )
    return (candidates[0][2], path) if candidates else None


def submodule(module: str, attributes: tuple[str, ...]) -> str:
    """Return the last module on the way from *module* through *attributes*."""
    for attribute in attributes:
        inner = f"{module}.{attribute}"
        if inner not in sys.modules or getattr(sys.modules.get(module), attribute, None) is not sys.modules[inner]:
            break
        module = inner
    return module


def is_conditional(statement: ast.stmt) -> bool:
    """Tell whether *statement* only chooses what to import by what is installed."""
    return imports.is_choice(statement) and all(map(_is_plain, _inner(statement)))


def is_literal(statement: ast.stmt, value: object) -> bool:
    """Tell whether *statement* assigns *value*, written as a literal."""
    if not isinstance(statement, ast.Assign):
        return False
    try:
        literal = ast.literal_eval(statement.value)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return False
    return type(literal) is type(value) and bool(literal == value)


def _inner(statement: ast.stmt) -> list[ast.stmt]:
    found: list[ast.stmt] = []
    for part in ("body", "handlers", "orelse", "finalbody"):
        for inner in getattr(statement, part, ()):
            found += [inner] if isinstance(inner, ast.stmt) else inner.body
    return found


def _is_plain(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.If | ast.Try):
        return is_conditional(statement)
    if isinstance(statement, ast.Assign):
        return not any(isinstance(node, ast.Call | ast.Await) for node in ast.walk(statement))
    if isinstance(statement, ast.ImportFrom) and statement.level:
        return False
    return isinstance(statement, ast.Import | ast.ImportFrom | ast.Pass) and "*" not in names.bound(statement)


def _module(module: str, name: str) -> Found:
    if module == name:
        return Found(f"import {module}", module)
    return Found(f"import {module} as {name}", module)


def _as(name: str, wanted: str) -> str:
    return "" if name == wanted else f" as {wanted}"


def _attribute(module: str, path: str) -> object:
    found: Any = sys.modules.get(module)
    if found is None:
        return _MISSING
    for part in path.split("."):
        inner = (
            vars(found).get(part, _MISSING)
            if isinstance(found, types.ModuleType)
            else getattr(found, part, _MISSING)
        )
        if inner is _MISSING and isinstance(found, types.ModuleType):
            inner = getattr(found, part, _MISSING)
        found = inner
        if found is _MISSING:
            return _MISSING
    return found
