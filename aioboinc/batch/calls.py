"""From ``pyboinc_call`` to encoded calls, each with its key.

Calls are encoded when they are made, so that the program may change an input afterwards, and an input that can't be
encoded fails on the line of its call.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import hashlib
import inspect
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from aioboinc import arguments, errors
from aioboinc.batch import keys, queue, takers, tracebacks
from aioboinc.program import bundle
from aioboinc.store import jobs
from aioboinc.wire import codec

if TYPE_CHECKING:
    from aioboinc.program import functions

__all__ = ["Calls", "current", "late", "make", "pyboinc_call"]

_OUTSIDE = (
    "pyboinc_call outside of pyboinc_master: only its make_calls, handle_result and handle_error may make calls, and "
    "only until it returns"
)

_current: contextvars.ContextVar[Calls] = contextvars.ContextVar("aioboinc.batch.calls")
_late: contextvars.ContextVar[bool] = contextvars.ContextVar("aioboinc.batch.calls.late", default=False)


class Calls:
    """Takes the calls of one batch, from the event loop or one thread, and sends them by *sender*.

    Slave file names are relative to *folder*. Outputs of ``pyboinc_call`` go to *taker*.
    """

    def __init__(self, folder: Path, sender: queue.Sender, taker: takers.Taker) -> None:
        self.sender = sender
        self.maker: threading.Thread | None = None
        """The thread in which ``make_calls`` runs, if it is a plain function."""
        self.taker = taker
        self.late = False
        """Whether all calls made now may depend on results; if not, those made in the context of `late` may."""
        self._folder = folder
        self._over = False
        self._slaves: dict[tuple[Any, ...], bundle.Sources] = {}
        self._functions: dict[tuple[Any, ...], functions.Program] = {}
        self._called: dict[int, bundle.Sources] = {}
        self._sources: dict[str, bundle.Sources] = {}
        """Programs by identity, in hexadecimal."""
        self._registry: tuple[int, codec.Registry] = 0, bundle.registry()
        self._kinds: dict[tuple[Any, ...], tuple[jobs.Kind, codec.Registry]] = {}
        self._callers: dict[tuple[Any, ...], _FunctionCaller] = {}

    def caller(
        self, program: str | Path | Callable[..., Any], options: Mapping[str, Any]
    ) -> Callable[[takers.Taker, Sequence[Any], Mapping[str, Any]], None]:
        """Return what calls *program*, a function or a slave file, given who gets the output, and the arguments."""
        if callable(program):
            return self.function(program, **options)

        def call(taker: takers.Taker, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
            if len(args) != 1 or kwargs:
                raise errors.ArgumentError(
                    f"{program}: a slave file gets one input, not {len(args)}, and no keywords{_hint(kwargs)}"
                )
            self.add(taker, program, args[0], **options)

        return call

    def add(
        self,
        taker: takers.Taker,
        slave: str | Path,
        input: object,
        include: Sequence[str | Path] = (),
        version: str | None = None,
        **options: Any,
    ) -> None:
        """Encode one call of a slave file and send it; does not block. Its output goes to *taker*."""
        try:
            # With the options' types, because 1 == True.
            key = (slave, *include, version, None, *options.items(), *map(type, options.values()))
            known = self._kinds.get(key)
        except TypeError:  # unhashable, so no valid argument either
            known = None
        if known is None:
            known = self._kinds[key] = self._new_kind(self._slave(slave, include, version), options)
        kind, registry = known
        try:
            data = codec.encode(input, registry)
        except codec.NotData as error:
            raise errors.NotData(str(error)) from None
        self._send(kind, data, taker)

    def function(
        self,
        function: Callable[..., Any],
        include: Sequence[str | Path] = (),
        version: str | None = None,
        **options: Any,
    ) -> Callable[[takers.Taker, Sequence[Any], Mapping[str, Any]], None]:
        """Return what encodes a call of *function* and sends it, given who gets its output, and its arguments."""
        try:
            # With the options' types, because 1 == True.
            key = (function, *include, version, None, *options.items(), *map(type, options.values()))
            known = self._callers.get(key)
        except TypeError:  # unhashable, so no valid argument either
            known = None
        if known is None:
            program = self._function(function, include)
            name = f"{getattr(function, '__module__', '')}.{program.name}"

            def kind_of(sources: bundle.Sources) -> jobs.Kind:
                return self._new_kind(self._part(sources, name, version), options)[0]

            if len(self._callers) >= jobs.MAX_KINDS:
                self._callers.clear()
            known = self._callers[key] = _FunctionCaller(program, kind_of, self._send)
        return known

    def _send(self, kind: jobs.Kind, data: bytes, taker: takers.Taker) -> None:
        sha256 = hashlib.sha256(data).digest()
        call = jobs.Call(kind, data, sha256, keys.first(kind.program, sha256), self.late or _late.get(), taker)
        if self._over:
            raise errors.CallOutsideBatch(_OUTSIDE)
        try:
            self.sender.send(call)
        except queue.Closed:
            raise asyncio.CancelledError("the master has stopped") from None

    def end(self) -> None:
        """Refuse more calls."""
        self._over = True
        self.sender.end()

    def registry(self) -> codec.Registry:
        """Return the classes of all programs called so far."""
        called = tuple(self._called.values())
        if len(called) != self._registry[0]:
            self._registry = len(called), bundle.registry(*called)
        return self._registry[1]

    def located(self, program: str, error: Mapping[str, Any]) -> dict[str, Any]:
        """Return *error*, an output of *program*, with the line numbers of its traceback as in the user's files."""
        sources = self._sources.get(program)
        return dict(error) if sources is None else bundle.located(sources, error)

    def _new_kind(self, program: _Program, options: dict[str, Any]) -> tuple[jobs.Kind, codec.Registry]:
        """Check *options*; return the kind of calls of *program* with them."""
        if len(self._kinds) >= jobs.MAX_KINDS:
            self._kinds.clear()
        return _kind(program, options), program.registry

    def _slave(self, slave: str | Path, include: Sequence[str | Path], version: str | None) -> _Program:
        arguments.slave(slave)
        names = arguments.file_names(include)
        key = (slave, *names)
        if key not in self._slaves:
            self._slaves[key] = bundle.collect(self._folder / slave, names)
        return self._part(self._slaves[key], str(slave), version)

    def _function(self, function: Callable[..., Any], include: Sequence[str | Path]) -> functions.Program:
        from aioboinc.program import functions  # slow to import, and most batches call none

        names = arguments.file_names(include)
        try:
            hash(function)
        except TypeError:
            raise errors.ProgramError(
                f"{type(function).__name__} objects can't be told apart: their class has no __hash__; write a "
                "function"
            ) from None
        key = (function, *names)
        if key not in self._functions:
            self._functions[key] = functions.Program(function, names)
        return self._functions[key]

    def _part(self, sources: bundle.Sources, name: str, version: str | None) -> _Program:
        version = arguments.version(version)
        self._called[id(sources)] = sources
        identity = bytes.fromhex(sources.identity)
        if version is not None:
            identity = hashlib.sha256(f"{name}\0{version}".encode("utf-8", "surrogatepass")).digest()
        self._sources[identity.hex()] = sources
        return _Program(sources, bundle.registry(sources), name, identity)


class _FunctionCaller:
    """Makes calls of one function with the same options."""

    __slots__ = ("_kind", "_kind_of", "_kinds", "_program", "_send", "_sources")

    def __init__(
        self,
        program: functions.Program,
        kind_of: Callable[[bundle.Sources], jobs.Kind],
        send: Callable[[jobs.Kind, bytes, takers.Taker], None],
    ) -> None:
        self._program = program
        self._kind_of = kind_of
        self._send = send
        self._sources: bundle.Sources | None = None
        self._kind: jobs.Kind
        self._kinds: dict[int, jobs.Kind] = {}

    def __call__(self, taker: takers.Taker, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        sources, data = self._program.encode(args, kwargs)
        if sources is not self._sources:
            kind = self._kinds.get(id(sources))
            if kind is None:
                kind = self._kinds[id(sources)] = self._kind_of(sources)
            self._sources, self._kind = sources, kind
        self._send(self._kind, data, taker)


@dataclass(frozen=True)
class _Program:
    """A program as calls name it."""

    sources: bundle.Sources
    registry: codec.Registry
    name: str
    identity: bytes


def _kind(program: _Program, options: dict[str, Any]) -> jobs.Kind:
    """Check *options*; return the kind of calls of *program* with them."""
    arguments.options(options, (*jobs.Options.__slots__, "chunk"))
    options = dict(options)
    chunk = arguments.chunk("pyboinc_call: chunk", options.pop("chunk", 1))
    chosen = jobs.Options(**options)
    named = {option: getattr(chosen, option) for option, value in options.items() if value is not None}
    text = repr(tuple(sorted(options.items())))
    options_sha256 = hashlib.sha256(text.encode("utf-8", "backslashreplace")).digest()
    return jobs.Kind(program.sources, program.name, program.identity, chosen, named, options_sha256, chunk)


class _Queued:
    """What ``pyboinc_call`` returns. Awaiting it is optional, and applies back-pressure."""

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
    version: str | None = None,
    **options: Any,
) -> Awaitable[None]:
    """Call the slave with *input* on some host, once; the output goes to the master's ``handle_result``.

    A call of the same program with the same input as one of an earlier run is the same job. If the program has changed,
    all its calls are new, unless *version* names its version: then they are the same as long as the version is.

    *slave_filename* is relative to the folder of the file that defines ``make_calls``. The modules it imports from
    its own folder go with it; *include* names other files or folders there that it needs. *options* are the fields of
    `jobs.Options`: ``quorum``, ``priority``, ``delay_bound`` and so on; and ``chunk``: how many successive calls of the
    same program with the same options may share a workunit, 1 by default, or ``"auto"``: as many as suit their run
    times.

    Awaiting the result is optional: it waits while too many calls are queued. In a ``make_calls`` that is a plain
    function, the call itself waits.

    Raises `errors.ProgramError` for a slave that is missing or can't be bundled, `errors.NotData` for an
    input that is not data, `errors.CallOutsideBatch` (a RuntimeError) outside of ``pyboinc_master``, and other
    `errors.UsageError` for arguments that are wrong.
    """
    try:
        calls = _current.get(None)
        if calls is None:
            raise errors.CallOutsideBatch(_OUTSIDE)
        calls.add(calls.taker, slave_filename, input, include, version, **options)
    except errors.UsageError as error:
        error.at_call = True
        error.__traceback__ = None  # begin with the line of the call
        raise
    if threading.current_thread() is calls.maker:
        calls.sender.block()
    return _Queued(calls.sender)


@contextlib.contextmanager
def current(calls: Calls) -> Iterator[None]:
    """Let calls in the body go to *calls*, in this task and in those that it starts."""
    tokens = _current.set(calls), _late.set(False)
    try:
        yield
    finally:
        _current.reset(tokens[0])
        _late.reset(tokens[1])


@contextlib.contextmanager
def late() -> Iterator[None]:
    """Mark calls in the body, and in tasks that it starts, as ones that may depend on results."""
    token = _late.set(True)
    try:
        yield
    finally:
        _late.reset(token)


@tracebacks.calls_program
async def make(make_calls: Callable[[], Any], calls: Calls) -> None:
    """Run *make_calls*, which makes *calls*, to its end. Plain functions and generators run in a thread."""
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


async def _in_daemon_thread(make_calls: Callable[[], Any], calls: Calls) -> Any:
    """Run a plain *make_calls* in a daemon thread, which does not keep a stopped process alive."""
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


def _hint(kwargs: Mapping[str, Any]) -> str:
    names = [name for name in kwargs if name in jobs.Options.__slots__]
    return f"; options of a call are given by batch.options({names[0]}=...)" if names else ""
