"""Finds the imports of a Python file in its syntax tree. Nothing is run."""

from __future__ import annotations

import ast
import dataclasses
import importlib.util
from collections.abc import Collection
from dataclasses import dataclass

__all__ = ["Import", "exported", "is_choice", "scan"]

_CATCHES_IMPORT_ERROR = {"ImportError", "ModuleNotFoundError", "Exception", "BaseException"}
_PLATFORM = {
    ("os", "name"),
    ("platform", "machine"),
    ("platform", "python_implementation"),
    ("platform", "system"),
    ("sys", "implementation"),
    ("sys", "platform"),
    ("sys", "version_info"),
}


@dataclass(frozen=True)
class Import:
    """One import of a module, or of names from it."""

    module: str
    """Dotted name; empty in ``from . import x``."""
    names: tuple[str, ...]
    """The names in ``from module import names``, which may be submodules; empty for ``import module``."""
    level: int
    """The number of leading dots."""
    line: int
    """Its line in the file, from 1."""
    optional: bool
    """Whether the program works without it: an ImportError is caught, or it may be for another platform."""
    instead_of: tuple[tuple[Import, ...], ...] = ()
    """The imports whose ``except ImportError`` contains it; one tuple for each level of nesting."""

    def needed(self, missing: Collection[Import]) -> bool:
        """Tell whether the program needs it, given that the imports *missing* have failed."""
        return not self.optional and all(any(other in missing for other in level) for level in self.instead_of)


def scan(tree: ast.Module) -> list[Import]:
    """Return all imports in *tree*, nested ones too, in the order of the text.

    ``importlib.import_module`` and ``__import__`` count if their arguments are literals; what is inside ``if
    TYPE_CHECKING:`` does not.
    """
    found = []
    # No recursive visitor: a long sum or elif chain is nested more deeply than Python can recurse.
    stack: list[tuple[ast.AST, _Context]] = [(tree, _Context())]
    while stack:
        node, context = stack.pop()
        for module, names, level in _imported(node):
            line = getattr(node, "lineno", 0)
            instead_of = tuple(map(tuple, context.instead_of))
            imported = Import(module, names, level, line, context.optional, instead_of)
            found.append(imported)
            for tried in context.tried:
                tried.append(imported)
        stack += reversed(_children(node, context))
    return found


def exported(tree: ast.Module) -> tuple[str, ...]:
    """Return the names in the module's ``__all__`` if it is a plain list of literals, else none."""
    for statement in tree.body:
        if isinstance(statement, ast.Assign):
            targets, value = statement.targets, statement.value
        elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
            targets, value = [statement.target], statement.value
        else:
            continue
        if any(_is_name(target, "__all__") for target in targets):
            try:
                return tuple(str(name) for name in ast.literal_eval(value))
            except (ValueError, TypeError):
                return ()
    return ()


def is_choice(statement: ast.stmt) -> bool:
    """Tell whether *statement* chooses between imports: by catching an ImportError, or by the platform."""
    match statement:
        case ast.Try(handlers=handlers):
            return any(map(_catches_import_error, handlers))
        case ast.If(test=test):
            return _asks_for_platform(test)
    return False


@dataclass(frozen=True)
class _Context:
    """The context of an import in a file."""

    optional: bool = False
    """As in `Import`."""
    instead_of: tuple[list[Import], ...] = ()
    """As in `Import`; the lists are complete, because the text is walked in order."""
    tried: tuple[list[Import], ...] = ()
    """The imports in each ``try`` around it."""


def _children(node: ast.AST, context: _Context) -> list[tuple[ast.AST, _Context]]:
    """Return what to look at inside of *node*, in the order of the text."""
    optional = dataclasses.replace(context, optional=True)
    match node:
        case ast.If(test=test) if _is_name(test, "TYPE_CHECKING"):
            return [(child, context) for child in node.orelse]
        case ast.If(test=ast.UnaryOp(op=ast.Not(), operand=test)) if _is_name(test, "TYPE_CHECKING"):
            return [(child, context) for child in node.body]
        case ast.If(test=test) if _asks_for_platform(test):
            context = optional
        case ast.With(items=items) if any(_suppresses_import_error(item.context_expr) for item in items):
            context = optional
        case ast.Try() | ast.TryStar() if any(map(_catches_import_error, node.handlers)):
            tried: list[Import] = []
            inside = dataclasses.replace(optional, tried=(*context.tried, tried))
            handling = dataclasses.replace(context, instead_of=(*context.instead_of, tried))
            return [
                *((child, inside) for child in node.body),
                *((child, handling) for child in node.handlers),
                *((child, optional) for child in node.orelse),
                *((child, context) for child in node.finalbody),
            ]
    return [(child, context) for child in ast.iter_child_nodes(node)]


def _imported(node: ast.AST) -> list[tuple[str, tuple[str, ...], int]]:
    """Return module, names and level of each import that *node* itself makes."""
    match node:
        case ast.Import(names=aliases):
            return [(alias.name, (), 0) for alias in aliases]
        case ast.ImportFrom(module=module, names=aliases, level=level):
            return [(module or "", tuple(alias.name for alias in aliases), level)]
        case ast.Call(func=function) if _is_name(function, "import_module"):
            return _imported_by_call(node)
        case ast.Call(func=ast.Name(id="__import__"), args=[ast.Constant(value=str(name)), *_]):
            return [(name, (), 0)]
    return []


def _imported_by_call(node: ast.Call) -> list[tuple[str, tuple[str, ...], int]]:
    arguments: dict[str | None, ast.expr] = dict(zip(("name", "package"), node.args, strict=False))
    arguments |= {keyword.arg: keyword.value for keyword in node.keywords}
    match arguments.get("name"), arguments.get("package"):
        case ast.Constant(value=str(name)), package if name:
            module = name.lstrip(".")
            level = len(name) - len(module)
        case _:
            return []
    if not level or _is_name(package, "__package__"):
        return [(module, (), level)]
    if isinstance(package, ast.Constant) and isinstance(package.value, str):
        try:
            return [(importlib.util.resolve_name(name, package.value), (), 0)]
        except ImportError:
            return []
    return []


def _is_name(node: ast.AST | None, name: str) -> bool:
    """Tell whether *node* is the plain name, or an attribute with that name (``typing.TYPE_CHECKING``)."""
    return (isinstance(node, ast.Name) and node.id == name) or (
        isinstance(node, ast.Attribute) and node.attr == name
    )


def _asks_for_platform(test: ast.expr) -> bool:
    return any(
        isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and (node.value.id, node.attr) in _PLATFORM
        for node in ast.walk(test)
    )


def _catches_import_error(handler: ast.ExceptHandler) -> bool:
    return handler.type is None or _names_import_error(handler.type)


def _names_import_error(node: ast.expr) -> bool:
    if isinstance(node, ast.Tuple):
        return any(map(_names_import_error, node.elts))
    return any(_is_name(node, name) for name in _CATCHES_IMPORT_ERROR)


def _suppresses_import_error(context: ast.expr) -> bool:
    return (
        isinstance(context, ast.Call)
        and _is_name(context.func, "suppress")
        and any(map(_names_import_error, context.args))
    )
