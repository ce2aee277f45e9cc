"""Running the calls of a workunit of several, one after the other, as if each were alone in its process.

An exception is the outcome of its call. Whatever else goes wrong ends the workunit with the status that a job of its
own would have, and the call's name in the last line: the master divides the workunit then, until only that call fails.
"""

from __future__ import annotations

import hashlib
import os
import time
from typing import Callable, List, Optional

from aioboinc.wire import codec, envelope, names, several

from . import api, execution, failures, finished, leaving, preparation, progress, slot, surroundings

__all__ = ["Calls"]

_ENOUGH = 32 << 20
"""Bytes of outputs with which a workunit ends: the host keeps them in memory, and its limits are those of one call."""


class Calls:
    """The calls of the workunit *name*, whose input is *data*."""

    def __init__(
        self,
        prepared: preparation.Prepared,
        slot_dir: str,
        name: str,
        data: bytes,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._prepared = prepared
        self._slot_dir = slot_dir
        self._calls = names.calls_of(name)
        self._data = data
        self._clock = clock
        self._input_sha256 = hashlib.sha256(data).digest()
        self._pieces: List[bytes] = []
        self._size = 0
        self._tells = progress.Writer(os.path.join(slot_dir, slot.PROGRESS))
        self._current = api.Current()
        self._is_done = False

    def output(self) -> Optional[bytes]:
        """Return the envelope of the outputs, None if the workunit has not come to its end."""
        if not self._is_done:
            return None
        program = self._prepared.program.sha256
        return envelope.encode_calls(self._calls.name, self._input_sha256, program, self._pieces)

    def run(self, is_slave: Callable[[], bool]) -> int:
        """Run the calls that are not finished, or some of them, and return the exit status for the process."""
        try:
            limit, inputs = several.decode_inputs(self._data)
            if len(inputs) != self._calls.count:
                raise codec.Malformed(f"has {len(inputs)} inputs for {self._calls.count} calls")
        except codec.Malformed as error:
            failures.say(f"the job can't be started: its input is malformed: {error}")
            return failures.INIT_FAILURE
        identity = self._input_sha256 + self._prepared.program.sha256 + self._calls.name.encode("ascii")
        outputs = finished.Finished(os.path.join(self._slot_dir, slot.CALLS), identity)
        there, *self._pieces = outputs.begin(
            "\0".join(surroundings.names_in(self._slot_dir)).encode("utf-8", "surrogatepass")
        )
        del self._pieces[self._calls.count :]
        self._size = sum(map(len, self._pieces))
        found = surroundings.Surroundings(
            self._prepared, self._slot_dir, there.decode("utf-8", "surrogatepass").split("\0")
        )
        exits = leaving.ExitFunctions(self._prepared)
        try:
            return self._run(inputs, limit, outputs, found, exits, is_slave)
        finally:
            exits.hand_over()

    def _run(
        self,
        inputs: List[bytes],
        limit: float,
        outputs: finished.Finished,
        found: surroundings.Surroundings,
        exits: leaving.ExitFunctions,
        is_slave: Callable[[], bool],
    ) -> int:
        count = len(inputs)
        begin = self._clock()
        self._tells.fraction_done(len(self._pieces) / count)
        while len(self._pieces) < count:
            number = len(self._pieces)
            job = self._job(number, inputs[number])
            status = self._call(job, exits, is_slave)
            if status or not is_slave():
                return status
            assert job.outcome is not None
            piece = envelope.encode_call(job.outcome)
            self._size += len(piece)
            if number and self._size > envelope.MAX_PIECES:
                break  # there is no room for it
            self._pieces.append(piece)
            is_saved = outputs.add(piece)
            self._tells.finished((number + 1) / count, is_saved=is_saved)
            if self._size >= _ENOUGH or 0 < limit <= self._clock() - begin:
                break
            if number + 1 < count and not found.restore():
                break
        self._is_done = True
        return 0

    def _job(self, number: int, data: bytes) -> api.Job:
        name = self._calls.job(number)
        tells = progress.Part(self._tells, number, self._calls.count)
        registry = self._prepared.registry_of_call()
        return api.Job(
            name, self._slot_dir, data, self._prepared.program.sha256, registry, tells, label=f"{name}: "
        )

    def _call(self, job: api.Job, exits: leaving.ExitFunctions, is_slave: Callable[[], bool]) -> int:
        """Run one call to its end and return the exit status for the process; 0 if the job has an outcome."""
        left = leaving.threads()
        self._current.begin(job, left)
        main = execution.begin(self._prepared, job.names(), self._current.names)
        exits.begin(main)
        status = execution.execute(self._prepared, job, main, is_slave)
        if status or not is_slave():
            return status
        leaving.join_threads(left)
        exits.call()
        del main
        leaving.join_workers()
        job.is_over = True
        if job.outcome is None:
            failures.say(f"{job.label}{failures.NOTHING_RETURNED}")
            return failures.NO_OUTPUT
        return 0
