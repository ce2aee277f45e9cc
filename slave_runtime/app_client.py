"""The main program under a BOINC client: starts the slave in a process of its own and supervises it.

The launcher runs it, in the slot directory, with the arguments of the workunit's command line.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import os
import shutil
import signal
import sys
import time
from typing import Callable, List, Optional, Sequence

from . import channels, confinement, environment, failures, finished, init_data, progress, slot, supervisor

if sys.platform == "win32":
    from . import processes_windows as processes
else:
    from . import processes_unix as processes

__all__ = ["main"]

_SLAVE = "--slave"
_INPUT = "--input-base64"
_LOCK_SECONDS = 35.0
"""How long to wait for the slot: an earlier occupant that has lost its client has left it by then."""
_RETRY_SECONDS = 600
"""When the client shall start the job again if it could not begin."""


def main(
    arguments: Optional[Sequence[str]] = None,
    *,
    lock_seconds: float = _LOCK_SECONDS,
    heartbeat_seconds: float = supervisor.HEARTBEAT_SECONDS,
) -> int:
    """Run the job in the current directory, the slot, and return the exit status for the process.

    The client sees a finished job by the file boinc_finish_called and status 0. Without the file, 0 means that the
    job goes on later; any other status that it has failed on this host, for the reason in the last line on stderr.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == [_SLAVE]:
        return _run_slave(int(given[1]), given[2:])
    slot_dir = os.getcwd()
    init = init_data.read(os.path.join(slot_dir, slot.INIT_DATA))
    if sys.platform == "win32" and init is not None:
        _write_to(os.path.join(slot_dir, slot.STDERR))  # elsewhere the client has done that
    failures.say("Python {}.{}.{} on {}".format(*sys.version_info[:3], sys.platform))
    lock = slot.Lock(slot_dir)
    if not _acquire(lock, lock_seconds):
        return _try_later(slot_dir, "another process has locked the slot directory")
    _clear(slot_dir)
    if confinement.is_wanted(os.environ) and not confinement.is_available():
        return _try_later(
            slot_dir, f"{confinement.VARIABLE} is set, but this computer has no Landlock to confine slaves"
        )
    client = None
    if init is None:
        failures.say("there is no client here: this is a trial run")
    else:
        try:
            client = channels.connect(slot_dir, init)
        except channels.ChannelsError as error:
            return _try_later(slot_dir, f"no channel to the client: {error}")
    return _supervise(slot_dir, init or init_data.InitData(), client, given, heartbeat_seconds)


def _supervise(
    slot_dir: str,
    init: init_data.InitData,
    client: Optional[channels.Channels],
    arguments: List[str],
    heartbeat_seconds: float,
) -> int:
    caught = processes.catch_signals()
    variables = environment.clean(os.environ, init.ncpus, slot.temporary(slot_dir))
    if confinement.is_wanted(os.environ):
        place = os.path.join(slot_dir, slot.TEMPORARY)
        variables.update({confinement.VARIABLE: "1", "HOME": place, "TMPDIR": place, "TEMP": place, "TMP": place})
    variables[environment.MARKER] = slot_dir
    command = [sys.executable, "-s", os.path.abspath(sys.argv[0]), _SLAVE, str(os.getpid()), *arguments]
    progress_path = os.path.join(slot_dir, slot.PROGRESS)
    try:
        tree = processes.ProcessTree()
        tree.start(command, variables, slot_dir)
    except OSError as error:
        failures.say(f"the slave can't be started: {error}")
        return failures.CHILD_FAILED
    try:
        ending = supervisor.Supervisor(
            tree,
            init,
            client=client,
            client_exists=_client_watch(init.client_pid),
            read_progress=lambda: progress.read(progress_path),
            signals=caught,
            heartbeat_seconds=heartbeat_seconds,
        ).run()
    finally:
        tree.kill()
    if ending.kind is supervisor.Kind.SIGNALLED:
        return processes.die_of(caught[0])
    if ending.kind is not supervisor.Kind.EXITED:
        failures.say(ending.kind.value)
        return failures.ABORTED_BY_CLIENT if ending.kind is supervisor.Kind.ABORTED else 0
    label = finished.label(slot_dir, init.wu_name)
    status = _own_status(ending.status, label)
    if status == 0:
        status = _finish(slot_dir, label)
    return status


def _finish(slot_dir: str, label: str) -> int:
    """Put the output in its place, durably, and tell the client that the job is done; return the exit status.

    *label* is before what is said.
    """
    try:
        slot.move(os.path.join(slot_dir, slot.RETURNED), slot.resolve(slot_dir, slot.OUTPUT))
        slot.finish(slot_dir)
    except FileNotFoundError:
        failures.say(f"{label}slave returned no output: its process was ended from within")
        return failures.NO_OUTPUT
    except OSError as error:
        failures.say(f"the output can't be written: {error}")
        return failures.CHILD_FAILED
    return 0


def _own_status(status: int, label: str) -> int:
    """Return the exit status that passes on the slave's, and say what killed it if something did, after *label*."""
    if 0 <= status < 256:
        return status
    if status < 0:
        try:
            name = signal.Signals(-status).name
        except ValueError:
            name = "unknown"
        failures.say(f"{label}slave was killed by signal {-status} ({name})")
        return 128 - status
    failures.say(f"{label}slave crashed with status {status:#x}")
    return failures.CHILD_FAILED


def _client_watch(client_pid: int) -> Optional[Callable[[], bool]]:
    """Return a function that says whether the client exists, None if its process is not known.

    The client, or what it started the launcher with, is our parent; that it ends is seen at once, and
    not taken for another process with the same id.
    """
    if not client_pid:
        return None
    parent_exists = processes.parent_watch()
    return lambda: parent_exists() and processes.process_exists(client_pid)


def _acquire(lock: slot.Lock, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not lock.acquire():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.5)
    return True


def _clear(slot_dir: str) -> None:
    """Remove what an earlier run, that was killed, has left behind; its checkpoint stays."""
    processes.kill_strays(environment.MARKER, slot_dir)
    for name in (slot.FINISH, slot.TEMPORARY_EXIT, slot.PROGRESS, slot.RETURNED):
        slot.remove(os.path.join(slot_dir, name))
    slot.remove(slot.resolve(slot_dir, slot.OUTPUT))
    temporary = os.path.join(slot_dir, slot.TEMPORARY)
    shutil.rmtree(temporary, ignore_errors=True)
    with contextlib.suppress(OSError):  # the slave's own affair: it may do without temporary files
        os.mkdir(temporary)


def _try_later(slot_dir: str, reason: str) -> int:
    failures.say(reason)
    slot.temporary_exit(slot_dir, _RETRY_SECONDS, reason)
    return 0


def _write_to(path: str) -> None:
    """Append stdout and stderr of this process and its children to the file *path*."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(file, stream)
    sys.stdout = open(1, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115


def _run_slave(parent: int, arguments: List[str]) -> int:
    """Be the slave of the supervisor with the process id *parent*."""
    processes.die_with_parent(parent)
    processes.leave_no_core()
    # Only now: the supervisor does without these, and stays small.
    from . import confinement, program_file, signature, slave, unpacking

    slot_dir = os.getcwd()
    init = init_data.read(os.path.join(slot_dir, slot.INIT_DATA)) or init_data.InitData()
    try:
        program = unpacking.unpack(
            slot.resolve(slot_dir, slot.PROGRAM),
            os.path.join(slot_dir, slot.PROGRAM_FILES),
            signature.load(slot.resolve(slot_dir, slot.KEY)),
        )
        prepared = slave.prepare(program)
        input_bytes = _inline_input(arguments)
    except (program_file.Refused, signature.BadKey, OSError, binascii.Error) as error:
        failures.say(f"the job can't be started: {error}")
        return failures.INIT_FAILURE
    if confinement.is_wanted(os.environ):
        try:
            confinement.confine(slot_dir, init.project_dir)
        except confinement.Unconfined as error:
            failures.say(f"the job can't be started: {error}")
            return failures.INIT_FAILURE
    return slave.run(prepared, slot_dir, init, input_bytes, os.path.join(slot_dir, slot.RETURNED))


def _inline_input(arguments: List[str]) -> Optional[bytes]:
    """Return the input in the command line, if it is there. The client may have added arguments of its own."""
    if _INPUT not in arguments[:-1]:
        return None
    return base64.b64decode(arguments[arguments.index(_INPUT) + 1], validate=True)
