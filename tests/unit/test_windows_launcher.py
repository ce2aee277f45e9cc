"""The main program on Windows, as far as that can be told without Windows: the file's structure."""

from __future__ import annotations

import importlib.metadata
import io
import zipfile

import pytest

from aioboinc import errors
from aioboinc.app_versions import interpreters, windows_launcher

PROCESSORS = list(windows_launcher.STUBS)


@pytest.mark.parametrize("processor", PROCESSORS)
def test_it_is_an_executable_for_the_processor(processor: str) -> None:
    assert interpreters.platforms(windows_launcher.build(processor)) == [f"windows_{processor}"]


@pytest.mark.parametrize("processor", PROCESSORS)
def test_what_it_runs(processor: str) -> None:
    data = windows_launcher.build(processor)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        (entry,) = archive.infolist()
        assert "PYTHON SOFTWARE FOUNDATION LICENSE" in archive.read(entry).decode()
    # The launcher looks for the archive, and for the line that ends where that begins.
    assert entry.header_offset == data.rindex(b"PK\3\4")
    line = data[data.rindex(b"#!", 0, entry.header_offset) : entry.header_offset]
    assert line == b"#!C:\\Windows\\System32\\cmd.exe /d /c .\\pyboinc_launcher.bat\r\n"


def test_the_bytes_are_the_same_each_time() -> None:
    before = windows_launcher.build("x86_64")
    windows_launcher.build.cache_clear()
    assert windows_launcher.build("x86_64") == before


def test_without_the_launchers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Debian's distlib has none."""
    whole = importlib.metadata.files

    def files(name: str) -> list[importlib.metadata.PackagePath]:
        return [path for path in whole(name) or () if path.suffix != ".exe"]

    windows_launcher.build.cache_clear()
    monkeypatch.setattr(importlib.metadata, "files", files)
    with pytest.raises(errors.UsageError, match=r"distlib/t64\.exe is missing: pip install"):
        windows_launcher.build("x86_64")
