import dataclasses
import gzip
import io
import os
import struct
import sys
import tarfile
from pathlib import Path

import pytest

from aioboinc import errors
from aioboinc.app_versions import interpreters


def elf(machine):
    return b"\x7fELF\x02\x01\x01" + bytes(11) + struct.pack("<H", machine) + bytes(40)


def pe(machine):
    return b"MZ" + bytes(58) + struct.pack("<I", 64) + b"PE\0\0" + struct.pack("<H", machine) + bytes(40)


def mach_o(kind):
    return b"\xcf\xfa\xed\xfe" + struct.pack("<I", kind) + bytes(40)


UNIVERSAL = b"\xca\xfe\xba\xbe" + struct.pack(">IIIIIIIIIII", 2, 0x01000007, 3, 0, 0, 0, 0x0100000C, 0, 0, 0, 0)


@pytest.mark.parametrize(
    ("data", "platforms"),
    [
        (elf(62), ["x86_64-pc-linux-gnu"]),
        (elf(183), ["aarch64-unknown-linux-gnu"]),
        (elf(3), []),
        (pe(0x8664), ["windows_x86_64"]),
        (pe(0xAA64), ["windows_arm64"]),
        (pe(0x14C), []),
        (mach_o(0x01000007), ["x86_64-apple-darwin"]),
        (mach_o(0x0100000C), ["arm64-apple-darwin"]),
        (UNIVERSAL, ["x86_64-apple-darwin", "arm64-apple-darwin"]),
        (b"#!/bin/sh\n", []),
        (b"MZ", []),
        (b"", []),
    ],
)
def test_platforms(data, platforms):
    assert interpreters.platforms(data) == platforms


@pytest.fixture
def unix(tmp_path):
    root = tmp_path / "python"
    for name in ("bin", "include", "lib/python3.12/test", "lib/python3.12/json/__pycache__"):
        (root / name).mkdir(parents=True)
    (root / "bin/python3.12").write_bytes(elf(62))
    (root / "bin/python3").symlink_to("python3.12")
    (root / "bin/pip").write_text("#!/gone/python3")
    (root / "include/Python.h").write_text("")
    (root / "lib/libpython3.12.so.1.0").write_bytes(b"library")
    (root / "lib/libpython3.so").symlink_to("libpython3.12.so.1.0")
    (root / "lib/python3.12/LICENSE.txt").write_text("PSF")
    (root / "lib/python3.12/os.py").write_text("")
    (root / "lib/python3.12/test/big.py").write_text("")
    (root / "lib/python3.12/json/__init__.py").write_text("")
    (root / "lib/python3.12/json/__pycache__/__init__.cpython-312.pyc").write_text("")
    return root


def members(bundle):
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(bundle.archive))) as archive:
        return {member.name: member for member in archive}


def test_unix(unix):
    (bundle,) = interpreters.read(unix)
    assert bundle.platform == "x86_64-pc-linux-gnu"
    assert bundle.executable == elf(62)
    found = members(bundle)
    assert set(found) == {
        "lib/libpython3.12.so.1.0",
        "lib/libpython3.so",
        "lib/python3.12/LICENSE.txt",
        "lib/python3.12/json/__init__.py",
        "lib/python3.12/os.py",
    }
    assert found["lib/libpython3.so"].linkname == "libpython3.12.so.1.0"


def test_it_is_the_same_each_time(unix):
    first = interpreters.read(unix)
    os.utime(unix / "lib/python3.12/os.py", (1, 1))
    assert interpreters.read(unix) == first


def test_windows(tmp_path):
    (tmp_path / "python.exe").write_bytes(pe(0x8664))
    for name in ("python312.dll", "python312.zip", "python312._pth", "LICENSE.txt"):
        (tmp_path / name).write_text(name)
    (bundle,) = interpreters.read(tmp_path)
    assert bundle.platform == "windows_x86_64"
    assert set(members(bundle)) == {"python312.dll", "python312.zip", "python312._pth", "LICENSE.txt"}


def test_universal(unix):
    (unix / "bin/python3.12").write_bytes(UNIVERSAL)
    assert [bundle.platform for bundle in interpreters.read(unix)] == [
        "x86_64-apple-darwin",
        "arm64-apple-darwin",
    ]


def refusal(directory):
    with pytest.raises(errors.UsageError) as caught:
        interpreters.read(directory)
    message = str(caught.value)
    assert message.startswith(f"--python {directory}")
    assert "\n" not in message
    return message


def test_bad_directories(unix, tmp_path, monkeypatch):
    assert "no such directory" in refusal(tmp_path / "none")
    assert "neither bin/python3 nor python.exe" in refusal(tmp_path)
    (unix / "bin/python3.12").write_bytes(elf(3))
    assert "not an executable" in refusal(unix)
    (unix / "bin/python3.12").write_bytes(elf(62))
    monkeypatch.setattr(interpreters, "MAX_BYTES", 8 << 10)
    (unix / "lib/large").write_bytes(bytes(9 << 10))
    assert "relocatable" in refusal(unix)
    (unix / "lib/large").unlink()
    (unix / "lib/passwd").symlink_to("/etc/passwd")
    assert "lib/passwd leads out of it" in refusal(unix)
    (unix / "lib/passwd").unlink()
    (unix / "lib/python3.12/LICENSE.txt").unlink()
    assert "licence" in refusal(unix)


def test_a_virtual_environment_is_refused(unix, tmp_path):
    environment = tmp_path / "environment"
    (environment / "bin").mkdir(parents=True)
    (environment / "bin/python3").symlink_to(unix / "bin/python3")
    assert "bin/python3 leads out of it" in refusal(environment)


def test_try_out(unix):
    """Scripts stand in for interpreters."""
    (bundle,) = interpreters.read(unix)
    native = interpreters.platforms(Path(sys.executable).read_bytes())
    foreign = next(name for name in ("windows_arm64", "windows_x86_64") if name not in native)
    interpreters.try_out(dataclasses.replace(bundle, platform=foreign))
    script = b"#!/bin/sh\ncd ${0%/bin/python3} && pwd\n"
    relocatable = dataclasses.replace(bundle, platform=native[0], executable=script)
    interpreters.try_out(relocatable)
    for script in (b"#!/bin/sh\necho /usr\n", b"#!/bin/sh\necho no library >&2; exit 127\n"):
        with pytest.raises(errors.UsageError, match=r"not relocatable: (/usr|no library)"):
            interpreters.try_out(dataclasses.replace(relocatable, executable=script))
