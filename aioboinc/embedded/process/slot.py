"""The slot directory of a local host: what a job finds in it, and what it leaves."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import html
import os
import shutil

from aioboinc.embedded.process.messages import CHECKPOINTS, Job
from aioboinc.slave_runtime import finished, slot

__all__ = ["Slot"]

STDERR_BYTES = 63 * 1024
"""How much of the end of a job's stderr is reported, as by the BOINC client."""
_IN_PLACE = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


class Slot:
    """The directory that jobs run in, one after the other.

    Files that every job has are written in place: to make and remove them costs more than a fork.
    """

    def __init__(self, path: str, lock: str, project_dir: str) -> None:
        """Take the directory *path*. The file *lock* is there as long as somebody has it."""
        self.path = path
        self._lock = lock
        self._job: Job | None = None
        os.makedirs(path, exist_ok=True)
        # Relative, as BOINC's own: the path of the project may have anything in it, and a link takes one line.
        self._way = os.path.relpath(project_dir, path)
        self._project_dir = project_dir
        file = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        fcntl.flock(file, fcntl.LOCK_EX)  # until this process ends; an earlier one may be about to
        self._init_data = _INIT_DATA.format(
            project_dir=_escaped(project_dir).replace("%", "%%"),
            slot=os.path.basename(path),
            client_pid=os.getpid(),
        )
        self._stderr = os.open(
            os.path.join(path, slot.STDERR), os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644
        )

    def fill(self, job: Job) -> None:
        """Leave in the directory what *job* needs and nothing else."""
        self._job = job
        files = {name: f"<soft_link>{self._relative(path)}</soft_link>\n" for name, path in job["links"].items()}
        files[slot.INIT_DATA] = self._init_data % job
        with os.scandir(self.path) as entries:
            unwanted = [entry.name for entry in entries if entry.name not in files and entry.name != slot.STDERR]
        for name in unwanted:
            self._remove(name)
        with contextlib.suppress(FileExistsError):
            os.mkdir(os.path.join(self.path, slot.TEMPORARY))
        os.ftruncate(self._stderr, 0)
        for name, content in files.items():
            self._write(name, os.fsencode(content))
        if job["checkpoint"]:
            for name, suffix in CHECKPOINTS.items():
                with contextlib.suppress(FileNotFoundError):
                    os.rename(job["checkpoint"] + suffix, os.path.join(self.path, name))
        try:
            os.unlink(job["output"])  # of an earlier execution of the same result; it would pass for this one's
        except FileNotFoundError:
            os.makedirs(os.path.dirname(job["output"]), exist_ok=True)

    def end(self) -> None:
        """Note that the job is over: nothing is to go on from where it was."""
        for name in CHECKPOINTS:
            slot.remove(os.path.join(self.path, name))

    def label(self) -> str:
        """Return what is to be said first of a mishap of the job: which call of a workunit of several it was in."""
        assert self._job is not None
        label: str = finished.label(self.path, self._job["workunit"])
        return label

    def leave(self) -> None:
        """Note that nothing is left running here."""
        self._remove(slot.TEMPORARY)
        slot.remove(self._lock)

    def input(self, limit: int) -> bytes | None:
        """Return the input of the job if it has less than *limit* bytes."""
        assert self._job is not None
        if self._job["input"] is not None:
            return base64.b64decode(self._job["input"])
        try:
            file = os.open(self._job["links"][slot.INPUT], os.O_RDONLY | os.O_CLOEXEC)
        except (KeyError, OSError):
            return None  # the slave will say what is wrong with it
        try:
            data = os.read(file, limit)
        finally:
            os.close(file)
        return data if len(data) < limit else None

    def size(self) -> int:
        """Return the number of bytes in the directory."""
        total = 0
        for folder, _, files in os.walk(self.path):
            for name in files:
                with contextlib.suppress(OSError):
                    total += os.lstat(os.path.join(folder, name)).st_size
        return total

    def stderr_end(self) -> str:
        """Return the end of what the job has written to stderr."""
        size = os.fstat(self._stderr).st_size
        if not size:
            return ""
        return os.pread(self._stderr, STDERR_BYTES, max(0, size - STDERR_BYTES)).decode("utf-8", "replace")

    def _relative(self, path: str) -> str:
        inside = path.startswith(self._project_dir + "/")
        return self._way + path[len(self._project_dir) :] if inside else path

    def _write(self, name: str, content: bytes) -> None:
        path = f"{self.path}/{name}"
        try:
            file = os.open(path, _IN_PLACE, 0o644)
        except OSError:
            self._remove(name)  # the last slave has put something else there
            file = os.open(path, _IN_PLACE, 0o644)
        os.write(file, content)
        os.ftruncate(file, len(content))
        os.close(file)

    def _remove(self, name: str) -> None:
        path = os.path.join(self.path, name)
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path, ignore_errors=True)
        else:
            slot.remove(path)


def _escaped(text: str) -> str:
    """Escape what ends an element of ``init_data.xml``: a line too."""
    return html.escape(text, quote=False).replace("\n", "&#10;").replace("\r", "&#13;")


_INIT_DATA = """\
<app_init_data>
<major_version>7</major_version>
<minor_version>20</minor_version>
<release>5</release>
<hostid>%(hostid)d</hostid>
<app_name>pyboinc</app_name>
<project_dir>{project_dir}</project_dir>
<wu_name>%(workunit)s</wu_name>
<result_name>%(name)s</result_name>
<shm_key>-1</shm_key>
<slot>{slot}</slot>
<client_pid>{client_pid}</client_pid>
<wu_cpu_time>0.000000</wu_cpu_time>
<checkpoint_period>60.000000</checkpoint_period>
<fraction_done_start>0.000000</fraction_done_start>
<fraction_done_end>1.000000</fraction_done_end>
<ncpus>1.000000</ncpus>
<rsc_fpops_est>%(fpops_est)f</rsc_fpops_est>
<rsc_fpops_bound>%(fpops_bound)f</rsc_fpops_bound>
<rsc_memory_bound>%(memory_bound)f</rsc_memory_bound>
<rsc_disk_bound>%(disk_bound)f</rsc_disk_bound>
</app_init_data>
"""
"""What means something here of the client's ``init_data.xml``."""
