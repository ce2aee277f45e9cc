"""A batch as an asynchronous context manager: calls at any time, jobs as they are done."""

from __future__ import annotations

import asyncio
import collections
import inspect
import logging
import os
import sys
from collections.abc import AsyncIterable, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, NamedTuple, NoReturn, Self

from aioboinc import arguments, errors
from aioboinc.batch import held, leaving, mapping, settings, takers, tracebacks
from aioboinc.batch.job import Job
from aioboinc.batch.progress import Progress
from aioboinc.store import jobs

__all__ = ["Arguments", "Batch", "Caller", "Program", "folder_of_caller"]

_log = logging.getLogger(__name__)

Program = str | Path | Callable[..., Any]


class Arguments(NamedTuple):
    """The arguments of a function call, unless that is one positional argument."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]


class Caller:
    """Makes calls of a batch that share some options."""

    def __init__(self, batch: Batch, options: dict[str, Any]) -> None:
        self._batch = batch
        self._options = options

    def options(self, **options: Any) -> Caller:
        """Return a caller that has these options besides the present ones.

        Options are ``include``, ``version``, ``chunk`` and the fields of `aioboinc.JobOptions`, as for `pyboinc_call`.
        """
        with tracebacks.InCall("Batch.options"):
            _check_options(options)
        return Caller(self._batch, {**self._options, **options})

    def submit(self, program: Program, /, *args: Any, **kwargs: Any) -> Job:
        """Call *program* on some host, once; return the job at once. ``await job`` gives its output.

        *program* is a function, which gets *args* and *kwargs*, or the name of a slave file, whose input is the one
        argument. A call that an earlier run made is the same job as then.

        Raises `errors.ProgramError` for a program that is missing or can't be sent, `errors.NotData` for an argument
        that is not data, and other `errors.UsageError` for a call that is wrong.
        """
        with tracebacks.InCall(self._batch._name("submit")):
            return self._batch._submit(program, args, kwargs, self._options)

    def map(
        self,
        program: Program,
        /,
        *iterables: Iterable[Any] | AsyncIterable[Any],
        ordered: bool = False,
    ) -> mapping.Map:
        """Call *program* for each item of *iterables*; return an iterator over the jobs, for ``async for``.

        Iterables may be asynchronous. Several are iterated in parallel, as by the built-in `map`: each gives one
        argument of the function. Jobs come as they are done or, if *ordered*, in the order of the items. Only some
        thousands of items are taken ahead of the jobs, so there may be any number of items.

        Calls share workunits: as many as suit their run times, unless the option ``chunk`` gives a number.

        Raises `errors.UsageError` for wrong arguments; the iteration raises what `submit` raises.
        """
        with tracebacks.InCall(self._batch._name("map")):
            return self._batch._map(program, iterables, {"chunk": "auto", **self._options}, ordered=ordered)


class Batch(Caller):
    """A batch of calls, in the directory *batch_dir*.

    Use it as ``async with aioboinc.Batch("sweep") as batch``. A batch begun there continues: a call made before is the
    same job as then. Leaving the block ends the run. If all its jobs are done, unfinished jobs of calls that this run
    did not make are cancelled; if not, the batch can be resumed.

    *project* is the root directory of a BOINC or served project (default: the environment variable PYBOINC_DIR;
    without it, a project embedded in the batch directory, whose only hosts are *workers* cores of this machine, by
    default all). *fresh* abandons the batch that is there. *keep_results* keeps the results there are although the
    program has changed since. *inline_inputs*, *homogeneous_redundancy* and *progress* are as for `pyboinc_master`.
    *options* apply to all calls.

    Raises `errors.UsageError` if something is wrong with the directory or the project: when the block is entered, or at
    the first call.
    """

    def __init__(
        self,
        batch_dir: str | os.PathLike[str] | None = None,
        *,
        project: str | os.PathLike[str] | None = None,
        workers: int | None = None,
        fresh: bool = False,
        keep_results: bool = False,
        inline_inputs: int = 0,
        homogeneous_redundancy: int = 0,
        progress: Callable[[Progress], None] | bool | None = None,
        **options: Any,
    ) -> None:
        super().__init__(self, options)
        self._folder = folder_of_caller()
        with tracebacks.InCall(self._name()):
            _check_options(options, inspect.signature(Batch).parameters)
            self._settings = settings.chosen(
                self._name(),
                batch_dir=batch_dir,
                project=project,
                workers=workers,
                fresh=fresh,
                keep_results=keep_results,
                inline_inputs=inline_inputs,
                homogeneous_redundancy=homogeneous_redundancy,
                progress=progress,
            )
        self._held: held.Held | None = None
        self._awaited = _Awaited()
        self._maps: list[mapping.Map] = []
        self._left = False
        self._settling: asyncio.Task[None] | None = None

    def _name(self, method: str = "") -> str:
        """Return what the user has called."""
        return f"Batch.{method}" if method else "Batch"

    async def __aenter__(self) -> Self:
        if self._held is not None:
            raise errors.UsageError("Batch: this one was used before: make a new one for each block")
        one = held.Held(self._settings, self._folder, self._awaited)
        with tracebacks.Shortened():
            await one.__aenter__()
        self._held = one
        one.calls.late = True
        one.tasks.create_task(self._awaited.settle(one))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._held is not None
        self._left = True
        how_far = self._held.how_far()
        for made in self._maps:
            made.close()
        if self._settling is not None:
            self._settling.cancel()
        self._awaited.end()
        try:
            with tracebacks.Shortened():
                await self._held.__aexit__(kind, error, trace)
        except BaseException as raised:
            if raised is not error:
                raise
            raised.__traceback__ = trace  # what the block has raised goes on as if we were not there
        finally:
            self._awaited.close()
            again = ", without fresh=True," if self._settings.fresh else ""
            text = f"stopped: {how_far}, and nothing is lost: the same program{again} goes on from there"
            if isinstance(error, asyncio.CancelledError | KeyboardInterrupt):
                _log.warning("%s", text)
            elif error is None and self._held.is_unfinished:
                leaving.tell_if_interrupted(text)

    def __enter__(self) -> NoReturn:
        with tracebacks.InCall("Batch"):
            raise errors.ArgumentError(
                "Batch: write `async with Batch(...) as batch:`, in an async function; a program without async has "
                "aioboinc.run"
            )

    def __exit__(self, *_: object) -> None:
        """Python asks for it before it enters the block."""

    def __await__(self) -> NoReturn:
        with tracebacks.InCall("Batch"):
            raise errors.ArgumentError("Batch: write `async with Batch(...) as batch:` in place of `await`")

    def only(self, made: mapping.Map) -> None:
        """Declare that only *made* makes calls: once it has, unfinished jobs of other calls are cancelled."""

        async def settle() -> None:
            if await made.all_made():
                await one.all_called()

        one = self._entered()
        self._settling = one.tasks.create_task(settle())

    def _submit(
        self, program: Program, args: tuple[Any, ...], kwargs: dict[str, Any], options: dict[str, Any]
    ) -> Job:
        job = Job(self._reader(program), self._entered().look)
        _check_program(program)
        self._entered().calls.caller(program, options)(self._awaited, args, kwargs)
        self._awaited.add(job)
        return job

    def _map(
        self,
        program: Program,
        iterables: Sequence[Iterable[Any] | AsyncIterable[Any]],
        options: dict[str, Any],
        *,
        ordered: bool,
    ) -> mapping.Map:
        one = self._entered()
        _check_program(program)
        arguments.flag("pyboinc_call: ordered", ordered)
        arguments.iterables("pyboinc_call", iterables)
        queue = takers.OrderedQueue() if ordered else takers.Queue()

        callers: list[Callable[..., None]] = []

        def call(args: tuple[Any, ...]) -> None:
            try:
                if not callers:  # its errors come with the first job
                    callers.append(self._entered().calls.caller(program, options))
                callers[0](queue, args, {})
            except errors.UsageError as error:
                arguments.rename(error, self._name("map"))
                raise

        made = mapping.Map(one, queue, call, iterables, self._reader(program))
        self._maps.append(made)
        return made

    def _entered(self) -> held.Held:
        if self._left:
            raise errors.CallOutsideBatch(held.LEFT)
        if self._held is None:
            raise errors.CallOutsideBatch(
                "Batch: calls are made inside its block: write `async with Batch(...) as batch:`"
            )
        return self._held

    def _reader(self, program: Program) -> Callable[[int], Any]:
        """Return a function that returns the input of the call of *program* with the given order."""
        one = self._entered()

        def read(order: int) -> Any:
            value = one.input(order)
            if not callable(program):
                return value
            args, kwargs = value
            return args[0] if len(args) == 1 and not kwargs else Arguments(args, kwargs)

        return read


class _Awaited(takers.Queue):
    """Jobs that were submitted one by one."""

    def __init__(self) -> None:
        super().__init__()
        self._made: collections.deque[Job] = collections.deque()
        self._jobs: dict[int, Job] = {}

    def add(self, job: Job) -> None:
        """Note the *job* of the call just made."""
        self._made.append(job)

    def identified(self, number: int, order: int) -> None:
        job = self._jobs[number] = self._made.popleft()
        job.identify(number, order)

    async def settle(self, one: held.Held) -> None:
        """Settle the jobs as their outputs come, until the end."""
        while group := await self.take():
            for output in group:
                one.taken(output)
                self._jobs.pop(output.number).settle(output)
            one.tell()

    def close(self) -> None:
        """Wake whoever still awaits a job."""
        for job in (*self._made, *self._jobs.values()):
            job.close()


def _check_options(options: Mapping[str, Any], own: Iterable[str] = ()) -> None:
    """Refuse *options* of calls that there are not, or with values that are wrong; the caller may have *own* ones."""
    of_call = {name: value for name, value in options.items() if name not in {"include", "version", "chunk"}}
    arguments.options(of_call, jobs.Options.__slots__, ("include", "version", "chunk", *own))
    jobs.Options(**of_call)
    arguments.chunk("pyboinc_call: chunk", options.get("chunk", 1))
    arguments.file_names(options.get("include", ()))
    arguments.version(options.get("version"))


def _check_program(program: object) -> None:
    """Refuse a *program* that is neither a function nor the name of a slave's file."""
    if callable(program) or isinstance(program, str | Path):
        return
    if inspect.iscoroutine(program):
        program.close()  # nobody awaits it: Python would complain of that too
    raise errors.ArgumentError(
        f"pyboinc_call: it takes a function or the name of a slave's file, and {arguments.shown(program)} is neither: "
        "pass the function itself (square), and not what a call of it returns (square(3)); its arguments come after it"
    )


def folder_of_caller() -> Path:
    """Return the folder that slave file names are relative to: that of the file that makes the batch."""
    ours = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(ours):
        frame = frame.f_back
    file = frame.f_code.co_filename if frame else ""
    return Path(os.path.abspath(file)).parent if os.path.exists(file) else Path.cwd()
