"""The store's SQL, one file a noun, and the tables.

In a noun's file each query begins with a heading, at the top or after an empty line:
``-- name: purpose``, or ``-- name [sqlite]: purpose`` and ``-- name [mysql]: purpose`` where the dialects differ.
`fitting` says how they do without the columns that an older project lacks.
"""

from __future__ import annotations

import functools
import importlib.resources
import re
from collections.abc import Mapping
from types import MappingProxyType

from aioboinc.sql import fitting

__all__ = ["dispensable", "load", "schema"]

_HEADING = re.compile(r"-- (?P<name>\w+)(?: \[(?P<dialect>\w+)\])?: \S.*")
_DIALECTS = ("sqlite", "mysql")


@functools.cache
def load(noun: str, dialect: str, lacking: frozenset[fitting.Name] = frozenset()) -> Mapping[str, str]:
    """Return the queries of *noun*'s file by name, those for *dialect*, for tables that are *lacking* some columns.

    Raises ValueError if the file is not in order: a query without heading or text, or two of the same name.
    """
    queries = _parse(noun, dialect)
    return MappingProxyType({name: fitting.fitted(query, lacking) for name, query in queries.items()})


@functools.cache
def dispensable(noun: str, dialect: str) -> frozenset[fitting.Name]:
    """Return the columns without which *noun*'s queries can do."""
    return frozenset(fitting.dispensable(_parse(noun, dialect).values()))


def _parse(noun: str, dialect: str) -> dict[str, str]:
    queries: dict[str, str] = {}
    for block in re.split(r"\n(?:\s*\n)+(?=-- \w+(?: \[\w+\])?: )", _read(noun).strip()):
        first, _, text = block.partition("\n")
        heading = _HEADING.fullmatch(first)
        query = _statement(text)
        if heading is None or not query:
            raise ValueError(f"{noun}.sql: expected a heading and a query, not {first!r}")
        if heading["dialect"] not in {None, *_DIALECTS}:
            raise ValueError(f"{noun}.sql: {heading['name']} is for {heading['dialect']}, which is no dialect")
        if heading["dialect"] in {None, dialect}:
            if heading["name"] in queries:
                raise ValueError(f"{noun}.sql: {heading['name']} is there twice")
            queries[heading["name"]] = query
    return queries


def schema(dialect: str, *, whole: bool = False) -> list[str]:
    """Return the statements that make the tables which a project's database lacks; those it has stay as they are.

    In SQLite all of them, in BOINC's MySQL database only ours, unless the *whole* of it is to be made. For
    ``Connector.script``.
    """
    ours = list(load("pyboinc_batch", dialect).values())
    return ours if dialect == "mysql" and not whole else [*_statements(_read(f"schema_{dialect}")), *ours]


def _read(name: str) -> str:
    return (importlib.resources.files(__name__) / f"{name}.sql").read_text(encoding="utf-8")


def _statements(script: str) -> list[str]:
    return [text for part in re.split(r";\s*$", script, flags=re.MULTILINE) if (text := _statement(part))]


def _statement(text: str) -> str:
    """Strip *text* of whole lines of comment and the semicolon."""
    lines = (line for line in text.splitlines() if not line.lstrip().startswith("--"))
    return "\n".join(lines).strip().removesuffix(";").rstrip()
