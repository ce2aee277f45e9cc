"""The slave's process and all its descendants, on Windows: a job object holds them and this process.

Windows ends them all when this process ends, however it ends. processes_unix.py has the same names.
"""

from __future__ import annotations

import sys

__all__ = [
    "ProcessTree",
    "catch_signals",
    "die_of",
    "die_with_parent",
    "kill_strays",
    "leave_no_core",
    "parent_watch",
    "process_exists",
]

if sys.platform == "win32":
    import ctypes
    import os
    import signal
    import subprocess
    import time
    from ctypes import wintypes
    from typing import Callable, List, Mapping, Optional, Sequence, Set

    _KILL_SECONDS = 5.0
    _CREATE_NO_WINDOW = 0x08000000
    _PROCESS_TERMINATE = 0x0001
    _PROCESS_SUSPEND_RESUME = 0x0800
    _SYNCHRONIZE = 0x00100000
    _WAIT_TIMEOUT = 0x102
    _ERROR_ACCESS_DENIED = 5
    _LIMIT_KILL_ON_JOB_CLOSE = 0x2000
    # Values of JOBOBJECTINFOCLASS.
    _BASIC_ACCOUNTING, _BASIC_PROCESS_ID_LIST, _EXTENDED_LIMIT = 1, 3, 9
    _MAX_PROCESSES = 1024

    class _BasicAccounting(ctypes.Structure):
        _fields_ = [
            ("TotalUserTime", ctypes.c_int64),
            ("TotalKernelTime", ctypes.c_int64),
            ("ThisPeriodTotalUserTime", ctypes.c_int64),
            ("ThisPeriodTotalKernelTime", ctypes.c_int64),
            ("TotalPageFaultCount", wintypes.DWORD),
            ("TotalProcesses", wintypes.DWORD),
            ("ActiveProcesses", wintypes.DWORD),
            ("TotalTerminatedProcesses", wintypes.DWORD),
        ]

    class _ProcessIdList(ctypes.Structure):
        _fields_ = [
            ("NumberOfAssignedProcesses", wintypes.DWORD),
            ("NumberOfProcessIdsInList", wintypes.DWORD),
            ("ProcessIdList", ctypes.c_size_t * _MAX_PROCESSES),
        ]

    class _BasicLimit(ctypes.Structure):
        _fields_ = [
            ("PerProcessUserTimeLimit", ctypes.c_int64),
            ("PerJobUserTimeLimit", ctypes.c_int64),
            ("LimitFlags", wintypes.DWORD),
            ("MinimumWorkingSetSize", ctypes.c_size_t),
            ("MaximumWorkingSetSize", ctypes.c_size_t),
            ("ActiveProcessLimit", wintypes.DWORD),
            ("Affinity", ctypes.c_size_t),
            ("PriorityClass", wintypes.DWORD),
            ("SchedulingClass", wintypes.DWORD),
        ]

    class _ExtendedLimit(ctypes.Structure):
        _fields_ = [
            ("BasicLimitInformation", _BasicLimit),
            ("IoInfo", ctypes.c_uint64 * 6),
            ("ProcessMemoryLimit", ctypes.c_size_t),
            ("JobMemoryLimit", ctypes.c_size_t),
            ("PeakProcessMemoryUsed", ctypes.c_size_t),
            ("PeakJobMemoryUsed", ctypes.c_size_t),
        ]

    _kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)
    _kernel32.CreateJobObjectW.restype = wintypes.HANDLE
    _kernel32.CreateJobObjectW.argtypes = [wintypes.LPVOID, wintypes.LPCWSTR]
    _kernel32.SetInformationJobObject.argtypes = [wintypes.HANDLE, ctypes.c_int, wintypes.LPVOID, wintypes.DWORD]
    _kernel32.QueryInformationJobObject.argtypes = [
        wintypes.HANDLE,
        ctypes.c_int,
        wintypes.LPVOID,
        wintypes.DWORD,
        wintypes.LPVOID,
    ]
    _kernel32.AssignProcessToJobObject.argtypes = [wintypes.HANDLE, wintypes.HANDLE]
    _kernel32.GetCurrentProcess.restype = wintypes.HANDLE
    _kernel32.OpenProcess.restype = wintypes.HANDLE
    _kernel32.OpenProcess.argtypes = [wintypes.DWORD, wintypes.BOOL, wintypes.DWORD]
    _kernel32.TerminateProcess.argtypes = [wintypes.HANDLE, wintypes.UINT]
    _kernel32.WaitForSingleObject.argtypes = [wintypes.HANDLE, wintypes.DWORD]
    _kernel32.CloseHandle.argtypes = [wintypes.HANDLE]
    _ntdll = ctypes.WinDLL("ntdll")
    _ntdll.NtSuspendProcess.argtypes = [wintypes.HANDLE]
    _ntdll.NtResumeProcess.argtypes = [wintypes.HANDLE]

    class ProcessTree:
        """The slave and its descendants; the methods are those of supervisor.Tree."""

        def __init__(self) -> None:
            self._child: Optional[subprocess.Popen[bytes]] = None
            self._suspended: Set[int] = set()
            self._job = _kernel32.CreateJobObjectW(None, None)
            limit = _ExtendedLimit()
            limit.BasicLimitInformation.LimitFlags = _LIMIT_KILL_ON_JOB_CLOSE
            if not (
                self._job
                and _kernel32.SetInformationJobObject(
                    self._job, _EXTENDED_LIMIT, ctypes.byref(limit), ctypes.sizeof(limit)
                )
                # This process too: then no descendant is made outside of the job.
                and _kernel32.AssignProcessToJobObject(self._job, _kernel32.GetCurrentProcess())
            ):
                raise ctypes.WinError(ctypes.get_last_error())

        def start(self, command: Sequence[str], variables: Mapping[str, str], directory: str) -> None:
            self._child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=2,
                stderr=2,
                env=dict(variables),
                cwd=directory,
                creationflags=_CREATE_NO_WINDOW,
            )

        def wait(self, seconds: float) -> Optional[int]:
            assert self._child is not None
            try:
                return self._child.wait(seconds)
            except subprocess.TimeoutExpired:
                return None

        def suspend(self) -> None:
            # Each call counts in Windows: a process suspended twice would have to be resumed twice.
            while True:
                new = [pid for pid in self._pids() if pid not in self._suspended]
                if not new:
                    return
                for pid in new:
                    self._suspended.add(pid)
                    _with_process(pid, _PROCESS_SUSPEND_RESUME, _ntdll.NtSuspendProcess)

        def resume(self) -> None:
            for pid in self._suspended:
                _with_process(pid, _PROCESS_SUSPEND_RESUME, _ntdll.NtResumeProcess)
            self._suspended.clear()

        def kill(self, leave_seconds: float = 0.0) -> None:
            start = time.monotonic()
            while True:
                pids = self._pids()
                elapsed = time.monotonic() - start
                if not pids or elapsed > leave_seconds + _KILL_SECONDS:
                    return
                for pid in pids if elapsed >= leave_seconds else ():
                    _with_process(pid, _PROCESS_TERMINATE, lambda handle: _kernel32.TerminateProcess(handle, 1))
                time.sleep(0.01)

        def cpu_time(self) -> float:
            times = _BasicAccounting()
            _kernel32.QueryInformationJobObject(
                self._job, _BASIC_ACCOUNTING, ctypes.byref(times), ctypes.sizeof(times), None
            )
            hundreds_of_nanoseconds: int = times.TotalUserTime + times.TotalKernelTime
            return hundreds_of_nanoseconds / 1e7 - time.process_time()

        def _pids(self) -> List[int]:
            pids = _ProcessIdList()
            _kernel32.QueryInformationJobObject(
                self._job, _BASIC_PROCESS_ID_LIST, ctypes.byref(pids), ctypes.sizeof(pids), None
            )
            listed = list(pids.ProcessIdList[: pids.NumberOfProcessIdsInList])
            return [pid for pid in listed if pid != os.getpid()]

    def catch_signals() -> Sequence[int]:
        """Catch the signals that end a process from now on, and return a collection that they will be in."""
        caught: List[int] = []

        def catch(number: int, frame: object) -> None:
            caught.append(number)

        for number in (signal.SIGBREAK, signal.SIGINT, signal.SIGTERM):
            signal.signal(number, catch)
        return caught

    def die_of(number: int) -> int:
        """Return the status to end with after the signal *number*: that of a job that goes on later."""
        return 0

    def die_with_parent(parent: int) -> None:
        """Do nothing: the job object does it."""

    def leave_no_core() -> None:
        """Do nothing: Windows writes none there."""

    def kill_strays(variable: str, value: str) -> None:
        """Do nothing: the job object does it."""

    def process_exists(pid: int) -> bool:
        """Say whether process *pid* runs; one of another account does."""
        handle = _kernel32.OpenProcess(_SYNCHRONIZE, False, pid)
        if not handle:
            return ctypes.get_last_error() == _ERROR_ACCESS_DENIED
        running = _kernel32.WaitForSingleObject(handle, 0) == _WAIT_TIMEOUT
        _kernel32.CloseHandle(handle)
        return bool(running)

    def parent_watch() -> Callable[[], bool]:
        """Return a function that says whether the process that is now our parent still runs."""
        handle = _kernel32.OpenProcess(_SYNCHRONIZE, False, os.getppid())
        if not handle:
            return lambda: True
        return lambda: bool(_kernel32.WaitForSingleObject(handle, 0) == _WAIT_TIMEOUT)

    def _with_process(pid: int, access: int, action: Callable[[int], object]) -> None:
        handle = _kernel32.OpenProcess(access, False, pid)
        if handle:
            action(handle)
            _kernel32.CloseHandle(handle)
