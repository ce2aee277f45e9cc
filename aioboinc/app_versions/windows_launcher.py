"""The main program on Windows: an executable that has cmd.exe run the batch file in the slot directory.

The client can only start an executable: it names the main program by a relative path with slashes, which cmd.exe takes
for options. The executables are distlib's launchers, which pip uses for commands: they run the command in a line
appended to them, with their own path and arguments. An archive must follow that line; it contains their licence.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from types import MappingProxyType

from aioboinc import errors
from aioboinc.program import archive

__all__ = ["BATCH_FILE", "STUBS", "build"]

BATCH_FILE = "pyboinc_launcher.bat"
"""Name of the batch file in the slot directory."""
STUBS: Mapping[str, str] = MappingProxyType({"x86_64": "t64.exe", "arm64": "t64-arm.exe"})
"""distlib's launchers for programs with a console, by processor."""

# With full paths, because the client's directories contain files that nobody has signed.
_COMMAND = rf"#!C:\Windows\System32\cmd.exe /d /c .\{BATCH_FILE}"


@functools.cache
def build(processor: str) -> bytes:
    """Return the executable for a processor in `STUBS`, the same bytes each time. Blocks the first time.

    Raises `errors.UsageError` if the installed distlib, such as Debian's, has no launchers.
    """
    stub, licence = _read(f"distlib/{STUBS[processor]}"), _read("LICENSE.txt")
    return stub + _COMMAND.encode("ascii") + b"\r\n" + archive.build([("LICENSE.txt", licence)])


def _read(name: str) -> bytes:
    """Return the file of the installed distlib whose path is, or ends with, *name*."""
    import importlib.metadata  # imports all of the package email; only setup needs it

    try:
        for path in importlib.metadata.files("distlib") or ():
            if f"/{path.as_posix()}".endswith(f"/{name}"):
                return path.read_binary()
    except (importlib.metadata.PackageNotFoundError, OSError):
        pass
    raise errors.UsageError(
        f"distlib is not installed as a whole, {name} is missing: pip install --force-reinstall distlib"
    )
