"""SQL text with ``:name`` parameters, taken apart."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["Insert", "Statement", "parse", "parse_insert"]

_TOKENS = r"""
      (?P<skip> '(?:{escape}[^'])*' | "(?:{escape}[^"])*" | `[^`]*` | --[^\n]* | /\*.*?\*/ )
    | (?<![\w:]) : (?P<name> [A-Za-z_]\w* )
    | \b (?P<values> VALUES ) \b (?=\s*\()
    | (?P<open> \( )
    | (?P<close> \) )
"""
# A quote doubled inside a literal makes two literals side by side here, which comes to the same.
_PLAIN = re.compile(_TOKENS.format(escape=""), re.VERBOSE | re.DOTALL | re.IGNORECASE)
_BACKSLASHED = re.compile(_TOKENS.format(escape=r"\\.|"), re.VERBOSE | re.DOTALL | re.IGNORECASE)


@dataclass(frozen=True)
class Statement:
    """A text of n parameters in n + 1 pieces."""

    pieces: tuple[str, ...]
    names: tuple[str, ...]


@dataclass(frozen=True)
class Insert:
    """An ``INSERT`` statement in three parts."""

    head: str
    """Up to and including ``VALUES``."""
    values: Statement
    """The parenthesis with a row's values."""
    tail: str
    """What follows."""


@functools.lru_cache(maxsize=1024)
def parse(sql: str, *, backslashes: bool) -> Statement:
    """Find the parameters of *sql*; those inside literals, quoted names and comments are none.

    *backslashes* says that the dialect escapes by backslash inside literals, as MySQL does.
    """
    pieces: list[str] = []
    names: list[str] = []
    end = 0
    for match in _tokens(sql, backslashes):
        if match["name"]:
            pieces.append(sql[end : match.start()])
            names.append(match["name"])
            end = match.end()
    pieces.append(sql[end:])
    return Statement(tuple(pieces), tuple(names))


@functools.lru_cache(maxsize=256)
def parse_insert(sql: str, *, backslashes: bool) -> Insert | None:
    """Take an ``INSERT`` or ``REPLACE`` of one row apart; None if *sql* is something else.

    So it is if there are parameters outside the row of values.
    """
    if not re.match(r"\s*(INSERT|REPLACE)\b", sql, re.IGNORECASE):
        return None
    depth = 0
    start = None
    seeking = False
    for match in _tokens(sql, backslashes):
        if match["values"] and start is None and depth == 0:
            seeking = True
        elif match["open"]:
            if seeking:
                start = match.start()
                seeking = False
            depth += 1
        elif match["close"]:
            depth -= 1
            if depth == 0 and start is not None:
                row = Insert(sql[:start], parse(sql[start : match.end()], backslashes=backslashes), sql[match.end() :])
                outside = parse(row.head + row.tail, backslashes=backslashes).names
                return None if outside or row.tail.lstrip().startswith(",") else row
    return None


def _tokens(sql: str, backslashes: bool) -> Iterator[re.Match[str]]:
    return (_BACKSLASHED if backslashes else _PLAIN).finditer(sql)
