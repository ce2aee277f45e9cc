"""From ``pyboinc_call`` to the queue of a batch's calls.

Calls are encoded where they are made, so that an input may change afterwards and one that can't be encoded
fails at its own line. They wait in a bounded queue until a chunk of them is taken: a whole one, or whatever has
come together as soon as those before are written. The first call goes at once, a flood goes in large transactions.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import hashlib
import inspect
import threading
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from aioboinc import arguments, codec, errors, jobs, program, tracebacks

__all__ = ["CallQueue", "make", "pyboinc_call"]

QUEUE_BYTES = 16 << 20
"""Bytes of encoded inputs that wait at most, likewise; one larger input passes alone."""
FIRST_CHUNK_CALLS = 64
"""Calls in the first transaction at most: hosts shall not wait. Each that follows may have twice as many."""
CHUNK_CALLS = 2048
"""Calls in any transaction at most. Those of two wait at most, unless ``make_calls`` does not await them."""
_BREATH = 0.0002
"""Seconds after which an ``await pyboinc_call(…)`` lets the event loop run: the database's answers wait for that."""

_OUTSIDE = (
    "pyboinc_call outside make_calls: only the function that pyboinc_master gets as make_calls makes calls, until it "
    "has returned"
)

_current: contextvars.ContextVar[CallQueue] = contextvars.ContextVar("aioboinc.calls")


@dataclass(frozen=True, slots=True)
class _Kind:
    """What calls of the same slave with the same options have in common."""

    sources: program.Sources
    registry: codec.Registry
    options: jobs.Options
    fingerprint: bytes
    """Of the sources."""
    options_sha256: bytes
    """SHA-256 of the options that the calls name."""


class CallQueue:
    """The calls of one batch that are not written yet; calls come from the event loop or from one thread."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._condition = threading.Condition(self._lock)
        self._calls: list[jobs.Call] = []
        self.made = 0
        """Number of calls so far."""
        self._bytes = 0
        self._chunk = FIRST_CHUNK_CALLS
        self._paused = False
        self._lingering = False
        self._closed = False
        self._abandoned = False
        self._readable = asyncio.Event()
        self._writable = asyncio.Event()
        self._breath = 0.0
        self._programs: dict[tuple[str | Path, ...], tuple[program.Sources, codec.Registry]] = {}
        self._kinds: dict[tuple[Any, ...], _Kind] = {}

    def add(self, slave: str | Path, input: object, include: Sequence[str | Path], **options: Any) -> None:
        """Encode one call and put it at the end; does not block."""
        kind = self._kind(slave, include, options)
        try:
            data = codec.encode(input, kind.registry)
        except codec.NotData as error:
            raise errors.NotData(str(error)) from None
        sha256 = hashlib.sha256(data).digest()
        call = jobs.Call(kind.sources, data, sha256, kind.options, kind.fingerprint + sha256 + kind.options_sha256)
        with self._lock:
            if self._abandoned:
                raise asyncio.CancelledError("the master has stopped")
            if self._closed:
                raise errors.CallOutsideBatch(_OUTSIDE)
            self._calls.append(call)
            self.made += 1
            self._bytes += len(data)
        if self._ripe():
            self._notify(self._readable)

    def registry(self) -> codec.Registry:
        """Return the classes of all programs called so far."""
        return program.registry(*(sources for sources, _ in list(self._programs.values())))

    def _kind(self, slave: str | Path, include: Sequence[str | Path], options: dict[str, Any]) -> _Kind:
        try:
            # With their types: 1 and True are equal.
            key = (slave, *include, None, *options.items(), *map(type, options.values()))
            kind = self._kinds.get(key)
        except TypeError:  # of something that is no key, nor an argument
            kind = None
        if kind is None:
            kind = self._new_kind(slave, include, options)
            if len(self._kinds) >= jobs.MOST_KINDS:
                self._kinds.clear()
            self._kinds[key] = kind
        return kind

    def _new_kind(self, slave: str | Path, include: Sequence[str | Path], options: dict[str, Any]) -> _Kind:
        """Check what all calls of a kind have in common, and read the program."""
        arguments.slave(slave)
        include = arguments.file_names(include)
        arguments.options(options, jobs.Options.__slots__)
        chosen = jobs.Options(**options)
        sources, registry = self._program(slave, include)
        # Not of all options: new ones may get defaults.
        named = hashlib.sha256(repr(tuple(sorted(options.items()))).encode()).digest()
        return _Kind(sources, registry, chosen, bytes.fromhex(sources.fingerprint), named)

    def _program(self, slave: str | Path, include: Sequence[str | Path]) -> tuple[program.Sources, codec.Registry]:
        key = (slave, *include)
        if key not in self._programs:
            sources = program.collect(self._folder / slave, include)
            self._programs[key] = (sources, program.registry(sources))
        return self._programs[key]

    def _full(self) -> bool:
        return self._paused or len(self._calls) >= 2 * self._chunk or self._bytes >= QUEUE_BYTES

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Have no room meanwhile."""
        self._paused = True
        try:
            yield
        finally:
            with self._condition:
                self._paused = False
                self._condition.notify_all()
            self._writable.set()

    def _notify(self, event: asyncio.Event) -> None:
        """Set *event*, from whichever thread."""
        if event.is_set():
            return
        try:
            on_loop = asyncio.get_running_loop() is self._loop
        except RuntimeError:
            on_loop = False
        if on_loop:
            event.set()
        else:
            self._loop.call_soon_threadsafe(event.set)

    def block(self) -> None:
        """Wait until there is room; for a thread."""
        with self._condition:
            self._condition.wait_for(lambda: self._abandoned or not self._full())

    def has_room(self) -> bool:
        """Tell whether `room` has nothing to wait for now."""
        return time.monotonic() < self._breath and not self._full()

    async def room(self) -> None:
        """Wait until there is room; let others run now and then."""
        while self._full() and not self._abandoned:
            self._writable.clear()
            await self._writable.wait()
            self._breathe()
        if time.monotonic() >= self._breath:
            await asyncio.sleep(0)
            self._breathe()

    def _breathe(self) -> None:
        self._breath = time.monotonic() + _BREATH

    def close(self) -> None:
        """No more calls will come."""
        with self._lock:
            self._closed = True
        self._notify(self._readable)

    def abandon(self) -> None:
        """Nobody will take the calls any more: release the thread that makes them."""
        with self._condition:
            self._abandoned = self._closed = True
            self._calls.clear()
            self._condition.notify_all()
        self._readable.set()
        self._writable.set()

    def linger(self) -> None:
        """From now on `take` waits for a whole chunk: what it has returned is still on its way."""
        self._lingering = True

    def hurry(self) -> None:
        """From now on `take` returns what there is."""
        self._lingering = False
        self._readable.set()

    def _ripe(self) -> bool:
        whole = len(self._calls) >= self._chunk or self._bytes >= QUEUE_BYTES
        return self._closed or whole or (bool(self._calls) and not self._lingering)

    async def ready(self) -> bool:
        """Wait until there is something to take, or the end; tell whether there is a call."""
        while not self._ripe():
            self._readable.clear()
            if self._ripe():
                break
            await self._readable.wait()
        return bool(self._calls)

    async def take(self) -> list[jobs.Call]:
        """Remove and return the next calls, at least one; none at the end."""
        await self.ready()
        if self._abandoned:  # not the end: what there was is not all
            raise asyncio.CancelledError("the master has stopped")
        with self._condition:
            chunk = self._calls[: self._chunk]
            del self._calls[: self._chunk]
            self._chunk = min(2 * self._chunk, CHUNK_CALLS)
            self._bytes -= sum(len(call.input) for call in chunk)
            self._condition.notify_all()
        self._writable.set()
        return chunk


class _Queued:
    """What ``pyboinc_call`` returns: awaiting it is back-pressure, not awaiting it is allowed."""

    __slots__ = ("_queue",)

    def __init__(self, queue: CallQueue) -> None:
        self._queue = queue

    def __await__(self) -> Generator[Any, None, None]:
        return _NO_WAIT if self._queue.has_room() else self._queue.room().__await__()


_NO_WAIT = cast(Generator[Any, None, None], iter(()))


def pyboinc_call(
    slave_filename: str | Path,
    input: object,
    *,
    include: Sequence[str | Path] = (),
    **options: Any,
) -> Awaitable[None]:
    """Call the slave with *input* on some host, once; the output goes to the master's ``handle_result``.

    *slave_filename* is relative to the folder of the file that defines ``make_calls``. The modules it imports
    from its own folder go with it; *include* names more files or folders of that folder that it needs.
    *options* are the fields of `jobs.Options`: ``quorum``, ``priority``, ``delay_bound`` and so on.

    The result may be awaited: that waits while too many calls are queued. In a ``make_calls`` that is a plain
    function, the call itself waits.

    Raises `errors.ProgramError` for a slave that is missing or can't be bundled, `errors.NotData` for an
    input that is not data, `errors.CallOutsideBatch` (a RuntimeError) outside of ``make_calls``, and other
    `errors.UsageError` for arguments that are wrong.
    """
    try:
        queue = _current.get(None)
        if queue is None:
            raise errors.CallOutsideBatch(_OUTSIDE)
        queue.add(slave_filename, input, include, **options)
    except errors.UsageError as error:
        error.at_call = True
        error.__traceback__ = None  # the line with the call comes next
        raise
    if threading.current_thread() is _makers.get(queue):
        queue.block()
    return _Queued(queue)


_makers: dict[CallQueue, threading.Thread] = {}


@tracebacks.calls_program
async def make(make_calls: Callable[[], Any], queue: CallQueue) -> None:
    """Run *make_calls* to its end and close *queue*. Plain functions and generators run in a thread."""
    _current.set(queue)
    try:
        if inspect.iscoroutinefunction(make_calls):
            await make_calls()
        elif inspect.isasyncgenfunction(make_calls):
            async for call in make_calls():
                if isinstance(call, _Queued):
                    await call
        else:
            outcome = await _in_daemon_thread(make_calls, queue)
            if inspect.isawaitable(outcome):
                await outcome
            elif isinstance(outcome, AsyncGenerator):
                async for call in outcome:
                    if isinstance(call, _Queued):
                        await call
    except BaseException:
        queue.abandon()
        raise
    queue.close()


async def _in_daemon_thread(make_calls: Callable[[], Any], queue: CallQueue) -> Any:
    """Run a plain *make_calls* in a thread, one that does not keep a stopped process alive."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Any] = loop.create_future()

    def settle(outcome: Any, error: BaseException | None) -> None:
        if done.cancelled():
            return
        if error is None:
            done.set_result(outcome)
        else:
            done.set_exception(error)

    @tracebacks.calls_program
    def run() -> None:
        outcome: Any = None
        error: BaseException | None = None
        try:
            outcome = make_calls()
            if inspect.isgenerator(outcome):
                for _ in outcome:
                    pass
                outcome = None
        except asyncio.CancelledError:
            return
        except StopIteration:
            error = RuntimeError("make_calls raised StopIteration")
        except BaseException as raised:
            error = raised
        finally:
            _makers.pop(queue, None)
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, outcome, error)

    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(run,), name="make_calls", daemon=True)
    _makers[queue] = thread
    thread.start()
    return await done
