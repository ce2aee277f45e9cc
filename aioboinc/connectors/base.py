"""What the connectors have in common: their interface, and when a transaction is run again."""

from __future__ import annotations

import abc
import asyncio
import contextlib
import contextvars
import functools
import logging
import random
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeVar

from aioboinc import errors
from aioboinc.aio import loops

__all__ = [
    "LISTS",
    "Column",
    "Connector",
    "DuplicateKey",
    "Row",
    "Timing",
    "Transaction",
    "Transient",
    "patience",
]

T = TypeVar("T")
Row = dict[str, Any]
"""A row, by column name."""
LISTS = (list, tuple, set, frozenset)
"""Types of parameters that are lists."""

_PROBE = 1.0
"""Seconds between attempts, under `patience`, while the server is away."""
_patience: contextvars.ContextVar[float | None] = contextvars.ContextVar("patience", default=None)

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Column:
    """A column of a table, as the database describes it."""

    type: str
    """The declared type, lower case."""
    nullable: bool
    """It may be NULL."""
    default: str | None
    """The value if an insert does not name the column, as the database prints it; None if it must name it."""

    @property
    def required(self) -> bool:
        """Whether every insert must name the column."""
        return self.default is None and not self.nullable


@dataclass(frozen=True)
class Timing:
    """How the pauses between attempts are made and measured."""

    clock: Callable[[], float] = time.monotonic
    """Returns seconds since some moment."""
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    """Waits for so many seconds."""
    jitter: Callable[[float, float], float] = random.uniform
    """Draws a delay between two."""


@contextlib.contextmanager
def patience(seconds: float) -> Iterator[None]:
    """Make transactions of the body, in this task, give up after trying for *seconds* at most.

    While the server is known to be away, they fail at once, except one a second that checks whether it is back.
    """
    token = _patience.set(seconds)
    try:
        yield
    finally:
        _patience.reset(token)


class DuplicateKey(errors.DatabaseError):
    """There is a row with the same unique key. The transaction can continue without the statement."""


class Transient(Exception):
    """An error that ends a transaction through no fault of its own: it is rolled back and run again.

    The caller gets ``final`` if that still fails *patience* seconds after the first time. *lost* says that the
    connection is gone. That is logged; with *warn*, so are other errors. It never leaves the connectors; code inside a
    transaction must let it pass.
    """

    def __init__(self, final: errors.DatabaseError, *, patience: float, lost: bool, warn: bool = False) -> None:
        super().__init__(str(final))
        self.final = final
        self.patience = patience
        self.lost = lost
        self.warn = warn or lost


class Transaction(abc.ABC):
    """What ``run`` and ``read`` give to the work: statements, one at a time, until the work returns.

    Statements raise `errors.DatabaseError` for what a person can correct, and `DuplicateKey`. Other errors of the
    driver pass as they are, because they are bugs. Parameters may be ``None``, ``bool``, ``int``, ``float`` (finite),
    ``str`` for text, ``bytes`` for blobs, and lists of ``int`` or ``str``.
    """

    def __init__(self, connector: Connector) -> None:
        self.dialect = connector.dialect
        self._connector = connector
        self._doomed: Transient | None = None
        self._ended = False

    @abc.abstractmethod
    async def execute(self, sql: str, params: Mapping[str, Any] = {}) -> int:
        """Execute one statement; return the number of rows that it found to change."""

    @abc.abstractmethod
    async def insert(self, sql: str, params: Mapping[str, Any] = {}) -> int:
        """Insert one row; return its ID, 0 if the statement left it out."""

    @abc.abstractmethod
    async def execute_many(self, sql: str, rows: Sequence[Mapping[str, Any]]) -> int:
        """Execute one statement for each of *rows*; return the number of rows that were found or made.

        This is much faster than one at a time, especially for ``INSERT … VALUES``, which may have constants among its
        values. *rows* must contain no lists.
        """

    @abc.abstractmethod
    async def fetch_all(self, sql: str, params: Mapping[str, Any] = {}) -> list[Row]:
        """Return all rows of a query."""

    async def fetch_one(self, sql: str, params: Mapping[str, Any] = {}) -> Row | None:
        """Return the first row of a query, None if there is none. Use ``LIMIT`` if there may be many."""
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

    async def _call(self, function: Callable[..., Awaitable[T]], *args: Any) -> T:
        """Await the driver's *function*, translating its errors."""
        if self._ended:
            raise RuntimeError("the transaction has ended: use it inside the work only")
        self._check()
        try:
            return await function(*args)
        except Exception as error:
            translated = self._connector.translate(error)
            if translated is None:
                raise
            if isinstance(translated, Transient):
                self._doomed = translated
            raise translated from error

    def _check(self) -> None:
        """Raise again what doomed the transaction, in case the work caught it: parts of it may be undone.

        The commit is a statement too.
        """
        if self._connector.closed:
            raise RuntimeError("the connector is closed")
        if self._doomed is not None:
            raise self._doomed

    def end(self) -> None:
        """Refuse further statements."""
        self._ended = True


class Connector(abc.ABC):
    """A database; use it while it is entered. Any number of tasks of one event loop may use it at once."""

    dialect: str
    """Which SQL it speaks: "sqlite" or "mysql"."""

    def __init__(self, timing: Timing) -> None:
        self.closed = True
        """Whether it is not entered, so that nothing can run."""
        self.checked_out = 0
        """Number of connections in use."""
        self.known_columns: dict[str, dict[str, Column]] = {}
        """Cached results of `Transaction.columns`."""
        self._timing = timing
        self._inside: set[asyncio.Task[Any] | None] = set()
        self._away: tuple[float, str] | None = None
        """When an attempt last found the server away, and the message about that."""

    @abc.abstractmethod
    async def __aenter__(self) -> Self:
        """Connect. Raises `errors.DatabaseError` at once if the server is not there, or refuses."""

    @abc.abstractmethod
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close all connections, rolling back what is still under way."""

    async def run(
        self, work: Callable[[Transaction], Awaitable[T]], *, durable: bool = True, brief: bool = False
    ) -> T:
        """Await *work* in a transaction that may write, and commit; return what *work* returned.

        Exceptions and cancellation roll back. After a deadlock, a lock time-out, a busy file or a lost connection
        *work* runs again from its start, so it must change nothing but the database. If the connection is lost during
        the commit, nobody knows whether it took place: *work* must do no harm when done twice.

        If not *durable*, a power cut may undo it, but nothing durable that came before (SQLite only: in MySQL, that is
        a setting of the server). Raises `errors.DatabaseError` if trying again did not help.

        *brief* work awaits only its statements, and uses nothing that may change meanwhile, so it may run in another
        thread. SQLite runs all of it there at once, because switching threads costs more than most statements.
        """
        write = self._write_brief if brief else self._write
        return await self._persist(functools.partial(write, work, durable))

    async def read(self, work: Callable[[Transaction], Awaitable[T]], *, brief: bool = False) -> T:
        """Await *work*, which may only read; return what it returned. It does not wait for writers.

        Each statement sees what was committed when it began. After a lost connection *work* runs again. *brief* is
        as for `run`.
        """
        return await self._persist(functools.partial(self._read_brief if brief else self._read, work))

    async def script(self, statements: Sequence[str]) -> None:
        """Execute *statements* without parameters, such as those that make tables."""

        async def work(transaction: Transaction) -> None:
            for statement in statements:
                await transaction.execute(statement)

        await self.run(work)
        self.known_columns.clear()

    @abc.abstractmethod
    def translate(self, error: Exception) -> Exception | None:
        """Return the error to raise for one of the driver's; None for a bug, which must pass as it is."""

    @abc.abstractmethod
    async def _write(self, work: Callable[[Transaction], Awaitable[T]], durable: bool) -> T: ...

    @abc.abstractmethod
    async def _read(self, work: Callable[[Transaction], Awaitable[T]]) -> T: ...

    async def _write_brief(self, work: Callable[[Transaction], Awaitable[T]], durable: bool) -> T:
        return await self._write(work, durable)

    async def _read_brief(self, work: Callable[[Transaction], Awaitable[T]]) -> T:
        return await self._read(work)

    async def _persist(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Await *attempt* again and again until it does not fail with `Transient`, or the patience is over."""
        task = asyncio.current_task()
        if task in self._inside:
            # If all connections were held by tasks that want another one, none would ever get it.
            raise RuntimeError("run() or read() inside the work of another: pass the transaction on")
        patience = _patience.get()
        if patience is not None and self._away and self._timing.clock() - self._away[0] < _PROBE:
            raise errors.DatabaseError(self._away[1])
        backoff = loops.Backoff(0.010, 2.0, jitter=self._timing.jitter)
        since: float | None = None
        warned = patience is not None  # then the caller reports it
        self._inside.add(task)
        try:
            while True:
                try:
                    outcome = await attempt()
                    self._away = None
                    return outcome
                except Transient as error:
                    now = self._timing.clock()
                    since = now if since is None else since
                    if error.lost:
                        self._away = now, str(error.final)
                    if now - since >= (error.patience if patience is None else min(patience, error.patience)):
                        raise error.final from error.__cause__
                    if error.warn and not warned:
                        warned = True
                        _log.warning("%s - trying again for %d s", error, error.patience)
                await self._timing.sleep(backoff.next())
        finally:
            self._inside.discard(task)
