"""A batch directory that a program holds: locked, and with its batch open from the first call on."""

from __future__ import annotations

import asyncio
import collections
import contextlib
from collections.abc import Coroutine, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from aioboinc import errors
from aioboinc.aio import task_group
from aioboinc.batch import calls, inputs, opening, outputs, queue, session, settings, takers
from aioboinc.batch.directory import BatchDirectory
from aioboinc.batch.progress import Progress
from aioboinc.store import executions
from aioboinc.wire import codec

__all__ = ["LEFT", "Held"]

LEFT = "Batch: its block was left: calls are made and jobs come only inside it; run the program again to continue"

_blocks: collections.Counter[Path] = collections.Counter()
"""How many batches this process has begun in each directory."""


class Held:
    """A batch directory that is held, and its batch, which is opened at the first call.

    Slave file names are relative to *folder*; *taker* gets the outputs of ``pyboinc_call``.
    """

    def __init__(
        self,
        chosen: settings.Settings,
        folder: Path,
        taker: takers.Queue,
        *,
        replay: bool = True,
        keep_inputs: bool = True,
    ) -> None:
        self._settings = chosen
        self._directory = BatchDirectory(chosen.batch_dir)
        self._folder = folder
        self._taker = taker
        self._queues = [taker]
        self._replay = replay
        self._keep_inputs = keep_inputs
        self._inputs: inputs.Inputs | None = None
        self._leave = asyncio.Event()
        self._serving: asyncio.TaskGroup
        self._loop = asyncio.get_running_loop()
        self._stack = contextlib.AsyncExitStack()
        self.tasks = task_group.TaskGroup()
        """When one of its tasks fails, the group ends, and the batch's body with it."""

    async def __aenter__(self) -> Self:
        async with contextlib.AsyncExitStack() as stack:
            stack.enter_context(self._directory.made())
            stack.enter_context(self._directory.lock())
            await self._begin()
            self._stack = stack.pop_all()
        await self.tasks.__aenter__()
        self.tasks.create_task(self._run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.calls.end()
        self._leave.set()
        async with self._stack:
            try:
                await self.tasks.__aexit__(kind, error, trace)
            finally:
                self._receiver.close()

    async def _begin(self) -> None:
        root = self._settings.project
        if self._settings.fresh:
            await opening.discard(self._directory, root, self._tell_cancelled)
        self._checkpoint = await self._directory.read_checkpoint()
        if self._checkpoint is not None:
            opening.check(self._checkpoint, self._directory, root)
        sender, self._receiver = queue.open()
        self.calls = calls.Calls(self._folder, sender, self._taker)
        self._opened: asyncio.Future[session.Session | None] = asyncio.get_running_loop().create_future()

    def _tell_cancelled(self, done: int, total: int) -> None:
        self._settings.progress(Progress(0, False, 0, 0, done, total))

    def attach(self, queue: takers.Queue) -> None:
        """Let *queue* take outputs from the batch."""
        self._queues.append(queue)
        if self._opened.done():
            queue.source = self._opened.result()

    def input(self, order: int) -> Any:
        """Return the input of the run's call number *order*. Raises `errors.UsageError`."""
        assert self._inputs is not None
        return codec.decode(self._inputs.read(order), self.calls.registry())

    async def look(self, number: int) -> executions.Workunit | None:
        """Return what the project's database has of the job *number*. Works in any event loop.

        Raises `errors.CallOutsideBatch` when the batch was left.
        """
        if self._leave.is_set():
            raise errors.CallOutsideBatch(LEFT)
        current = self._opened.result()
        assert current is not None
        if asyncio.get_running_loop() is self._loop:
            return await current.look(number)
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(current.look(number), self._loop))

    def order(self, number: int) -> int:
        """Return how many calls of this run came before that of the job *number*."""
        current = self._opened.result()
        assert current is not None
        return current.ledger.order(number)

    def taken(self, output: outputs.Output) -> None:
        """Count *output* as taken."""
        current = self._opened.result()
        assert current is not None
        current.taken(output)

    def tell(self) -> None:
        """Report how far the batch is."""
        current = self._opened.result()
        assert current is not None
        current.tell()

    @property
    def is_unfinished(self) -> bool:
        """Whether the batch was left before all of its jobs were done."""
        return self.calls.sender.sent > self._done

    @property
    def _done(self) -> int:
        current = self._opened.result() if self._opened.done() and not self._opened.cancelled() else None
        return 0 if current is None else current.done

    def how_far(self) -> str:
        """Return in words how many of the calls are done."""
        return f"{self._done} of the {self.calls.sender.sent} jobs called so far are done"

    async def opened(self) -> session.Session | None:
        """Return the batch's session once there is a call; None if the run ends without a call."""
        return await asyncio.shield(self._opened)

    async def committed_all(self) -> None:
        """Wait until all calls made so far are in the project, which no time of others keeps any longer."""
        if self.calls.sender.sent:
            current = await self.opened()
            assert current is not None
            current.flush()
            await current.committed_all()

    async def withdraw(self, numbers: Sequence[int]) -> None:
        """Take back the calls of the jobs *numbers*; cancel the jobs as far as they are not done."""
        if numbers:
            current = await self.opened()
            assert current is not None
            current.uncall(numbers)
            await current.withdraw(numbers)

    async def all_called(self) -> None:
        """Declare that this run makes no more calls: unfinished jobs of other calls are cancelled."""
        current = await self.opened()
        if current is not None:
            await current.committed_all()
            await current.mark_submitted()
            await current.withdraw_uncalled()

    def serve(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Do *work* on the batch, which is `opened`, in a task that is cancelled before the project is closed."""
        return self._serving.create_task(work)

    async def _run(self) -> None:
        if not await self._receiver.ready():
            self._opened.set_result(None)
            return
        block = _blocks[self._directory.path]
        _blocks[self._directory.path] += 1
        async with opening.opened(
            self._directory,
            self._settings.project,
            self._checkpoint,
            workers=self._settings.workers,
            homogeneous_redundancy=self._settings.homogeneous_redundancy,
        ) as opened:
            self._inputs = inputs.Inputs(self._directory.tmp, all_of_them=self._keep_inputs)
            current = session.Session(
                self._directory,
                opened,
                self.calls,
                self._receiver,
                self._settings,
                block=block,
                replay=self._replay,
                kept_inputs=self._inputs,
            )
            await self._serve(current)

    async def _serve(self, current: session.Session) -> None:
        async with current.record.withdrawn_if_empty():
            await current.begin()
            for queue in self._queues:
                queue.source = current
            try:
                await self._until_left(current)
            finally:
                await current.retire_taken()

    async def _until_left(self, current: session.Session) -> None:
        async with task_group.TaskGroup() as tasks:
            working = tasks.create_task(current.run())
            self._serving = tasks
            self._opened.set_result(current)
            await self._leave.wait()
            current.flush()
            await current.committed_all()
            await current.mark_submitted()
            if not current.outstanding:
                await current.retire_taken()
                await current.withdraw_uncalled()
                await current.finish()
            working.cancel()
