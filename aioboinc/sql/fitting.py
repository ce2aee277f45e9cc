"""Queries fitted to the tables of an older project, which lack some of the columns that newer ones have.

In a query ``[table.column? text]`` stands for *text* where there is this column, else for nothing, and
``[table.column? text | other]`` for *other* then. An ``INSERT`` of one row leaves out the columns that are missing.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

__all__ = ["Name", "dispensable", "fitted"]

Name = tuple[str, str]
"""A table and a column of it."""

_OPTION = re.compile(r"\[(\w+)\.(\w+)\?( [^|\]]*)(?:\|([^\]]*))?\]")
_INSERT = re.compile(r"(INSERT INTO (\w+) )\(([\w\s,]+)\)(\s*VALUES\s*)\((.*)\)", re.DOTALL)


def dispensable(queries: Iterable[str]) -> set[Name]:
    """Return the columns without which *queries* can be fitted."""
    names: set[Name] = set()
    for query in queries:
        names.update((option[1], option[2]) for option in _OPTION.finditer(query))
        insert = _INSERT.fullmatch(_whole(query))
        if insert:
            names.update((insert[2], column) for column in _listed(insert[3]))
    return names


def fitted(query: str, lacking: Collection[Name] = ()) -> str:
    """Return *query* for tables that are *lacking* some columns."""

    def chosen(option: re.Match[str]) -> str:
        return (option[4] or "") if (option[1], option[2]) in lacking else option[3]

    query = _OPTION.sub(chosen, query)
    insert = _INSERT.fullmatch(query) if lacking else None
    if insert is None:
        return query
    pairs = zip(_listed(insert[3]), _listed(insert[5]), strict=True)
    kept = [(column, value) for column, value in pairs if (insert[2], column) not in lacking]
    columns, values = (", ".join(part) for part in zip(*kept, strict=True))
    return f"{insert[1]}({columns}){insert[4]}({values})"


def _whole(query: str) -> str:
    return _OPTION.sub(lambda option: option[3], query)


def _listed(text: str) -> list[str]:
    return [item.strip() for item in text.split(",")]
