"""The slot directory: the names in it, soft links, and small files that are there whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sys
import time
from typing import Optional

__all__ = [
    "CALLS",
    "CHANNELS",
    "CHECKPOINT",
    "FINISH",
    "INIT_DATA",
    "INPUT",
    "KEY",
    "LOCK",
    "OUTPUT",
    "PROGRAM",
    "PROGRAM_FILES",
    "PROGRESS",
    "RETURNED",
    "RUNTIME",
    "STDERR",
    "TEMPORARY",
    "TEMPORARY_EXIT",
    "Lock",
    "finish",
    "move",
    "remove",
    "resolve",
    "temporary",
    "temporary_exit",
    "write",
]

PROGRAM = "pyboinc_program"
"""Open name of the program."""
INPUT = "pyboinc_input"
"""Open name of the input."""
OUTPUT = "pyboinc_output"
"""Open name of the output."""
RUNTIME = "pyboinc_runtime"
"""Open name of this runtime's archive."""
KEY = "pyboinc_key"
"""Open name of the public key that programs are checked with."""

PROGRAM_FILES = "pyboinc_program_files"
"""Directory of the unpacked program."""
CHECKPOINT = "pyboinc_slave_checkpoint"
"""What ``pyboinc_checkpoint`` wrote last."""
CALLS = "pyboinc_calls"
"""What the finished calls of a workunit of several have come to (see finished.py)."""
PROGRESS = "pyboinc_progress"
"""What the slave tells the supervisor (see progress.py)."""

RETURNED = "pyboinc_returned"
"""The output under a client, until the slave has ended well."""
TEMPORARY = "tmp"
"""Directory of the slave's temporary files."""

INIT_DATA = "init_data.xml"
CHANNELS = "boinc_mmap_file"
LOCK = "boinc_lockfile"
FINISH = "boinc_finish_called"
TEMPORARY_EXIT = "boinc_temporary_exit"
STDERR = "stderr.txt"

_LINK_START = b"<soft_link>"
_LINK_END = b"</soft_link>"
_REPLACE_SECONDS = 5.0
_MAX_TEMPORARY = 71
"""Bytes of a path below which a socket can have the name that multiprocessing gives it: macOS takes 103 in all."""


def resolve(slot_dir: str, name: str) -> str:
    """Return the path of the file that *name* stands for in *slot_dir*.

    The client leaves the file itself, a symbolic link, or a text file with a soft link. Whether the file exists
    does not matter: an output does not yet.
    """
    path = os.path.join(slot_dir, name)
    if os.path.islink(path):
        return os.path.realpath(path)
    try:
        with open(path, "rb") as file:
            line = file.readline(4096).strip()
    except OSError:
        return path
    if line.startswith(_LINK_START) and line.endswith(_LINK_END):
        target = os.fsdecode(line[len(_LINK_START) : -len(_LINK_END)].strip())
        return os.path.normpath(os.path.join(slot_dir, target))
    return path


def temporary(slot_dir: str) -> Optional[str]:
    """Return the directory for temporary files; None if its path is too long for the sockets that may be in it.

    Then the system's own has to do.
    """
    path = os.path.join(slot_dir, TEMPORARY)
    return path if os.name == "nt" or len(os.fsencode(path)) <= _MAX_TEMPORARY else None


def move(source: str, target: str) -> None:
    """Give a file that was written another place, durably, whole or not at all. May block; raises OSError."""
    with open(source, "r+b") as file:
        os.fsync(file.fileno())
    try:
        _replace(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        shutil.copyfile(source, target)  # slots and projects on two file systems
        with open(target, "r+b") as file:
            os.fsync(file.fileno())
        remove(source)


def write(path: str, data: bytes, *, durable: bool = False, temporary: Optional[str] = None) -> None:
    """Write a file that has all of *data* or, after a crash, is as before.

    *durable*: it survives a power cut from then on. *temporary* is the name used on the way, *path* + ".tmp" if it
    is not given. May block; raises OSError.
    """
    temporary = temporary or path + ".tmp"
    _store(temporary, data, durable)
    try:
        _replace(temporary, path)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _store(path, data, durable)  # slots and projects on two file systems
        remove(temporary)


def remove(path: str) -> None:
    """Remove a file; it does not matter whether it is there."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def finish(slot_dir: str) -> None:
    """Tell the client that the job is done: it has its output, and the process will exit with 0."""
    write(os.path.join(slot_dir, FINISH), b"0\n")


def temporary_exit(slot_dir: str, seconds: int, reason: str) -> None:
    """Ask the client to start the job again in *seconds* and to show its user the *reason*; exit with 0 then."""
    line = " ".join(reason.split()).encode("utf-8", "replace")[:200]  # the client's buffer has 256 bytes
    write(os.path.join(slot_dir, TEMPORARY_EXIT), b"%d\n%b\nnotice\n" % (seconds, line))


class Lock:
    """The lock on a slot directory, the one of BOINC's library; it is free again when the process has ended."""

    def __init__(self, slot_dir: str) -> None:
        self._path = os.path.join(slot_dir, LOCK)

    if sys.platform == "win32":

        def acquire(self) -> bool:
            """Take the lock; return False if another process has it. Does not block."""
            import ctypes

            kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)
            kernel32.CreateFileW.restype = ctypes.c_void_p
            generic_write, share_nothing, open_always, normal = 0x40000000, 0, 4, 0x80
            handle = kernel32.CreateFileW(
                ctypes.c_wchar_p(self._path), generic_write, share_nothing, None, open_always, normal, None
            )
            return handle is not None and handle != ctypes.c_void_p(-1).value

    else:

        def acquire(self) -> bool:
            """Take the lock; return False if another process has it. Does not block; raises OSError."""
            import fcntl

            file = os.open(self._path, os.O_WRONLY | os.O_CREAT, 0o664)
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno not in (errno.ENOSYS, errno.ENOLCK):  # a file system without locks
                    os.close(file)
                    return False
            return True


def _store(path: str, data: bytes, durable: bool) -> None:
    with open(path, "wb") as file:
        file.write(data)
        if durable:
            file.flush()
            os.fsync(file.fileno())


def _replace(source: str, target: str) -> None:
    deadline = time.monotonic() + _REPLACE_SECONDS
    while True:
        try:
            return os.replace(source, target)
        except PermissionError:
            # On Windows a file that a virus scanner is looking at can't be replaced, for a moment.
            if os.name != "nt" or time.monotonic() > deadline:
                raise
            time.sleep(0.05)
