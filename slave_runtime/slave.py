"""Running a program: checked and unpacked once, then once for every workunit in a process of its own.

Under a BOINC client a process does both. Where jobs are short a process prepares, and forks a child for each workunit
that calls `run`: nothing of ours is imported or compiled then, and a few files are opened.

The end of a slave is the end of its Python: `run` returns up to the top of the process, and the interpreter joins
threads, calls what ``atexit`` has, and takes its modules apart, as after ``python slave.py``.
"""

from __future__ import annotations

import atexit
import os
from typing import Callable, Optional

from aioboinc.wire import envelope, names

from . import api, calls, execution, failures, init_data, preparation, progress, slot

__all__ = ["Prepared", "prepare", "run"]

Prepared = preparation.Prepared
prepare = preparation.prepare


def run(
    prepared: Prepared,
    slot_dir: str,
    init: init_data.InitData,
    input_bytes: Optional[bytes] = None,
    output: Optional[str] = None,
) -> int:
    """Run one workunit in *slot_dir* and return the exit status for the process, which exits with it by `sys.exit`.

    The process becomes the slave: working directory, ``sys.argv``, ``sys.path``, ``__main__``. The input is
    *input_bytes* or else the file pyboinc_input. If the process ends with status 0, the output, or the exception that
    ended the slave, is in the file *output*, or else the one that pyboinc_output stands for. With any other status
    that file does not count, and the last line on stderr says why if it was not the slave that wanted it so.
    """
    try:
        os.chdir(slot_dir)
        if input_bytes is None:
            with open(slot.resolve(slot_dir, slot.INPUT), "rb") as file:
                input_bytes = file.read()
    except OSError as error:
        failures.say(f"the job can't be started: {error}")
        return failures.INIT_FAILURE
    is_one = names.count_of(init.wu_name) == 1
    work = (_Single if is_one else calls.Calls)(prepared, slot_dir, init.wu_name, input_bytes)
    delivery = _Delivery(work.output, slot_dir, output or slot.resolve(slot_dir, slot.OUTPUT))
    atexit.register(delivery.at_exit)  # first of all, so that it is called last
    execution.become(prepared)
    return delivery.after_main(work.run(delivery.is_slave))


class _Single:
    """A workunit that is one call: what the end of the process does to its output is done to the call's."""

    def __init__(self, prepared: Prepared, slot_dir: str, name: str, data: bytes) -> None:
        self._prepared = prepared
        tells = progress.Writer(os.path.join(slot_dir, slot.PROGRESS))
        self._job = api.Job(name, slot_dir, data, prepared.program.sha256, prepared.registry, tells)

    def run(self, is_slave: Callable[[], bool]) -> int:
        """Run the slave's main thread to its end and return the exit status."""
        given = self._job.names()
        main = execution.begin(self._prepared, given, given)
        return execution.execute(self._prepared, self._job, main, is_slave)

    def output(self) -> Optional[bytes]:
        """Return the envelope of the output, None if there is none yet."""
        job = self._job
        if job.outcome is None:
            return None
        return envelope.encode(job.name, job.input_sha256, job.program_sha256, job.outcome)


class _Delivery:
    """Sees to it that the output, which a function returns, is in its file when the process ends.

    It is written as soon as the slave's main thread is through, for the end of the process may be an ``os._exit``. A
    thread or an ``atexit`` function may return it later, though.
    """

    def __init__(self, output: Callable[[], Optional[bytes]], slot_dir: str, path: str) -> None:
        self._output = output
        self._path = path
        # On the way it has a name in the slot: what a crash leaves in the project's directory stays there.
        self._temporary = os.path.join(slot_dir, slot.OUTPUT + ".tmp")
        self._process = os.getpid()
        self._is_due = True

    def is_slave(self) -> bool:
        """Say whether this is the slave's process, not one that it has forked and let run on."""
        return os.getpid() == self._process

    def after_main(self, status: int) -> int:
        """Write the output if it is there and *status* is 0; return the exit status for the process."""
        if not self.is_slave():
            return status
        output = None if status else self._output()
        if status or output is not None:
            self._is_due = False
            status = status or self._deliver(output or b"")
        return status

    def at_exit(self) -> None:
        """Write the output that was not there before, or end the process with a status that says what is wrong."""
        if not (self._is_due and self.is_slave()):
            return
        output = self._output()
        if output is None:
            failures.say(failures.NOTHING_RETURNED)
            status = failures.NO_OUTPUT
        else:
            status = self._deliver(output)
        if status:
            os._exit(status)

    def _deliver(self, output: bytes) -> int:
        try:
            slot.write(self._path, output, temporary=self._temporary)
        except OSError as error:
            failures.say(f"the output can't be written: {error}")
            return failures.CHILD_FAILED
        return 0
