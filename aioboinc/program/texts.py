"""The text of the master program, or of a notebook's cells, and the statements in it."""

from __future__ import annotations

import ast
import functools
import importlib.util
import linecache
import types
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from aioboinc.program import names

__all__ = ["Binding", "Text", "Texts"]


@dataclass(frozen=True)
class Binding:
    """A statement outside of functions and classes that binds a name."""

    text: Text
    statement: ast.stmt
    outer: ast.stmt
    """The top-level statement that contains it, or itself."""


class Text:
    """The text of one file or cell that was run as ``__main__``."""

    def __init__(self, filename: str, content: str, *, future: bool) -> None:
        """Parse *content*, *future* if annotations were not evaluated in it. Raises SyntaxError, ValueError."""
        self.filename = filename
        """As in code objects and tracebacks."""
        self.lines = content.split("\n")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.tree = ast.parse(content, filename)
        self.future = future or any(
            isinstance(node, ast.ImportFrom)
            and node.module == "__future__"
            and any(alias.name == "annotations" for alias in node.names)
            for node in self.tree.body
        )
        """Whether annotations are not evaluated."""
        self._bindings: dict[str, list[Binding]] | None = None

    def bindings(self, name: str) -> list[Binding]:
        """Return what binds *name*, or may bind it by a ``*``; the last first."""
        if self._bindings is None:
            self._bindings = {}
            for statement, outer in _statements(self.tree.body):
                for one in names.bound(statement):
                    self._bindings.setdefault(one, []).append(Binding(self, statement, outer))
        found = [*self._bindings.get(name, ()), *self._bindings.get("*", ())]
        return sorted(found, key=lambda binding: -binding.statement.lineno)

    def definition(self, code: types.CodeType) -> Binding | None:
        """Return the ``def`` outside of functions and classes whose code is *code*."""
        for statement, outer in _statements(self.tree.body):
            if (
                isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef)
                and statement.name == code.co_name
                and _first_line(statement) == code.co_firstlineno
            ):
                return Binding(self, statement, outer)
        return None

    def class_around(self, code: types.CodeType) -> Binding | None:
        """Return the class, outside of functions and classes, that contains *code*."""
        for statement, outer in _statements(self.tree.body):
            if isinstance(statement, ast.ClassDef) and statement.lineno <= code.co_firstlineno <= _last_line(
                statement
            ):
                return Binding(self, statement, outer)
        return None

    def has(self, code: types.CodeType) -> bool:
        """Tell whether compiling this text gives *code* somewhere."""
        return code in self._codes

    @functools.cached_property
    def _codes(self) -> frozenset[types.CodeType]:
        try:
            return frozenset(_codes(names.compiled(self.tree.body, self.filename, future=self.future)))
        except (SyntaxError, ValueError, RecursionError):
            return frozenset()

    def source(self, statement: ast.stmt) -> tuple[str, int]:
        """Return the text of *statement*, for use at the top level, and the number of its first line."""
        first, last = _first_line(statement), _last_line(statement)
        if not isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.If | ast.Try):
            return ast.get_source_segment("\n".join(self.lines), statement) or ast.unparse(statement), first
        lines = [line.rstrip("\r") for line in self.lines[first - 1 : last]]
        if statement.col_offset:  # dedenting would change strings of several lines
            return "\n".join(["if True:", *lines]), first - 1
        return "\n".join(lines), first


class Texts:
    """The texts of the namespace of a ``__main__``."""

    def __init__(self, namespace: Mapping[str, Any]) -> None:
        self._namespace = namespace
        self._texts: dict[tuple[str, str], Text | None] = {}
        self._proven: dict[str, Text] = {}
        cells = namespace.get("In")
        self.is_notebook = isinstance(cells, list) and "get_ipython" in namespace
        """Whether it is IPython's, with cells in place of a file."""

    def bindings(self, name: str) -> Iterator[Binding]:
        """Yield what binds *name*, the newest first."""
        for text in self._all():
            yield from text.bindings(name)

    def of_code(self, code: types.CodeType) -> Text | None:
        """Return the text that *code* was compiled from; None if it is not available, or has changed."""
        entry = linecache.cache.get(code.co_filename)
        if entry is not None and len(entry) == 4 and entry[1] is None:  # registered, as cells are
            return self._text(code.co_filename, "".join(entry[2]), code)
        for content in _contents(code.co_filename):
            text = self._text(code.co_filename, content, code)
            if text is not None and text.has(code):
                return self._proven.setdefault(code.co_filename, text)
        return None

    def _all(self) -> Iterable[Text]:
        if self.is_notebook:
            return self._cells
        filename = self._namespace.get("__file__") or ""
        text = self._proven.get(filename) or self._text(filename, next(_contents(filename), ""))
        return [text] if text is not None else []

    @functools.cached_property
    def _cells(self) -> list[Text]:
        """Return the cells that were run, the newest first."""
        filenames = {
            "".join(entry[2]).rstrip("\n"): filename
            for filename, entry in linecache.cache.items()
            if len(entry) == 4 and entry[1] is None
        }
        contents = dict.fromkeys(reversed(self._namespace["In"]))
        found = [self._text(filenames.get(content.rstrip("\n"), "<cell>"), content) for content in contents]
        return [text for text in found if text is not None]

    def _text(self, filename: str, content: str, code: types.CodeType | None = None) -> Text | None:
        key = filename, content
        if key not in self._texts:
            flag = names.FUTURE_ANNOTATIONS
            shell = self._namespace["get_ipython"]() if self.is_notebook else None
            future = bool((code.co_flags if code else getattr(getattr(shell, "compile", None), "flags", 0)) & flag)
            try:
                self._texts[key] = Text(filename, content, future=future)
            except (SyntaxError, ValueError, RecursionError, MemoryError):
                self._texts[key] = None
        return self._texts[key]


def _contents(filename: str) -> Iterator[str]:
    """Yield the content of the file *filename* and, if different, its content when it was last read (linecache)."""
    try:
        with open(filename, "rb") as file:
            content = importlib.util.decode_source(file.read())
        yield content
    except (OSError, ValueError, SyntaxError):
        content = ""
    before = "".join(linecache.getlines(filename)) if filename in linecache.cache else ""
    if before and before != content:
        yield before


def _statements(statements: list[ast.stmt], outer: ast.stmt | None = None) -> Iterator[tuple[ast.stmt, ast.stmt]]:
    """Yield the statements outside of functions and classes, each with its top-level statement."""
    for statement in statements:
        top = outer or statement
        yield statement, top
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        for part in ("body", "handlers", "cases", "orelse", "finalbody"):
            for inner in getattr(statement, part, ()):
                yield from _statements([inner] if isinstance(inner, ast.stmt) else inner.body, top)


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for inner in code.co_consts:
        if isinstance(inner, types.CodeType):
            yield from _codes(inner)


def _first_line(statement: ast.stmt) -> int:
    decorators: list[ast.expr] = getattr(statement, "decorator_list", [])
    return min([statement.lineno, *(decorator.lineno for decorator in decorators)])


def _last_line(statement: ast.stmt) -> int:
    return statement.end_lineno or statement.lineno
