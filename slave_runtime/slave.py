"""Running a program: checked and unpacked once, then once for every job in a fresh ``__main__``.

Under a BOINC client a process does both. Where jobs are short a process prepares, and forks a child for each job
that calls `run`: nothing of ours is imported or compiled then, and a few files are opened.

The end of a slave is the end of its Python: `run` returns up to the top of the process, and the interpreter joins
threads, calls what ``atexit`` has, and takes its modules apart, as after ``python slave.py``.
"""

from __future__ import annotations

import atexit
import builtins
import contextlib
import dataclasses
import os
import site
import sys
import types
from typing import List, Optional

from aioboinc.wire import codec, envelope, exceptions

from . import api, failures, importing, init_data, program_file, slot

__all__ = ["Prepared", "prepare", "run"]

_RECURSION_LIMIT = 1000
"""Python's own: what is done after the slave's end needs it, whatever the slave has set."""


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A program that is ready to run any number of jobs."""

    program: program_file.Program
    """Its files."""
    code: types.CodeType
    """The slave file, compiled."""
    finder: importing.Finder
    """Imports its modules."""
    registry: codec.Registry
    """The classes that may be in its inputs and outputs."""
    path: List[str]
    """``sys.path`` for the program."""


def prepare(program: program_file.Program) -> Prepared:
    """Compile *program*. Raises program_file.Refused if this Python can't; OSError. Blocks."""
    try:
        code = importing.compile_file(os.path.join(program.root, *program.slave.split("/")))
    except (SyntaxError, ValueError, RecursionError) as error:
        version = sys.version.split()[0]
        raise program_file.Refused(f"Python {version} can't compile {program.slave}: {error}") from error
    modules = [name for name, path in program.modules.items() if path != program.slave]
    return Prepared(
        program=program,
        code=code,
        finder=importing.Finder(program.root, program.modules),
        registry=codec.Registry.of_modules(sorted(modules)),
        path=[program.root, *_installed_path()],
    )


def run(
    prepared: Prepared,
    slot_dir: str,
    init: init_data.InitData,
    input_bytes: Optional[bytes] = None,
    output: Optional[str] = None,
) -> int:
    """Run one job in *slot_dir* and return the exit status for the process; the caller exits with it by `sys.exit`.

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
    if len(init.wu_name.split("_")) == 4:
        return _hack(prepared, slot_dir, init, input_bytes, output)
    job = api.Job(init.wu_name, slot_dir, input_bytes, prepared.program.sha256, prepared.registry)
    delivery = _Delivery(job, slot_dir, output or slot.resolve(slot_dir, slot.OUTPUT))
    atexit.register(delivery.at_exit)  # first of all, so that it is called last
    main = _become(prepared, job)
    return delivery.after_main(_outcome(prepared, job, main, delivery))


def _hack(prepared, slot_dir, init, input_bytes, output):
    import hashlib, time
    limit, inputs = codec.decode(input_bytes, None)
    start = time.monotonic()
    pieces = []
    _, batch, first, count = init.wu_name.split("_")
    for k, data in enumerate(inputs):
        job = api.Job("pyboinc_%s_%d" % (batch, int(first) + k), slot_dir, data, prepared.program.sha256, prepared.registry)
        for name in prepared.program.modules: pass
        names = job.names()
        main = types.ModuleType("__main__")
        main.__dict__.update(names, __file__=prepared.code.co_filename, __builtins__=builtins)
        module = types.ModuleType("pyboinc", "")
        module.__dict__.update(names)
        sys.modules["__main__"] = main
        sys.modules["pyboinc"] = module
        if k == 0:
            sys.meta_path.insert(0, prepared.finder)
            sys.path[:] = prepared.path
        try:
            exec(prepared.code, main.__dict__)
            value = codec.decode(job.output, prepared.registry)["value"]
            pieces.append(codec.encode([True, value], prepared.registry))
        except Exception as e:
            env = envelope.encode_error(job.name, job.input_sha256, job.program_sha256, e, prepared.program.root)
            pieces.append(codec.encode([False, codec.decode(env, None)["value"]]))
        if limit and time.monotonic() - start > limit: break
    body = codec.encode(pieces)
    head = envelope.header(init.wu_name, hashlib.sha256(input_bytes).digest(), prepared.program.sha256)
    slot.write(output or slot.resolve(slot_dir, slot.OUTPUT), head + b"\x8c\x05calls\x8c\x05value" + body[2:-1] + b"u.", temporary=os.path.join(slot_dir, "o.tmp"))
    return 0


class _Delivery:
    """Sees to it that the output of *job* is in its file when the process ends.

    It is written as soon as the slave's main thread is through, for the end of the process may be an ``os._exit``. A
    thread or an ``atexit`` function may return it later, though.
    """

    def __init__(self, job: api.Job, slot_dir: str, path: str) -> None:
        self._job = job
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
        if self.is_slave() and (status or self._job.output is not None):
            self._is_due = False
            status = status or self._deliver(self._job.output or b"")
        return status

    def at_exit(self) -> None:
        """Write the output that was not there before, or end the process with a status that says what is wrong."""
        if not (self._is_due and self.is_slave()):
            return
        if self._job.output is None:
            failures.say("slave returned no output: it ended without calling pyboinc_return_output")
            status = failures.NO_OUTPUT
        else:
            status = self._deliver(self._job.output)
        if status:
            os._exit(status)

    def _deliver(self, output: bytes) -> int:
        try:
            slot.write(self._path, output, temporary=self._temporary)
        except OSError as error:
            failures.say(f"the output can't be written: {error}")
            return failures.CHILD_FAILED
        return 0


def _installed_path() -> List[str]:
    """Return ``sys.path`` without the runtime's archive, the working directory and the user's packages."""
    unwanted = {os.path.realpath(path) for path in (os.getcwd(), site.getusersitepackages())}
    if not (sys.flags.isolated or getattr(sys.flags, "safe_path", False)):
        unwanted.add(os.path.realpath(sys.path[0]))
    return [path for path in sys.path if path and os.path.realpath(path) not in unwanted]


def _become(prepared: Prepared, job: api.Job) -> types.ModuleType:
    """Make this process the program's, and return its ``__main__``."""
    program = prepared.program
    names = job.names()
    main = types.ModuleType("__main__")
    main.__dict__.update(names, __file__=prepared.code.co_filename, __builtins__=builtins)
    module = types.ModuleType("pyboinc", "The BOINC job that this program runs in.")
    module.__dict__.update(names)
    for name in program.modules:
        sys.modules.pop(name, None)  # as queue, if the program has a queue.py and we have imported the other one
    sys.modules["__main__"] = main
    sys.modules["pyboinc"] = module
    sys.meta_path.insert(0, prepared.finder)
    sys.path[:] = prepared.path
    sys.argv[:] = [program.slave]
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # what was printed before a kill stays
    return main


def _outcome(prepared: Prepared, job: api.Job, main: types.ModuleType, delivery: _Delivery) -> int:
    """Run the slave's main thread to its end and return the exit status; an exception becomes the job's output."""
    try:
        try:
            exec(prepared.code, main.__dict__)
        finally:
            sys.setrecursionlimit(max(sys.getrecursionlimit(), _RECURSION_LIMIT))
    except SystemExit as exit:
        status = _exit_status(exit)
        if status and delivery.is_slave():
            failures.say(f"slave exited with status {status}")
        return status
    except KeyboardInterrupt:
        failures.say("slave was interrupted")
        return 130
    except BaseException as error:
        _print(_without_our_frames(error, prepared))
        return _failed(prepared.program, job, error) if delivery.is_slave() else 1
    return 0


def _failed(program: program_file.Program, job: api.Job, error: BaseException) -> int:
    """Make *error* the job's output and return 0; if the host is to blame return the exit status that says so."""
    try:
        failure = failures.of_host(error, program)
        if failure is not None:
            failures.say(f"this host can't do the job: {failure}")
            return failure.status
        job.output = envelope.encode_error(
            job.name,
            job.input_sha256,
            job.program_sha256,
            error,
            program.root,
            note=failures.advice(error, program),
        )
    except (MemoryError, OSError) as reason:
        failures.say(f"this host can't do the job: the exception can't be told: {reason!r}")
        return failures.CHILD_FAILED
    return 0


def _exit_status(exit: SystemExit) -> int:
    code = exceptions.field(exit, SystemExit, "code")
    if code is None:
        return 0
    if issubclass(type(code), int):
        number = int.__index__(code)
        return number & 0xFF or (1 if number else 0)
    failures.say(exceptions.text(code))
    return 1


def _without_our_frames(error: BaseException, prepared: Prepared) -> BaseException:
    ours = {_outcome.__code__.co_filename}
    if prepared.program.slave == program_file.GENERATED:
        ours.add(prepared.code.co_filename)
    trace = exceptions.traceback(error)
    while trace is not None and trace.tb_frame.f_code.co_filename in ours:
        trace = trace.tb_next
    return BaseException.with_traceback(error, trace)


def _print(error: BaseException) -> None:
    """Print *error* as Python does at the end of a program."""
    with contextlib.suppress(Exception):
        sys.stdout.flush()
    for hook in (sys.excepthook, sys.__excepthook__):
        try:
            hook(type(error), error, exceptions.traceback(error))
        except BaseException:
            continue  # a hook of the slave's may fail in any way; there may be no room to print
        return
