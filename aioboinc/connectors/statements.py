"""Parses SQL text with ``:name`` parameters."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["Insert", "Statement", "parse", "parse_insert"]


def _tokens(text: str, comment: str) -> re.Pattern[str]:
    """Return the pattern of the tokens that matter; *text* matches what is inside quotes."""
    return re.compile(
        rf"""
          (?P<skip> '(?:{text}|")*' | "(?:{text}|')*" | `[^`]*` | {comment} | /\*.*?\*/ )
        | (?<![\w:]) : (?P<name> [A-Za-z_]\w* )
        | \b (?P<values> VALUES ) \b (?=\s*\()
        | (?P<open> \( )
        | (?P<close> \) )
        """,
        re.VERBOSE | re.DOTALL | re.IGNORECASE,
    )


# A literal with a doubled quote matches as two literals side by side, which makes no difference.
_TOKENS = {
    "sqlite": _tokens(r"[^'\"]", r"--[^\n]*"),
    "mysql": _tokens(r"[^'\"\\]|\\.", r"--(?!\S)[^\n]*|\#[^\n]*"),
}


@dataclass(frozen=True)
class Statement:
    """A text with n parameters."""

    pieces: tuple[str, ...]
    """The n + 1 pieces around them."""
    names: tuple[str, ...]
    """Their names."""


@dataclass(frozen=True)
class Insert:
    """An ``INSERT`` of one row, in three parts."""

    head: str
    """Up to ``VALUES``."""
    values: Statement
    """The parenthesis with the row's values."""
    tail: str
    """What follows."""


@functools.lru_cache(maxsize=1024)
def parse(sql: str, dialect: str) -> Statement:
    """Find the parameters of *sql*, ignoring literals, quoted names and comments."""
    pieces: list[str] = []
    names: list[str] = []
    end = 0
    for match in _matches(sql, dialect):
        if match["name"]:
            pieces.append(sql[end : match.start()])
            names.append(match["name"])
            end = match.end()
    pieces.append(sql[end:])
    return Statement(tuple(pieces), tuple(names))


@functools.lru_cache(maxsize=256)
def parse_insert(sql: str, dialect: str) -> Insert | None:
    """Split an ``INSERT`` or ``REPLACE`` of one row.

    None if *sql* is something else, or has parameters outside the row.
    """
    if not re.match(r"\s*(INSERT|REPLACE)\b", sql, re.IGNORECASE):
        return None
    depth = 0
    start: int | None = None
    head = ""
    for match in _matches(sql, dialect):
        if match["values"] and depth == 0 and start is None:
            head, start = sql[: match.start()], match.end()
        elif match["open"]:
            depth += 1
        elif match["close"]:
            depth -= 1
            if depth == 0 and start is not None:
                row, tail = sql[start : match.end()], sql[match.end() :]
                one = not parse(head + tail, dialect).names and not tail.lstrip().startswith(",")
                return Insert(head, parse(row, dialect), tail) if one else None
    return None


def _matches(sql: str, dialect: str) -> Iterator[re.Match[str]]:
    return _TOKENS[dialect].finditer(sql)
