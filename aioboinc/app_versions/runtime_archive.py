"""The files that a host needs to run programs: an archive of `slave_runtime` and the codec, and launchers.

They are the same bytes from a checkout and from an installed package, on every platform. The key that programs are
checked with is a separate file, because each project has its own.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.resources
from collections.abc import Mapping
from importlib.resources.abc import Traversable
from types import MappingProxyType

from aioboinc.app_versions import windows_launcher
from aioboinc.program import archive

__all__ = ["ARCHIVE", "VERSION", "build", "digest", "files", "version_num"]

ARCHIVE = "pyboinc_runtime.zip"
"""Name of the archive among `files`."""
VERSION = 1
"""Counts releases of the runtime, below 100; BOINC shows 1 as 1.01."""

_MASTERS = ("documents.py",)
"""Modules of `wire` that hosts don't use."""
_LAUNCHERS = (".sh", ".bat")
_MAIN = b"""\
import sys

from aioboinc.slave_runtime import app_client

if __name__ == "__main__":
    sys.exit(app_client.main())
"""


def version_num() -> int:
    """Return the version as BOINC's database has it: 101 for 1.01."""
    return 100 + VERSION


@functools.cache
def build() -> bytes:
    """Return the archive, which Python can run. Blocks the first time."""
    modules = {
        "__main__.py": _MAIN,
        "aioboinc/__init__.py": b"",
        **{
            f"aioboinc/wire/{file.name}": _text(file)
            for file in _wire().iterdir()
            if file.name.endswith(".py") and file.name not in _MASTERS
        },
        **{
            f"aioboinc/slave_runtime/{file.name}": _text(file)
            for file in _runtime().iterdir()
            if file.name.endswith(".py")
        },
    }
    return archive.build(sorted(modules.items()))


@functools.cache
def files() -> Mapping[str, bytes]:
    """Return the files of application versions by name: archive and launchers. Blocks the first time.

    Raises `errors.UsageError` if a package is not installed as a whole.
    """
    launchers = {file.name: _text(file) for file in _runtime().iterdir() if file.name.endswith(_LAUNCHERS)}
    for processor in windows_launcher.STUBS:
        launchers[f"launcher_{processor}.exe"] = windows_launcher.build(processor)
    return MappingProxyType({ARCHIVE: build(), **dict(sorted(launchers.items()))})


@functools.cache
def digest() -> str:
    """Return the SHA-256 over `files`, in hexadecimal; if it changes, hosts need a new version."""
    whole = hashlib.sha256()
    for name, content in files().items():
        whole.update(hashlib.sha256(name.encode()).digest() + hashlib.sha256(content).digest())
    return whole.hexdigest()


def _wire() -> Traversable:
    return importlib.resources.files("aioboinc.wire")


def _runtime() -> Traversable:
    return importlib.resources.files("aioboinc.slave_runtime")


def _text(file: Traversable) -> bytes:
    """Read a text file with the line ends that its reader needs, whatever a checkout made of them."""
    lines = file.read_bytes().replace(b"\r\n", b"\n")
    return lines.replace(b"\n", b"\r\n") if file.name.endswith(".bat") else lines
