"""The slave's process and all its descendants, on Unix: stopped, continued, killed and measured together.

On Linux /proc is read, elsewhere ``ps`` is run. processes_windows.py has the same names.
"""

from __future__ import annotations

import contextlib
import functools
import os
import resource
import select
import signal
import subprocess
import sys
import threading
import time
from typing import Any, Callable, Dict, Iterable, List, Mapping, NamedTuple, Optional, Sequence

__all__ = [
    "ProcTable",
    "Process",
    "ProcessTree",
    "PsTable",
    "Table",
    "catch_signals",
    "die_of",
    "die_with_parent",
    "kill_strays",
    "leave_no_core",
    "parent_watch",
    "process_exists",
]

_KILL_SECONDS = 5.0
_STOP_SECONDS = 0.5
_IN_KERNEL = "DU"
"""States, of Linux and of ``ps`` elsewhere, in which a process stops when it is back from the kernel: one that has
called vfork not before its child, which may be stopped itself."""


class Process(NamedTuple):
    """One process, as the system shows it."""

    pid: int
    """Its id."""
    parent: int
    """Id of its parent."""
    group: int
    """Id of its process group."""
    state: str
    """A letter: Z for one that has ended and was not waited for, T for one that is stopped."""
    cpu_time: float
    """CPU seconds of it and of its children that were waited for."""


class Table:
    """Reads the system's processes."""

    cpu_time = 0.0
    """CPU seconds of the programs that were run for it."""

    def descendants(self, pid: int, group: int) -> List[Process]:
        """Return the descendants of *pid*, and whatever else is in the process group *group* (0: none)."""
        raise NotImplementedError


class ProcTable(Table):
    """Reads /proc (Linux)."""

    def __init__(self) -> None:
        self._ticks = float(os.sysconf("SC_CLK_TCK"))
        self._lists_children = os.path.exists(f"/proc/self/task/{os.getpid()}/children")

    def descendants(self, pid: int, group: int) -> List[Process]:
        if not self._lists_children:
            return _below(pid, group, self._all())
        found: List[Process] = []
        pids = self._children(pid)
        while pids:
            process = self._process(pids.pop())
            if process is not None:
                found.append(process)
                pids += self._children(process.pid)
        return found

    def _children(self, pid: int) -> List[int]:
        children: List[int] = []
        try:
            for task in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{task}/children", "rb") as file:
                    children += map(int, file.read().split())
        except OSError:
            pass  # it has ended
        return children

    def _process(self, pid: int) -> Optional[Process]:
        try:
            with open(f"/proc/{pid}/stat", "rb") as file:
                # The second field is the name, in parentheses, with anything in it.
                fields = file.read().rpartition(b")")[2].split()
        except OSError:
            return None
        ticks = sum(map(int, fields[11:15]))
        return Process(pid, int(fields[1]), int(fields[2]), fields[0].decode(), ticks / self._ticks)

    def _all(self) -> List[Process]:
        found = [self._process(int(name)) for name in os.listdir("/proc") if name.isdigit()]
        return [process for process in found if process is not None]


class PsTable(Table):
    """Runs ``ps`` (macOS, BSD)."""

    def descendants(self, pid: int, group: int) -> List[Process]:
        command = ["ps", "-A", "-o", "pid=", "-o", "ppid=", "-o", "pgid=", "-o", "stat=", "-o", "time="]
        try:
            ps = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        except OSError:
            return []
        assert ps.stdout is not None
        with ps.stdout:
            lines = ps.stdout.read().decode("ascii", "replace").splitlines()
        _, ps.returncode, usage = os.wait4(ps.pid, 0)
        self.cpu_time += usage.ru_utime + usage.ru_stime
        processes = [process for process in map(_parse_ps, lines) if process is not None and process.pid != ps.pid]
        return _below(pid, group, processes)


def _parse_ps(line: str) -> Optional[Process]:
    try:
        pid, parent, group, state, cpu_time = line.split()
        days, _, rest = cpu_time.rpartition("-")  # 1-02:03:04, 02:03:04, 03:04.05
        seconds = 0.0
        for part in rest.replace(",", ".").split(":"):
            seconds = 60 * seconds + float(part)
    except ValueError:
        return None
    return Process(int(pid), int(parent), int(group), state[:1], 86400 * int(days or 0) + seconds)


def _below(pid: int, group: int, processes: Iterable[Process]) -> List[Process]:
    children: Dict[int, List[Process]] = {}
    members: List[Process] = []
    for process in processes:
        children.setdefault(process.parent, []).append(process)
        if group and process.group == group:
            members.append(process)
    found = {process.pid: process for process in members}
    parents = [pid, *found]
    while parents:
        for process in children.get(parents.pop(), ()):
            if process.pid not in found:
                found[process.pid] = process
                parents.append(process.pid)
    return list(found.values())


class ProcessTree:
    """The slave and its descendants: all processes below this one."""

    def __init__(self, table: Optional[Table] = None) -> None:
        on_linux = sys.platform == "linux" and os.path.exists("/proc/self/stat")
        self._table = table or (ProcTable() if on_linux else PsTable())
        self._child: Optional[subprocess.Popen[bytes]] = None
        self._cpu_time = 0.0
        if sys.platform == "linux":
            _prctl(_PR_SET_CHILD_SUBREAPER, 1)  # descendants without a parent become our children, not init's

    def start(self, command: Sequence[str], variables: Mapping[str, str], directory: str) -> None:
        """Start the slave, with this process's stderr as stdout and stderr. Raises OSError."""
        self._child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=2,
            env=variables,
            cwd=directory,
            start_new_session=True,
        )

    def wait(self, seconds: float) -> Optional[int]:
        """Wait until the slave or *seconds* are over, or a signal of `catch_signals` comes.

        Returns the exit status, minus the signal that killed it, or None if it runs.
        """
        assert self._child is not None
        status = self._child.poll()
        if status is None:
            _sleep(seconds)
            status = self._child.poll()
        return status

    def suspend(self) -> None:
        """Stop all processes. Those that a process makes while it is being stopped are found and stopped too."""
        deadline = time.monotonic() + _STOP_SECONDS
        while True:
            running = [process for process in self._processes() if process.state not in "TtZX"]
            self._send(signal.SIGSTOP, running)
            if all(process.state in _IN_KERNEL for process in running) or time.monotonic() > deadline:
                return
            time.sleep(0.001)

    def resume(self) -> None:
        """Let all processes go on."""
        self._send(signal.SIGCONT, self._processes())

    def kill(self, leave_seconds: float = 0.0) -> None:
        """Kill all processes, after *leave_seconds* to end by themselves, and wait until they have ended.

        That takes 5 seconds more at most.
        """
        start = time.monotonic()
        while True:
            processes = self._processes()
            elapsed = time.monotonic() - start
            if elapsed >= leave_seconds:
                self._send(signal.SIGKILL, processes)
            self._reap(processes)
            if all(process.state in "ZX" for process in processes) or elapsed > leave_seconds + _KILL_SECONDS:
                return
            time.sleep(0.001)

    def cpu_time(self) -> float:
        """Return the CPU seconds of all processes, those that have ended too. May run another program."""
        processes = self._processes()
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        ended = usage.ru_utime + usage.ru_stime - self._table.cpu_time
        total = ended + sum(process.cpu_time for process in processes)
        # One that ends between the two readings would be counted in neither.
        self._cpu_time = max(self._cpu_time, total)
        self._reap(processes)
        return self._cpu_time

    def _processes(self) -> List[Process]:
        group = self._child.pid if self._child is not None else 0
        own = os.getpid()
        return [process for process in self._table.descendants(own, group) if process.pid != own]

    def _send(self, number: int, processes: Iterable[Process]) -> None:
        for process in processes:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(process.pid, number)

    def _reap(self, processes: Iterable[Process]) -> None:
        """Wait for descendants that have become our children and have ended."""
        child = None
        if self._child is not None:
            self._child.poll()
            child = self._child.pid
        for process in processes:
            if process.state == "Z" and process.parent == os.getpid() and process.pid != child:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(process.pid, os.WNOHANG)


_wakeup: Optional[int] = None


def catch_signals() -> Sequence[int]:
    """Catch the signals that end a process from now on, and return a list that they will be in.

    They, and the end of a child, cut a wait short. Only for the main thread, once.
    """
    global _wakeup
    caught: List[int] = []

    def catch(number: int, frame: object) -> None:
        caught.append(number)

    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
        signal.signal(number, catch)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    _wakeup, write_end = os.pipe()
    for end in (_wakeup, write_end):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
    return caught


def die_of(number: int) -> int:
    """End this process by the signal *number*, as if it had not been caught."""
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    return 128 + number


def process_exists(pid: int) -> bool:
    """Say whether there is a process *pid*; one of another user is."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True


def parent_watch() -> Callable[[], bool]:
    """Return a function that says whether the process that is now our parent still is."""
    parent = os.getppid()
    return lambda: os.getppid() == parent


def _sleep(seconds: float) -> None:
    if _wakeup is None:
        time.sleep(seconds)
    elif select.select([_wakeup], [], [], seconds)[0]:
        os.read(_wakeup, 4096)


_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def _prctl(option: int, value: int) -> bool:
    try:
        return bool(_libc().prctl(option, value, 0, 0, 0) == 0)
    except (ImportError, OSError, AttributeError):
        return False


@functools.lru_cache(maxsize=None)  # to open it costs a forked child more than the fork
def _libc() -> Any:
    import ctypes

    return ctypes.CDLL(None)


def die_with_parent(parent: int) -> None:
    """Have this process killed when its parent, which has the id *parent*, ends."""
    if sys.platform == "linux" and _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL):
        if os.getppid() != parent:
            os._exit(1)  # it has ended already
        return
    threading.Thread(target=_watch_parent, args=(parent,), name="pyboinc", daemon=True).start()


def leave_no_core() -> None:
    """Have no core file written by this process and its children: it would be in the slot, or anywhere."""
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _watch_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os.killpg(os.getpgrp(), signal.SIGKILL)


def kill_strays(variable: str, value: str) -> None:
    """Kill all processes that have the environment *variable* with this *value* (Linux)."""
    mark = os.fsencode(f"{variable}={value}")
    for name in os.listdir("/proc") if sys.platform == "linux" else ():
        if name.isdigit() and int(name) != os.getpid():
            try:
                with open(f"/proc/{name}/environ", "rb") as file:
                    if mark in file.read().split(b"\0"):
                        os.kill(int(name), signal.SIGKILL)
            except OSError:
                pass
