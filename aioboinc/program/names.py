"""Finds the global names a statement looks up, and when: when it runs, or when the functions in it are called.

The compiler decides what is global; we read its code objects. Nothing is run.
"""

from __future__ import annotations
import __future__

import ast
import dis
import inspect
import types
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field

__all__ = ["FUTURE_ANNOTATIONS", "Names", "bound", "chains", "compiled", "of"]

FUTURE_ANNOTATIONS = __future__.annotations.compiler_flag
"""In the flags of code whose annotations are not evaluated."""
_LOADS = {"LOAD_NAME", "LOAD_GLOBAL", "LOAD_FROM_DICT_OR_GLOBALS"}
_STORES = {"STORE_NAME", "DELETE_NAME"}
_WRITES = {"STORE_GLOBAL", "DELETE_GLOBAL"}
_AT_ONCE = (
    "<listcomp>",
    "<setcomp>",
    "<dictcomp>",
    "<genexpr>",
    "<lambda>",
    "<generic parameters of ",
    "__annotate__",
)
"""Code that may run together with the code around it: a decorator's lambda, annotations in Python 3.14."""


@dataclass(frozen=True)
class Names:
    """The global names of a statement."""

    defined: set[str] = field(default_factory=set)
    """Looked up when the statement is executed: decorators, defaults, bases, annotations."""
    called: set[str] = field(default_factory=set)
    """Looked up when a function in it is called."""
    written: set[str] = field(default_factory=set)
    """Assigned or deleted through ``global``."""
    annotated: set[str] = field(default_factory=set)
    """In annotations, whether they are evaluated or not, in quotes or not."""


def of(statement: ast.stmt, *, future: bool) -> Names:
    """Return the names of a module's top-level *statement*; *future* if annotations are not evaluated."""
    names = Names()
    _read(compiled([statement], "<statement>", future=future), names, at_definition=True)
    names.annotated.update(_annotated(statement))
    return names


def compiled(statements: list[ast.stmt], filename: str, *, future: bool) -> types.CodeType:
    """Compile *statements* as a module, ``await`` allowed; *future* if annotations are not to be evaluated."""
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    if future:
        flags |= FUTURE_ANNOTATIONS
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = ast.Module(statements, type_ignores=[])
        code: types.CodeType = compile(module, filename, "exec", flags, dont_inherit=True)
        return code


def chains(statement: ast.AST) -> dict[str, set[tuple[str, ...]]]:
    """Return, for each name, the attribute chains after it: ``("b", "c")`` for ``a`` in ``a.b.c``."""
    found: dict[str, set[tuple[str, ...]]] = {}
    for inner in ast.walk(statement):
        node = inner
        attributes: list[str] = []
        while isinstance(node, ast.Attribute):
            attributes.append(node.attr)
            node = node.value
        if attributes and isinstance(node, ast.Name):
            found.setdefault(node.id, set()).add(tuple(reversed(attributes)))
    return found


def bound(statement: ast.stmt) -> set[str]:
    """Return the names that *statement* itself binds or deletes, without statements inside it; ``*`` for all."""
    match statement:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return {statement.name}
        case ast.Import(names=aliases):
            return {alias.asname or alias.name.partition(".")[0] for alias in aliases}
        case ast.ImportFrom(names=aliases):
            return {alias.asname or alias.name for alias in aliases}
    found = {node.id for node in _expressions(statement) if isinstance(node, ast.Name) and _is_target(node)}
    for node in _expressions(statement):
        match node:
            case ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)) | ast.MatchMapping(rest=str(name)):
                found.add(name)
            case ast.ExceptHandler(name=str(name)):
                found.add(name)
    return found


def _is_target(node: ast.Name) -> bool:
    return isinstance(node.ctx, ast.Store | ast.Del)


def _expressions(statement: ast.stmt) -> Iterator[ast.AST]:
    """Yield the nodes of *statement* that are evaluated in its own scope, without the statements in it."""
    stack: list[ast.AST] = [statement]
    while stack:
        node = stack.pop()
        yield node
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.comprehension):  # its target has another scope
                stack += [child.iter, *child.ifs]
            elif not isinstance(child, ast.stmt | ast.Lambda):
                stack.append(child)


def _read(code: types.CodeType, names: Names, *, at_definition: bool) -> None:
    looked_up = names.defined if at_definition else names.called
    own: set[str] = set()
    for instruction in dis.get_instructions(code):
        if instruction.opname in _STORES:
            own.add(instruction.argval)
        elif instruction.opname in _WRITES:
            names.written.add(instruction.argval)
        elif instruction.opname in _LOADS and not (
            instruction.opname == "LOAD_NAME" and instruction.argval in own
        ):
            looked_up.add(instruction.argval)
    for inner in code.co_consts:
        if isinstance(inner, types.CodeType):
            is_class = not inner.co_flags & inspect.CO_OPTIMIZED
            at_once = is_class or inner.co_name.startswith(_AT_ONCE)
            _read(inner, names, at_definition=at_definition and at_once)


def _annotated(statement: ast.stmt) -> Iterator[str]:
    waiting: list[ast.AST] = []
    for node in ast.walk(statement):
        match node:
            case ast.arg(annotation=annotation) | ast.AnnAssign(annotation=annotation):
                waiting.append(annotation) if annotation else None
            case ast.FunctionDef(returns=returns) | ast.AsyncFunctionDef(returns=returns) if returns:
                waiting.append(returns)
    while waiting:
        for node in ast.walk(waiting.pop()):
            if isinstance(node, ast.Name):
                yield node.id
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                try:
                    waiting.append(ast.parse(node.value, mode="eval").body)
                except (SyntaxError, ValueError, RecursionError, MemoryError):
                    continue
