"""Interpreters for hosts without a Python: makes an executable and an archive from a directory.

The directory has a relocatable Python: python.org's embeddable package for Windows, or a build whose ``bin/python3``
finds the ``lib/`` beside its folder, wherever it is. The launchers put the two together again.
"""

from __future__ import annotations

import gzip
import io
import os
import re
import struct
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from aioboinc import errors

__all__ = ["Bundle", "platforms", "read", "try_out"]

MAX_BYTES = 1 << 30
"""Maximum bytes; anything larger is no interpreter."""

_ELF_MACHINES = {62: "x86_64-pc-linux-gnu", 183: "aarch64-unknown-linux-gnu"}
_MACH_O_TYPES = {0x01000007: "x86_64-apple-darwin", 0x0100000C: "arm64-apple-darwin"}
_PE_MACHINES = {0x8664: "windows_x86_64", 0xAA64: "windows_arm64"}
_LICENCE = re.compile(r"(LICEN[CS]E|COPYING)[^/]*$", re.IGNORECASE)
_UNNEEDED = re.compile(
    r"(bin|include|share|libs|Scripts|Doc|(lib/python3\.\d+|Lib)/test|lib/pkgconfig|(.*/)?__pycache__|.*\.a)(/|$)"
)
"""Paths that hosts don't need; the executable is a file of its own."""

_TRIAL = "import hashlib, json, mmap, subprocess, sys, zipfile; print(sys.prefix)"
"""Imports what the launchers require, and prints where the interpreter thinks it is."""


@dataclass(frozen=True)
class Bundle:
    """An interpreter for one platform."""

    platform: str
    """BOINC's name of the platform."""
    executable: bytes
    archive: bytes
    """Everything else, including the licence, as ``.tar.gz``."""


def read(directory: Path) -> list[Bundle]:
    """Return the interpreter in *directory*, once for each platform of its executable. Blocks.

    Raises `errors.UsageError` for a directory that has no interpreter or no licence.
    """
    try:
        executable = _executable(directory)
        data = executable.read_bytes()
        found = platforms(data)
        if not found:
            raise errors.UsageError(
                f"--python {directory}: {executable.name} is not an executable for Linux, macOS or Windows on "
                "x86_64 or ARM64"
            )
        archive = _archive(directory)
    except OSError as error:
        raise errors.UsageError(f"--python {errors.describe(error.filename or directory, error)}") from None
    return [Bundle(platform, data, archive) for platform in found]


def try_out(bundle: Bundle) -> None:
    """Run an interpreter as a host would, if it is for this platform. Blocks.

    Raises `errors.UsageError` if it does not run: hosts would ignore it.
    """
    if bundle.platform not in platforms(Path(sys.executable).read_bytes()):
        return
    with tempfile.TemporaryDirectory(prefix="pyboinc_python_") as place:
        subprocess.run(["tar", "-xzf", "-", "-C", place], input=bundle.archive, check=True)
        executable = Path(place, "bin", "python3")
        executable.parent.mkdir(exist_ok=True)
        executable.write_bytes(bundle.executable)
        executable.chmod(0o755)
        process = subprocess.run(
            [
                executable,
                "-E",
                "-s",
                "-c",
                "import hashlib, json, mmap, subprocess, sys, zipfile; print(sys.prefix)",
            ],
            env={},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
    said = process.stdout.decode(errors="replace").strip().rpartition("\n")[2]
    if process.returncode != 0 or os.path.realpath(said) != os.path.realpath(place):
        raise errors.UsageError(
            f"--python: the interpreter for {bundle.platform} does not run where it was not installed; it is not "
            f"relocatable: {said}"
        )


def _executable(directory: Path) -> Path:
    if not directory.is_dir():
        raise errors.UsageError(f"--python {directory}: no such directory")
    for name in ("python.exe", "bin/python3"):
        path = directory / name
        if path.exists():
            if not path.resolve().is_relative_to(directory.resolve()):
                raise errors.UsageError(
                    f"--python {directory}: {name} leads out of it; that is a virtual environment or an installed "
                    "Python, and a relocatable one is needed"
                )
            return path
    raise errors.UsageError(
        f"--python {directory}: neither bin/python3 nor python.exe is there; give the directory of a relocatable "
        "Python"
    )


def platforms(executable: bytes) -> list[str]:
    """Return BOINC's names of the platforms that an executable file is for: two for a universal one of macOS."""
    try:
        return [name for name in _platforms(executable) if name]
    except struct.error:
        return []


def _platforms(data: bytes) -> Iterator[str | None]:
    if data[:6] == b"\x7fELF\x02\x01":
        yield _ELF_MACHINES.get(*struct.unpack_from("<H", data, 18))
    elif data[:2] == b"MZ":
        (header,) = struct.unpack_from("<I", data, 60)
        if data[header : header + 4] == b"PE\0\0":
            yield _PE_MACHINES.get(*struct.unpack_from("<H", data, header + 4))
    elif data[:4] == b"\xcf\xfa\xed\xfe":
        yield _MACH_O_TYPES.get(*struct.unpack_from("<I", data, 4))
    elif data[:4] == b"\xca\xfe\xba\xbe":
        (count,) = struct.unpack_from(">I", data, 4)
        for number in range(min(count, 8)):
            yield _MACH_O_TYPES.get(*struct.unpack_from(">I", data, 8 + 20 * number))


def _archive(directory: Path) -> bytes:
    """Return the rest of *directory* as a reproducible archive."""
    tar = io.BytesIO()
    licensed = False
    with tarfile.open(fileobj=tar, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path, name in _members(directory):
            entry = tarfile.TarInfo(name)
            if path.is_symlink():
                entry.type = tarfile.SYMTYPE
                entry.linkname = os.readlink(path)
                archive.addfile(entry)
                continue
            entry.mode = 0o755 if os.access(path, os.X_OK) else 0o644
            entry.size = path.stat().st_size
            if tar.tell() + entry.size > MAX_BYTES:
                raise errors.UsageError(
                    f"--python {directory}: more than {MAX_BYTES >> 20} MB; give a directory with nothing in it "
                    "but a relocatable Python"
                )
            with path.open("rb") as file:
                archive.addfile(entry, file)
            licensed = licensed or _LICENCE.search(name) is not None
    if not licensed:
        raise errors.UsageError(
            f"--python {directory}: no licence is there; put Python's LICENSE.txt into it, for hosts get a copy"
        )
    return gzip.compress(tar.getvalue(), mtime=0)


def _members(directory: Path) -> Iterator[tuple[Path, str]]:
    """Yield the files and symbolic links for the archive, with their names there, in a fixed order."""
    root = directory.resolve()
    for parent, folders, files in os.walk(directory):
        below = Path(parent)
        folders.sort()
        links = [folder for folder in folders if (below / folder).is_symlink()]
        for name in sorted([*files, *links]):
            path = below / name
            relative = path.relative_to(directory).as_posix()
            if _UNNEEDED.match(relative) or relative == "python.exe":
                continue
            if path.is_symlink() and (os.path.isabs(os.readlink(path)) or not path.resolve().is_relative_to(root)):
                raise errors.UsageError(f"--python {directory}: {relative} leads out of it")
            yield path, relative
