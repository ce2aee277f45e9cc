"""What the connectors have in common: their interface, and when a transaction is run again."""

from __future__ import annotations

import abc
import asyncio
import functools
import logging
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeVar

from aioboinc import errors, service

__all__ = ["Column", "Connector", "DuplicateKey", "Row", "Transaction", "Transient", "finish"]

T = TypeVar("T")
Row = dict[str, Any]
"""A row, by column name."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Column:
    """A column of a table, as the database describes it."""

    type: str
    """The declared type, lower case."""
    nullable: bool
    default: str | None
    """What an insert gets that does not name the column, as the database prints it; None if it has no default."""

    @property
    def required(self) -> bool:
        """True if every insert must name the column."""
        return self.default is None and not self.nullable


class DuplicateKey(errors.DatabaseError):
    """A row with the same unique key is there already. The transaction goes on without the statement."""


class Transient(Exception):
    """An error that ends a transaction and is no fault of it: it is rolled back and run again.

    ``final`` is what the caller gets if that still fails *patience* seconds after the first time; ``lost`` says
    that the connection is gone. It never leaves the connectors; code inside a transaction must let it pass.
    """

    def __init__(self, final: errors.DatabaseError, *, patience: float, lost: bool) -> None:
        super().__init__(str(final))
        self.final = final
        self.patience = patience
        self.lost = lost


class Transaction(abc.ABC):
    """What ``run`` and ``read`` give to the work: statements, one at a time, until the work returns.

    Statements raise `errors.DatabaseError` for what a person can put right, `DuplicateKey` among them; the driver's
    own errors, which are bugs, pass as they are. Values may be ``None``, ``bool``, ``int``, ``float`` (finite),
    ``str`` and ``bytes``; blobs take ``bytes`` only. Lists hold ``int`` or ``str``.
    """

    def __init__(self, connector: Connector) -> None:
        self.dialect = connector.dialect
        self._connector = connector
        self._doomed: Transient | None = None
        self._ended = False

    @abc.abstractmethod
    async def execute(self, sql: str, params: Mapping[str, Any] = {}) -> int:  # noqa: B006 - never changed
        """Execute one statement; return the number of rows it found to change."""

    @abc.abstractmethod
    async def insert(self, sql: str, params: Mapping[str, Any] = {}) -> int:  # noqa: B006 - never changed
        """Insert one row; return its ID, 0 if the statement skipped it."""

    @abc.abstractmethod
    async def execute_many(self, sql: str, rows: Sequence[Mapping[str, Any]]) -> int:
        """Execute one statement for each of *rows*, fast for ``INSERT … VALUES``; return the rows found or made.

        An ``INSERT`` may have constants among its values. Lists are not expanded.
        """

    @abc.abstractmethod
    async def fetch_all(self, sql: str, params: Mapping[str, Any] = {}) -> list[Row]:  # noqa: B006
        """Return all rows of a query."""

    async def fetch_one(self, sql: str, params: Mapping[str, Any] = {}) -> Row | None:  # noqa: B006
        """Return the first row of a query, None if there is none. Put a ``LIMIT`` where there may be many."""
        rows = await self.fetch_all(sql, params)
        return rows[0] if rows else None

    async def columns(self, table: str) -> Mapping[str, Column]:
        """Return the columns of *table* by name, in their order; empty if there is no such table."""
        known = self._connector.known_columns
        if table not in known:
            columns = await self._columns(table)
            if not columns:
                return {}
            known[table] = columns
        return known[table]

    @abc.abstractmethod
    async def _columns(self, table: str) -> dict[str, Column]: ...

    @abc.abstractmethod
    def _translate(self, error: Exception) -> Exception | None:
        """Return the error to raise for one of the driver's, None for the driver's own."""

    async def _call(self, function: Callable[..., Awaitable[T]], *args: Any) -> T:
        """Await the driver's *function*, translating its errors."""
        if self._ended:
            raise RuntimeError("the transaction has ended: use it inside the work only")
        self.check()
        try:
            return await function(*args)
        except Exception as error:
            translated = self._translate(error)
            if translated is None:
                raise
            if isinstance(translated, Transient):
                self._doomed = translated
            raise translated from error

    def check(self) -> None:
        """Raise again what doomed the transaction, should the work have caught it: half of it may be undone."""
        if self._doomed is not None:
            raise self._doomed

    def end(self) -> None:
        """Refuse further statements."""
        self._ended = True


class Connector(abc.ABC):
    """A database, while entered. Any number of tasks of one event loop may use it at once.

    *clock* (seconds), *sleep* and *jitter* serve the pauses between attempts.
    """

    dialect: str
    """"sqlite" or "mysql"."""

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        jitter: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self.checked_out = 0
        """Number of connections in use."""
        self.known_columns: dict[str, dict[str, Column]] = {}
        """What `Transaction.columns` has found out."""
        self._clock = clock
        self._sleep = sleep
        self._jitter = jitter
        self._writing: set[asyncio.Task[Any] | None] = set()

    @abc.abstractmethod
    async def __aenter__(self) -> Self:
        """Connect. Raises `errors.DatabaseError` at once if that fails."""

    @abc.abstractmethod
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close all connections. Transactions under way are rolled back."""

    async def run(self, work: Callable[[Transaction], Awaitable[T]], *, durable: bool = True) -> T:
        """Await *work* in a transaction and commit; return what it returned.

        Any exception and cancellation roll back. After a deadlock, a lock time-out, a busy file or a lost connection
        *work* runs again from the start, so it must not change anything but the database. A connection
        lost during the commit leaves open whether it took place: *work* must do no harm when done twice.

        Without *durable*, a power cut may undo the transaction, though never one before it (SQLite; MySQL has this as
        a setting of the server's only). Raises `errors.DatabaseError` when trying again has not helped.
        """
        task = asyncio.current_task()
        if task in self._writing:
            raise RuntimeError("run() inside the work of another run(): pass the transaction on")
        self._writing.add(task)
        try:
            return await self._persist(functools.partial(self._write, work, durable))
        finally:
            self._writing.discard(task)

    async def read(self, work: Callable[[Transaction], Awaitable[T]]) -> T:
        """Await *work*, which may only read, and does not wait for writers; return what it returned.

        Each statement sees what was committed when it began. After a lost connection *work* runs again.
        """
        return await self._persist(functools.partial(self._read, work))

    async def script(self, statements: Sequence[str]) -> None:
        """Execute *statements* without parameters, such as those that make tables."""

        async def work(transaction: Transaction) -> None:
            for statement in statements:
                await transaction.execute(statement)

        await self.run(work)
        self.known_columns.clear()

    @abc.abstractmethod
    async def _write(self, work: Callable[[Transaction], Awaitable[T]], durable: bool) -> T: ...

    @abc.abstractmethod
    async def _read(self, work: Callable[[Transaction], Awaitable[T]]) -> T: ...

    async def _persist(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Await *attempt* until it does not fail with `Transient`, or patience is at an end."""
        backoff = service.Backoff(0.010, 2.0, jitter=self._jitter)
        since: float | None = None
        warned = False
        while True:
            try:
                return await attempt()
            except Transient as error:
                now = self._clock()
                since = now if since is None else since
                if now - since >= error.patience:
                    raise error.final from error.__cause__
                if error.lost and not warned:
                    warned = True
                    _log.warning("%s - trying again for %d s", error, error.patience)
            await self._sleep(backoff.next())


async def finish(awaitable: Awaitable[T], *, grace: float | None = None) -> T:
    """Await *awaitable* to its end, even if cancelled meanwhile; the cancellation is raised after it.

    After a cancellation it gets *grace* seconds, then it is cancelled too; None means as long as it takes.
    """
    task = asyncio.ensure_future(awaitable)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task}, timeout=None if cancelled is None else grace)
            if cancelled is not None and not task.done():
                task.cancel()
                grace = None
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        if not task.cancelled():
            task.exception()  # seen: the cancellation takes precedence
        raise cancelled
    return task.result()
