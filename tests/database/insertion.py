"""Rows in BOINC's tables, for tests and benchmarks that play what else writes to a project's database."""

from __future__ import annotations

from aioboinc import connectors

__all__ = ["insert"]


async def insert(tx: connectors.Transaction, table: str, **values: object) -> None:
    """Insert a row: 0 or nothing in the columns that need a value and are not given.

    Columns that the table of an older project lacks are left out.
    """
    row: dict[str, object] = {}
    for name, column in (await tx.columns(table)).items():
        if name in values:
            row[name] = values[name]
        elif column.required:
            row[name] = "" if any(kind in column.type for kind in ("char", "text", "blob")) else 0
    places = ", ".join(f":{name}" for name in row)
    await tx.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({places})", row)
