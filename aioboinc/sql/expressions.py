"""Expressions that the dialects write in different ways."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["concatenated_blob", "concatenation", "text"]


def text(value: str) -> str:
    """Return the literal for *value* in UTF-8. It may stand in any statement, whatever is in it."""
    return f"X'{value.encode().hex()}'"


def concatenation(dialect: str, parts: Iterable[str]) -> str:
    """Return the expression that puts the values of *parts* together."""
    return f"CONCAT({', '.join(parts)})" if dialect == "mysql" else f"({' || '.join(parts)})"


def concatenated_blob(dialect: str, parts: Iterable[str]) -> str:
    """Return the same as bytes."""
    return f"CAST({concatenation(dialect, parts)} AS {'BINARY' if dialect == 'mysql' else 'BLOB'})"
