"""Running a program: checked and unpacked once, then once for every job in a fresh ``__main__``.

Under a BOINC client a process does both. Where jobs are short a process prepares, and forks a child for each job
that calls `run`: nothing is imported or compiled then, and a few files are opened.
"""

from __future__ import annotations

import builtins
import contextlib
import dataclasses
import os
import site
import sys
import traceback
import types
from typing import List, Optional

from aioboinc import codec, envelope

from . import api, failures, importing, init_data, program_file, slot

__all__ = ["Prepared", "preload", "prepare", "run"]


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


def preload(prepared: Prepared) -> None:
    """Import the packages of the host that the program's files import, so that forked children find them imported.

    What fails to import is left to fail in the program. Packages run code here; the program's modules do not.
    """
    program = prepared.program
    path = sys.path[:]
    sys.path[:] = prepared.path[1:]
    try:
        for module, names in importing.installed_imports(program.root, program.slave, program.modules):
            with contextlib.suppress(Exception):
                __import__(module, fromlist=names)
    finally:
        sys.path[:] = path


def run(prepared: Prepared, slot_dir: str, init: init_data.InitData, input_bytes: Optional[bytes] = None) -> int:
    """Run one job in *slot_dir* and return the exit status for the process; the caller exits with it at once.

    The process becomes the slave: working directory, ``sys.argv``, ``sys.path``, ``__main__``. The input is
    *input_bytes* or else the file pyboinc_input. With status 0 the output, or the exception that ended the slave,
    is in the file that pyboinc_output stands for. With any other status the last line on stderr says why.
    """
    main_process = os.getpid()
    try:
        os.chdir(slot_dir)
        if input_bytes is None:
            with open(slot.resolve(slot_dir, slot.INPUT), "rb") as file:
                input_bytes = file.read()
    except OSError as error:
        failures.say(f"the job can't be started: {error}")
        return failures.INIT_FAILURE
    job = api.Job(init.wu_name, slot_dir, input_bytes, prepared.program.sha256, prepared.registry)
    main = _become(prepared, job)
    status = _outcome(prepared, job, main)
    if status == 0 and os.getpid() == main_process:
        status = _deliver(job, slot_dir)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    if os.getpid() != main_process:
        os._exit(status)  # a process that the slave has forked and let run on to its end
    return status


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
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed()  # imported before the fork, it would give the same numbers in every job
    return main


def _outcome(prepared: Prepared, job: api.Job, main: types.ModuleType) -> int:
    """Run the slave to its end and return the exit status; with 0 the job has its output."""
    program = prepared.program
    try:
        try:
            exec(prepared.code, main.__dict__)
        finally:
            _join_threads()
    except SystemExit as exit:
        status = _exit_status(exit)
        if status:
            failures.say(f"slave exited with status {status}")
            return status
    except KeyboardInterrupt:
        failures.say("slave was interrupted")
        return 130
    except BaseException as error:
        error = _without_our_frames(error)
        _print(error)
        failure = failures.of_host(error, program.root, program.modules)
        if failure is not None:
            failures.say(f"this host can't do the job: {failure}")
            return failure.status
        try:
            job.output = envelope.encode_error(job.name, job.input_sha256, job.program_sha256, error, program.root)
        except (MemoryError, OSError) as reason:
            failures.say(f"this host can't do the job: the exception can't be told: {reason!r}")
            return failures.CHILD_FAILED
    if job.output is None:
        failures.say("slave returned no output: it ended without calling pyboinc_return_output")
        return failures.NO_OUTPUT
    return 0


def _join_threads() -> None:
    """Wait for the slave's threads, as Python does at its end; daemon threads die with the process."""
    threading = sys.modules.get("threading")
    if threading is None:  # every fork is dearer after its import
        return
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join()


def _exit_status(exit: SystemExit) -> int:
    if exit.code is None:
        return 0
    if isinstance(exit.code, int):
        return exit.code & 0xFF or (1 if exit.code else 0)
    failures.say(str(exit.code))
    return 1


def _without_our_frames(error: BaseException) -> BaseException:
    ours = _outcome.__code__.co_filename
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename == ours:
        trace = trace.tb_next
    return error.with_traceback(trace)


def _print(error: BaseException) -> None:
    with contextlib.suppress(Exception):  # its text can't be had, or there is no room for it
        sys.stdout.flush()
        traceback.print_exception(type(error), error, error.__traceback__)


def _deliver(job: api.Job, slot_dir: str) -> int:
    assert job.output is not None
    try:
        # On the way it has a name in the slot: what a crash leaves in the project's directory stays there.
        temporary = slot.OUTPUT + ".tmp"
        slot.write(slot.resolve(slot_dir, slot.OUTPUT), job.output, temporary=os.path.join(slot_dir, temporary))
    except OSError as error:
        failures.say(f"the output can't be written: {error}")
        return failures.CHILD_FAILED
    return 0
