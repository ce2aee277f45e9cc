"""One call, from a fresh ``__main__`` to what has come of it."""

from __future__ import annotations

import builtins
import contextlib
import sys
import types
from typing import Any, Callable, Dict

from aioboinc.wire import envelope, exceptions

from . import api, failures, preparation, program_file

__all__ = ["become", "begin", "execute", "forget", "show"]

_RECURSION_LIMIT = 1000
"""Python's own: what is done after the slave's end needs it, whatever the slave has set."""


def become(prepared: preparation.Prepared) -> None:
    """Make this process the program's."""
    for name in prepared.program.modules:
        sys.modules.pop(name, None)  # as queue, if the program has a queue.py and we have imported the other one
    sys.meta_path.insert(0, prepared.finder)
    sys.path[:] = prepared.path
    sys.argv[:] = [prepared.program.slave]
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # what was printed before a kill stays


def begin(prepared: preparation.Prepared, names: Dict[str, Any], of_module: Dict[str, Any]) -> types.ModuleType:
    """Return a new ``__main__`` with *names*; there is a new module ``pyboinc``, too, with the names *of_module*."""
    modules = sys.modules
    main = modules["__main__"] = types.ModuleType("__main__")
    own = main.__dict__
    own.update(names)
    own["__file__"] = prepared.code.co_filename
    own["__builtins__"] = builtins
    module = modules["pyboinc"] = types.ModuleType("pyboinc", "The BOINC job that this program runs in.")
    module.__dict__.update(of_module)
    return main


def forget() -> None:
    """Let go of ``__main__``."""
    sys.modules["__main__"] = types.ModuleType("__main__")


def execute(
    prepared: preparation.Prepared, job: api.Job, main: types.ModuleType, is_slave: Callable[[], bool]
) -> int:
    """Run the slave's main thread to its end and return the exit status; an exception becomes the job's outcome.

    *is_slave* says whether this is the slave's process, not one that it has forked and let run on.
    """
    try:
        try:
            exec(prepared.code, main.__dict__)
        finally:
            sys.setrecursionlimit(max(sys.getrecursionlimit(), _RECURSION_LIMIT))
    except SystemExit as exit:
        status = _exit_status(exit, job)
        if status and is_slave():
            failures.say(f"{job.label}slave exited with status {status}")
        return status
    except KeyboardInterrupt:
        failures.say(f"{job.label}slave was interrupted")
        return 130
    except BaseException as error:
        show(_without_our_frames(error, prepared))
        return _failed(prepared.program, job, error) if is_slave() else 1
    return 0


def _failed(program: program_file.Program, job: api.Job, error: BaseException) -> int:
    """Make *error* the job's outcome and return 0; if the host is to blame return the exit status that says so."""
    try:
        failure = failures.of_host(error, program)
        if failure is not None:
            failures.say(f"{job.label}this host can't do the job: {failure}")
            return failure.status
        note = failures.advice(error, program)
        job.outcome = envelope.Outcome.of_error(error, program.root, note=note)
    except (MemoryError, OSError) as reason:
        failures.say(f"{job.label}this host can't do the job: the exception can't be told: {reason!r}")
        return failures.CHILD_FAILED
    return 0


def _exit_status(exit: SystemExit, job: api.Job) -> int:
    code = exceptions.field(exit, SystemExit, "code")
    if code is None:
        return 0
    if issubclass(type(code), int):
        number = int.__index__(code)
        return number & 0xFF or (1 if number else 0)
    failures.say(f"{job.label}{exceptions.text(code)}")
    return 1


def _without_our_frames(error: BaseException, prepared: preparation.Prepared) -> BaseException:
    ours = {execute.__code__.co_filename}
    if prepared.program.slave == program_file.GENERATED:
        ours.add(prepared.code.co_filename)
    trace = exceptions.traceback(error)
    while trace is not None and trace.tb_frame.f_code.co_filename in ours:
        trace = trace.tb_next
    return BaseException.with_traceback(error, trace)


def show(error: BaseException) -> None:
    """Print *error* as Python does at the end of a program."""
    with contextlib.suppress(Exception):
        sys.stdout.flush()
    for hook in (sys.excepthook, sys.__excepthook__):
        try:
            hook(type(error), error, exceptions.traceback(error))
        except BaseException:
            continue  # a hook of the slave's may fail in any way; there may be no room to print
        return
