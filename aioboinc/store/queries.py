"""A noun's queries, fitted to the tables that the database has."""

from __future__ import annotations

from aioboinc import connectors, sql

__all__ = ["Queries"]


class Queries:
    """The queries of *noun* by name; until `fit` is called, for tables with all columns."""

    def __init__(self, noun: str, dialect: str) -> None:
        self._noun = noun
        self._dialect = dialect
        self._queries = sql.load(noun, dialect)
        self._fitted = False

    def __getitem__(self, name: str) -> str:
        return self._queries[name]

    async def fit(self, tx: connectors.Transaction) -> None:
        """Fit them to the database's tables, which are read only once."""
        if self._fitted:
            return
        dispensable = sql.dispensable(self._noun, self._dialect)
        columns = {table: await tx.columns(table) for table in {table for table, _ in dispensable}}
        lacking = {(table, name) for table, name in dispensable if columns[table] and name not in columns[table]}
        self._queries = sql.load(self._noun, self._dialect, frozenset(lacking))
        self._fitted = True
