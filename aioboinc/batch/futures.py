"""The futures of an executor, as those who wait for the outputs of its calls."""

from __future__ import annotations

import asyncio
import collections
import concurrent.futures
from collections.abc import Callable
from typing import Any

from aioboinc import errors
from aioboinc.batch import held, outputs, takers

__all__ = ["Future", "Futures"]

_LEFT = "the executor was left before this job was done: run the program again to go on"


class Future(concurrent.futures.Future[Any]):
    """The outcome of one call.

    ``result()`` gives what the function has returned, or raises the job's error, which ``exception()`` returns:
    `errors.RemoteError` if the function has raised, else `errors.JobFailed`.
    """

    def __init__(self, cancelled: Callable[[Future], None]) -> None:
        super().__init__()
        self._cancelled = cancelled
        self._is_told = False
        self._number: int | None = None

    @property
    def number(self) -> int | None:
        """The number of the job in its batch, from 0; None while the batch has not been looked up for it."""
        return self._number

    def cancel(self) -> bool:
        """Cancel the call, unless it is done; return whether it is cancelled.

        That is so whether the job has begun or not. It is cancelled in the project, too, a moment later.
        """
        if not super().cancel():
            return False
        with self._condition:
            was_told, self._is_told = self._is_told, True
        if not was_told:
            self.set_running_or_notify_cancel()
            self._cancelled(self)
        return True

    def identify(self, number: int) -> None:
        """Take note which job this is. For the executor."""
        self._number = number

    def settle(self, output: outputs.Output) -> bool:
        """Take note of what became of the job; return whether that is news. For the executor."""
        try:
            if output.error is None:
                self.set_result(output.value)
            else:
                self.set_exception(output.error)
        except concurrent.futures.InvalidStateError:
            return False
        return True

    def fail(self, error: BaseException) -> bool:
        """Take note that *error* has ended the batch; return whether somebody has waited. For the executor."""
        try:
            self.set_exception(error)
        except concurrent.futures.InvalidStateError:
            return False
        return True


class Futures(takers.Queue):
    """The futures of a batch. Those that are cancelled are not waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.cancelled = asyncio.Event()
        """There are jobs whose futures were cancelled."""
        self._made: collections.deque[Future] = collections.deque()
        self._numbered: dict[int, Future] = {}
        self._unwanted: set[int] = set()
        self._nmade = 0
        self._nended = 0
        self._is_last = False
        self._all_ended = asyncio.Event()

    # For whoever makes calls, one at a time, in whichever thread.

    def add(self, future: Future) -> None:
        """Take in the future of the call that is made next."""
        self._made.append(future)
        self._nmade += 1

    def take_back(self) -> None:
        """Take note that the call of the future added last was not made."""
        self._made.pop()
        self._nmade -= 1

    # For the event loop.

    @property
    def is_over(self) -> bool:
        """No more calls are made, and all futures are settled or cancelled."""
        return self._all_ended.is_set()

    async def all_ended(self) -> None:
        """Wait until no more calls are made, and all futures are settled or cancelled."""
        await self._all_ended.wait()

    def made_all(self) -> None:
        """Take note that no more calls are made."""
        self._is_last = True
        self._look()

    def identified(self, number: int, order: int) -> None:
        future = self._made.popleft()
        future.identify(number)
        self._numbered[number] = future
        if future.cancelled():
            self._let_go(number)

    def cancel(self, future: Future) -> None:
        """Take note that *future* was cancelled."""
        self._nended += 1
        if future.number is not None:
            self._let_go(future.number)
        self._look()

    def unwanted(self) -> list[int]:
        """Return the jobs whose futures were cancelled since the last time, as far as they were not done."""
        self.cancelled.clear()
        numbers, self._unwanted = self._unwanted, set()
        return sorted(numbers)

    async def settle(self, one: held.Held) -> None:
        """Settle the futures as outputs come, to the end."""
        while self._settle(await self.take(), one):
            one.tell()

    def unsettled(self) -> list[Future]:
        """Return the futures that are waited for. From any thread."""
        return [*self._made, *self._numbered.values()]

    @property
    def left(self) -> int:
        """Number of calls that are not done, nor cancelled in the project."""
        return len(self.unsettled()) + len(self._unwanted)

    def close(self, error: BaseException | None) -> bool:
        """Let nobody wait any more, as the batch is left, by *error*; return whether somebody has waited."""
        error = error or errors.CallOutsideBatch(_LEFT)
        return sum(future.fail(error) for future in self.unsettled()) > 0

    def _settle(self, group: list[outputs.Output], one: held.Held) -> bool:
        for output in group:
            one.taken(output)
            future = self._numbered.pop(output.number, None)
            if future is not None:
                self._nended += future.settle(output)
        self._look()
        return bool(group)

    def _let_go(self, number: int) -> None:
        if self._numbered.pop(number, None) is not None:
            self._unwanted.add(number)
            self.cancelled.set()

    def _look(self) -> None:
        if self._is_last and self._nended == self._nmade:
            self._all_ended.set()
            self.cancelled.set()  # there will be no others
