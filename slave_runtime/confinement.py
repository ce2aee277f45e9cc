"""What is taken from a slave where the owner of the host asks for it: all files but those that it needs.

Landlock does that on Linux, for any user (https://docs.kernel.org/userspace-api/landlock.html). A process that is
confined stays so, with all that it starts: it reads Python, the system's directories and the project's, writes to its
slot, and reaches with signals and ptrace only its own. The network is left to it.
"""

from __future__ import annotations

import os
import struct
import sys
from typing import Any, Iterable, List, Mapping, Optional

__all__ = ["VARIABLE", "Unconfined", "confine", "is_available", "is_wanted"]

VARIABLE = "PYBOINC_CONFINE"
"""Set to 1 in the environment of the client it confines the slaves of the host."""

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION = 1
"""Flag of create_ruleset that asks for the version of the ABI."""
_PATH_BENEATH = 1
_PR_SET_NO_NEW_PRIVS = 38
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR, _TRUNCATE, _IOCTL_DEV = (1 << bit for bit in (0, 1, 2, 3, 14, 15))
_OF_FILE = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV
_READ = _EXECUTE | _READ_FILE | _READ_DIR
_ALL = (1 << 16) - 1
_BITS = {1: 13, 2: 14, 3: 15, 4: 15}
"""How many rights a version of the ABI knows; all 16 later."""
_SCOPES = 3
"""Abstract sockets and signals: to processes that are confined together only (version 6)."""

_READABLE = (
    "/usr /bin /sbin /lib /lib32 /lib64 /libx32 /etc /opt /nix/store /gnu/store /snap /proc /sys "
    "/var/cache/fontconfig /run/systemd/resolve"
)


class Unconfined(Exception):
    """The process could not be confined; the text says why."""


def is_wanted(variables: Mapping[str, str]) -> bool:
    """Say whether the owner of the host asks for it in the environment *variables*."""
    return variables.get(VARIABLE, "0") not in ("", "0")


def is_available() -> bool:
    """Say whether this host can do it."""
    return _version() > 0


def confine(slot_dir: str, project_dir: str) -> None:
    """Confine this process, which must have no other thread, and whatever it starts. Raises Unconfined."""
    version = _version()
    if version <= 0:
        raise Unconfined("the kernel has no Landlock")
    handled = (1 << _BITS.get(version, 16)) - 1
    attributes = struct.pack("=QQQ", handled, 0, _SCOPES if version >= 6 else 0)
    ruleset = _call("syscall", _CREATE_RULESET, attributes, len(attributes), 0)
    try:
        for path in [*_READABLE.split(), *_of_python(slot_dir), *([project_dir] if project_dir else [])]:
            _allow(ruleset, path, _READ & handled)
        _allow(ruleset, "/dev", (_READ | _WRITE_FILE | _TRUNCATE | _IOCTL_DEV) & ~_EXECUTE & handled)
        for path in (slot_dir, "/dev/shm"):
            _allow(ruleset, path, _ALL & handled)
        _call("prctl", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        _call("syscall", _RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _version() -> int:
    """Return the version of Landlock's ABI, 0 if there is none."""
    if sys.platform != "linux":
        return 0
    try:
        return _call("syscall", _CREATE_RULESET, None, 0, _VERSION)
    except Unconfined:
        return 0


def _of_python(slot_dir: str) -> Iterable[str]:
    """Return the directories that Python, its packages and their libraries are in, but not the user's home."""
    paths: List[Optional[str]] = [sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix, *sys.path]
    paths.append(os.path.dirname(os.path.realpath(sys.executable)))
    paths += os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep)
    return [path for path in paths if path and not any(_is_inside(place, path) for place in (slot_dir, *_homes()))]


def _homes() -> Iterable[str]:
    """Return the user's home; HOME is in the slot."""
    try:
        import pwd

        return [pwd.getpwuid(os.getuid()).pw_dir]  # type: ignore[attr-defined, unused-ignore]
    except (ImportError, KeyError):
        return []


def _is_inside(path: str, directory: str) -> bool:
    return os.path.join(os.path.realpath(path), "").startswith(os.path.join(os.path.realpath(directory), ""))


def _allow(ruleset: int, path: str, rights: int) -> None:
    """Allow *rights* to *path* and all below it; what is not there needs none."""
    try:
        descriptor = os.open(path, getattr(os, "O_PATH", 0) | os.O_CLOEXEC)
    except OSError:
        return
    try:
        rule = struct.pack("=Qi", rights if os.path.isdir(path) else rights & _OF_FILE, descriptor)
        _call("syscall", _ADD_RULE, ruleset, _PATH_BENEATH, rule, 0)
    finally:
        os.close(descriptor)


def _call(name: str, *arguments: Any) -> int:
    """Call a function of the C library. Raises Unconfined."""
    try:
        import ctypes

        function = getattr(ctypes.CDLL(None, use_errno=True), name)
        function.restype = ctypes.c_long
        whole = [ctypes.c_long(value) if isinstance(value, int) else value for value in arguments]
        result = int(function(*whole))
    except (ImportError, OSError, AttributeError) as error:
        raise Unconfined(f"the C library can't be called: {error}") from error
    if result < 0:
        raise Unconfined(f"Landlock refuses it: {os.strerror(ctypes.get_errno())}")
    return result
