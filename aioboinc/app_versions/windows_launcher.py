"""The main program on Windows: an executable that has cmd.exe run the batch file in the slot directory.

The client can start nothing but an executable: it names the main program by a relative path with slashes, in which
cmd.exe sees options. The executables are distlib's launchers, those behind the commands that pip installs: they run
what a line behind them says, with their own path and arguments. An archive must follow that line; in it is their
licence.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from types import MappingProxyType

from aioboinc import errors
from aioboinc.program import archive

__all__ = ["BATCH_FILE", "STUBS", "build"]

BATCH_FILE = "pyboinc_launcher.bat"
"""What the batch file is called in the slot directory."""
STUBS: Mapping[str, str] = MappingProxyType({"x86_64": "t64.exe", "arm64": "t64-arm.exe"})
"""distlib's launchers for programs with a console, by processor."""

# By its full path, and the batch file with its directory: the client's directories have files that nobody has signed.
_COMMAND = rf"#!C:\Windows\System32\cmd.exe /d /c .\{BATCH_FILE}"


@functools.cache
def build(processor: str) -> bytes:
    """Return the executable for a processor in `STUBS`, the same bytes each time. Blocks the first time.

    Raises `errors.UsageError` if the installed distlib has no launchers, as Debian's.
    """
    stub, licence = _read(f"distlib/{STUBS[processor]}"), _read("LICENSE.txt")
    return stub + _COMMAND.encode("ascii") + b"\r\n" + archive.build([("LICENSE.txt", licence)])


def _read(name: str) -> bytes:
    """Return a file of the installed distlib: its path there, or the end of it, is *name*."""
    import importlib.metadata  # with it the whole package email, for setup only

    try:
        for path in importlib.metadata.files("distlib") or ():
            if f"/{path.as_posix()}".endswith(f"/{name}"):
                return path.read_binary()
    except (importlib.metadata.PackageNotFoundError, OSError):
        pass
    raise errors.UsageError(
        f"distlib is not installed as a whole, {name} is missing: pip install --force-reinstall distlib"
    )
