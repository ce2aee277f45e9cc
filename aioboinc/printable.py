"""Makes others' text safe to print, log and show.

What a host sends may contain escape sequences that a terminal obeys, characters that reverse the direction of reading,
and line ends that fake another line of a log. They are shown as Python writes them in a literal. Programs get the text
as it came; it is escaped only where it is shown to people.
"""

from __future__ import annotations

import logging
import unicodedata

__all__ = ["Formatter", "line", "lines"]

MAX_LINE = 10_000
"""Characters of a line to show."""
MAX_LINES = 100_000
"""Characters of a text of several lines to show."""

_UNSAFE = {"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"}
"""Categories of Unicode: controls, formats (bidirectional, zero-width), unassigned, line separators."""


def line(text: str, limit: int = MAX_LINE) -> str:
    """Return *text* as one line."""
    return _escaped(text, limit, "")


def lines(text: str, limit: int = MAX_LINES) -> str:
    """Return *text*, keeping its line ends and tabs."""
    return _escaped(text, limit, "\n\t")


class Formatter(logging.Formatter):
    """Writes each record as one line, and its traceback indented, so that no text can pass for a record."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        return line(super().formatMessage(record))

    def formatException(self, ei: object) -> str:
        return _indented(super().formatException(ei))  # type: ignore[arg-type]  # as passed by logging

    def formatStack(self, stack_info: str) -> str:
        return _indented(stack_info)


def _indented(text: str) -> str:
    return "    " + lines(text).replace("\n", "\n    ")


def _escaped(text: str, limit: int, kept: str) -> str:
    rest = len(text) - limit
    shown = text[:limit]
    if not shown.isprintable():
        shown = "".join(
            character
            if character in kept or unicodedata.category(character) not in _UNSAFE
            else _escape(character)
            for character in shown
        )
    return f"{shown} [and {rest} characters more]" if rest > 0 else shown


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
