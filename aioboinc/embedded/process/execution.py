"""One job on a local host: started, kept within its bounds, reported."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import sys
import time

from aioboinc.embedded.process import forker as forking
from aioboinc.embedded.process.messages import Configuration, Job, Report, stderr_out
from aioboinc.embedded.process.slot import Slot
from aioboinc.slave_runtime import failures, processes_unix, program_file, slot

__all__ = ["Execution"]

LOOK_SECONDS = 0.25
"""A running job's memory is looked at so often at least, and more often the closer it is to its bound."""
GROWTH = 2e9
"""Bytes that a job allocates in a second at most, as far as we expect."""
DISK_SECONDS = 1.0
"""The slot's size is looked at so often."""
SMALL = 1 << 16
"""Bytes; an input below that is read for the slave, which reads a larger one itself."""
KILL_SECONDS = 5.0
"""What cannot be killed for so long is left."""

# The client's states of a result (BOINC's lib/common_defs.h).
COMPUTE_ERROR = 3
FILES_UPLOADED = 5
ABORTED = 6
UPLOAD_FAILED = 7


class Execution:
    """A job that runs: its bounds, what it uses, what becomes of it."""

    def __init__(self, job: Job, program: program_file.Program | str, place: Slot, forker: forking.Forker) -> None:
        """Start *job* in the slot; *program* is its program, or what is wrong with that."""
        self.job = job
        self._slot = place
        self._forker = forker
        self._aborted: tuple[int, str] | None = None
        self._peak_memory = 0
        self._peak_disk = 0
        place.fill(job)
        self._started = time.monotonic()
        self._deadline = self._started + job["elapsed_bound"]
        self._next_look = self._started + min(LOOK_SECONDS, job["memory_bound"] / GROWTH)
        self._next_look_at_disk = self._started + DISK_SECONDS
        forker.begin(forking.Request(program, job["name"], job["workunit"], place.input(SMALL)))

    def elapsed(self) -> float:
        """Return the seconds since the start."""
        return time.monotonic() - self._started

    def watch(self) -> float:
        """Abort the job if it exceeds a bound; return in how many seconds to call this again."""
        now = time.monotonic()
        if self._aborted is not None:
            self._kill()  # what was forked meanwhile
            if now >= self._deadline:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self._forker.pid, signal.SIGKILL)  # it hangs itself
            return LOOK_SECONDS
        if now >= self._deadline:
            self._abort(
                failures.TIME_LIMIT_EXCEEDED, f"exceeded elapsed time limit {self.job['elapsed_bound']:.2f}"
            )
        elif now >= self._next_look:
            self._next_look = now + self._look_at_memory()
            if now >= self._next_look_at_disk:
                self._next_look_at_disk = now + DISK_SECONDS
                self._look_at_disk()
        return max(0.0, min(self._next_look, self._deadline) - time.monotonic())

    def report(self, over: forking.Over, configuration: Configuration) -> Report:
        """Return what became of the job."""
        elapsed = self.elapsed()
        if over.strays:
            self._kill(failures.LEAVE_SECONDS)
        client_state, exit_status, message, xml_doc_out = self._outcome(over.status, configuration)
        label = self._slot.label() if exit_status else ""
        self._slot.end()
        stderr = self._slot.stderr_end()
        if exit_status == failures.NO_OUTPUT and not stderr:
            stderr = f"pyboinc: {label}slave returned no output: its process ended too early\n"
        elif label and f"pyboinc: {label}" not in stderr:
            stderr += f"pyboinc: {label}{message}\n"
        return {
            "name": self.job["name"],
            "client_state": client_state,
            "exit_status": exit_status,
            "cpu_time": over.cpu_time,
            "elapsed_time": elapsed,
            "xml_doc_out": xml_doc_out,
            "stderr_out": stderr_out(configuration["version"], message, stderr),
            "peak_working_set_size": max(self._peak_memory, over.peak_memory),
            "peak_disk_usage": self._peak_disk,
        }

    def _outcome(self, status: int, configuration: Configuration) -> tuple[int, int, str, str]:
        """Return the client state, the exit status, the client's message and the document of the output."""
        if self._aborted is not None or status:
            slot.remove(self.job["output"])  # the slave may have got as far as that
        if self._aborted is not None:
            return ABORTED, *self._aborted, ""
        if os.WIFSIGNALED(status):
            return COMPUTE_ERROR, failures.SIGNAL, f"process got signal {os.WTERMSIG(status)}", ""
        code = os.WEXITSTATUS(status)
        if code:
            return COMPUTE_ERROR, code, f"process exited with code {code} ({code:#x}, {code - 256})", ""
        try:
            file = os.open(self.job["output"], os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return COMPUTE_ERROR, failures.NO_OUTPUT, "output file is absent", ""
        try:
            size = os.fstat(file).st_size
            if size > self.job["max_nbytes"]:
                slot.remove(self.job["output"])
                return UPLOAD_FAILED, failures.FILE_TOO_BIG, f"output of {size} bytes is too big", ""
            return FILES_UPLOADED, 0, "", _xml_doc_out(self.job, size, _md5(file), configuration["upload_url"])
        finally:
            os.close(file)

    def _abort(self, status: int, message: str) -> None:
        self._aborted = status, message
        self._deadline = time.monotonic() + KILL_SECONDS
        self._kill()

    def _kill(self, leave_seconds: float = 0.0) -> None:
        """Kill all processes of the job, those too that it forks meanwhile, after *leave_seconds* to end."""
        start = time.monotonic()
        while running := [process for process in self._processes() if process.state not in "ZX"]:
            elapsed = time.monotonic() - start
            for process in running if elapsed >= leave_seconds else ():
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(process.pid, signal.SIGKILL)
            if elapsed > leave_seconds + KILL_SECONDS:
                break
            time.sleep(0.001)

    def _processes(self) -> list[processes_unix.Process]:
        table = processes_unix.ProcTable() if sys.platform == "linux" else processes_unix.PsTable()
        found: list[processes_unix.Process] = table.descendants(self._forker.pid, 0)
        return found

    def _look_at_memory(self) -> float:
        """Abort the job if it uses too much memory; return in how many seconds to look again."""
        if sys.platform != "linux":
            return LOOK_SECONDS
        pids = [process.pid for process in self._processes()]
        used = sum(map(_resident, pids))
        bound = self.job["memory_bound"]
        if used > bound and len(pids) > 1:
            used = sum(map(_proportional, pids))  # what they share was counted more than once
        self._peak_memory = max(self._peak_memory, used)
        if used > bound:
            self._abort(
                failures.MEM_LIMIT_EXCEEDED,
                f"working set size > workunit.rsc_memory_bound: {used / 1e6:.2f}MB > {bound / 1e6:.2f}MB",
            )
        return min(LOOK_SECONDS, max(0.01, (bound - used) / GROWTH))

    def _look_at_disk(self) -> None:
        used = self._slot.size()
        bound = self.job["disk_bound"]
        self._peak_disk = max(self._peak_disk, used)
        if used > bound:
            self._abort(
                failures.DISK_LIMIT_EXCEEDED, f"exceeded disk limit: {used / 1e6:.2f}MB > {bound / 1e6:.2f}MB"
            )


def _resident(pid: int) -> int:
    """Return the bytes of memory that a process has, 0 if it has ended."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:
            return int(file.read().split()[1]) * _PAGE
    except (OSError, IndexError):
        return 0


def _proportional(pid: int) -> int:
    """Return the same with its share only of what several processes have."""
    try:
        with open(f"/proc/{pid}/smaps_rollup", "rb") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith(b"Pss:"))
    except (OSError, StopIteration):
        return 0


_PAGE = os.sysconf("SC_PAGE_SIZE")


def _md5(file: int) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    while block := os.read(file, SMALL):
        digest.update(block)
    return digest.hexdigest()


def _xml_doc_out(job: Job, size: int, md5: str, upload_url: str) -> str:
    return (
        f"<file_info><name>{os.path.basename(job['output'])}</name>\n    <nbytes>{size:f}</nbytes>\n"
        f"    <max_nbytes>{job['max_nbytes']:f}</max_nbytes>\n    <md5_cksum>{md5}</md5_cksum>\n"
        f"    <upload_url>{upload_url}</upload_url></file_info>\n"
    )
