"""From ``pyboinc_call`` to encoded calls, each with what tells it from any other.

Calls are encoded where they are made, so that an input may change afterwards and one that can't be encoded fails
at its own line.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import hashlib
import inspect
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from aioboinc import arguments, errors
from aioboinc.batch import queue, tracebacks
from aioboinc.program import bundle
from aioboinc.store import jobs
from aioboinc.wire import codec

__all__ = ["Calls", "make", "pyboinc_call"]

_OUTSIDE = (
    "pyboinc_call outside make_calls: only the function that pyboinc_master gets as make_calls makes calls, until it "
    "has returned"
)

_current: contextvars.ContextVar[Calls] = contextvars.ContextVar("aioboinc.batch.calls")


@dataclass(frozen=True, slots=True)
class _Kind:
    """What calls of the same slave with the same options have in common."""

    sources: bundle.Sources
    registry: codec.Registry
    options: jobs.Options
    fingerprint: bytes
    """Of the sources."""
    options_sha256: bytes
    """SHA-256 of the options that the calls name."""


class Calls:
    """The calls of one batch, as they are made: from the event loop or from one thread. They go to *sender*."""

    def __init__(self, folder: Path, sender: queue.Sender) -> None:
        self.sender = sender
        self.made = 0
        """Number of calls so far."""
        self.maker: threading.Thread | None = None
        """The thread in which ``make_calls`` runs, if it is a plain function."""
        self._folder = folder
        self._over = False
        self._programs: dict[tuple[str | Path, ...], tuple[bundle.Sources, codec.Registry]] = {}
        self._kinds: dict[tuple[Any, ...], _Kind] = {}

    def add(self, slave: str | Path, input: object, include: Sequence[str | Path], **options: Any) -> None:
        """Encode one call and send it; does not block."""
        kind = self._kind(slave, include, options)
        try:
            data = codec.encode(input, kind.registry)
        except codec.NotData as error:
            raise errors.NotData(str(error)) from None
        sha256 = hashlib.sha256(data).digest()
        call = jobs.Call(kind.sources, data, sha256, kind.options, kind.fingerprint + sha256 + kind.options_sha256)
        if self._over:
            raise errors.CallOutsideBatch(_OUTSIDE)
        try:
            self.sender.send(call)
        except queue.Closed:
            raise asyncio.CancelledError("the master has stopped") from None
        self.made += 1

    def end(self) -> None:
        """Refuse more calls."""
        self._over = True
        self.sender.end()

    def registry(self) -> codec.Registry:
        """Return the classes of all programs called so far."""
        return bundle.registry(*(sources for sources, _ in list(self._programs.values())))

    def _kind(self, slave: str | Path, include: Sequence[str | Path], options: dict[str, Any]) -> _Kind:
        try:
            # With their types: 1 and True are equal.
            key = (slave, *include, None, *options.items(), *map(type, options.values()))
            kind = self._kinds.get(key)
        except TypeError:  # of something that is no key, nor an argument
            kind = None
        if kind is None:
            kind = self._new_kind(slave, include, options)
            if len(self._kinds) >= jobs.MAX_KINDS:
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

    def _program(self, slave: str | Path, include: Sequence[str | Path]) -> tuple[bundle.Sources, codec.Registry]:
        key = (slave, *include)
        if key not in self._programs:
            sources = bundle.collect(self._folder / slave, include)
            self._programs[key] = (sources, bundle.registry(sources))
        return self._programs[key]


class _Queued:
    """What ``pyboinc_call`` returns: awaiting it is back-pressure, not awaiting it is allowed."""

    __slots__ = ("_sender",)

    def __init__(self, sender: queue.Sender) -> None:
        self._sender = sender

    def __await__(self) -> Generator[Any, None, None]:
        return _NO_WAIT if self._sender.has_room() else self._sender.room().__await__()


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
        calls = _current.get(None)
        if calls is None:
            raise errors.CallOutsideBatch(_OUTSIDE)
        calls.add(slave_filename, input, include, **options)
    except errors.UsageError as error:
        error.at_call = True
        error.__traceback__ = None  # the line with the call comes next
        raise
    if threading.current_thread() is calls.maker:
        calls.sender.block()
    return _Queued(calls.sender)


@tracebacks.calls_program
async def make(make_calls: Callable[[], Any], calls: Calls) -> None:
    """Run *make_calls*, which makes *calls*, to its end. Plain functions and generators run in a thread."""
    _current.set(calls)
    try:
        if inspect.iscoroutinefunction(make_calls):
            await make_calls()
        elif inspect.isasyncgenfunction(make_calls):
            async for call in make_calls():
                if isinstance(call, _Queued):
                    await call
        else:
            outcome = await _in_daemon_thread(make_calls, calls)
            if inspect.isawaitable(outcome):
                await outcome
            elif isinstance(outcome, AsyncGenerator):
                async for call in outcome:
                    if isinstance(call, _Queued):
                        await call
    except BaseException:
        calls.sender.abort()
        raise
    calls.end()


async def _in_daemon_thread(make_calls: Callable[[], Any], calls: Calls) -> Any:
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
            calls.maker = None
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, outcome, error)

    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(run,), name="make_calls", daemon=True)
    calls.maker = thread
    thread.start()
    return await done
