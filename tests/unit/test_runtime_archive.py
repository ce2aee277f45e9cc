import ast
import hashlib
import io
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from aioboinc.app_versions import runtime_archive

REPOSITORY = Path(__file__).parent.parent.parent


def members():
    with zipfile.ZipFile(io.BytesIO(runtime_archive.build())) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def copy(folder, installed):
    """Copy the library to *folder*: as pip lays it out, or as in the repository."""
    ignore = shutil.ignore_patterns("__pycache__")
    links = shutil.ignore_patterns("__pycache__", "slave_runtime", "daemons")
    shutil.copytree(REPOSITORY / "aioboinc", folder / "aioboinc", ignore=links)
    runtime = folder / "aioboinc" / "slave_runtime" if installed else folder / "slave_runtime"
    shutil.copytree(REPOSITORY / "slave_runtime", runtime, ignore=ignore)
    if not installed:
        (folder / "aioboinc" / "slave_runtime").symlink_to("../slave_runtime")
    return folder


def digest_of(folder, **environment):
    """Return the digest that the library in *folder* computes, no other being importable."""
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); from aioboinc.app_versions import runtime_archive; "
        "print(runtime_archive.digest())"
    )
    command = [sys.executable, "-I", "-B", "-c", script, folder]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ, **environment})
    return done.stdout.strip()


def test_content():
    content = members()
    names = list(content)
    assert names == sorted(names)
    assert {"__main__.py", "aioboinc/__init__.py", "aioboinc/wire/codec.py", "aioboinc/wire/envelope.py"} <= set(
        names
    )
    assert "aioboinc/slave_runtime/app_client.py" in names
    assert content["aioboinc/__init__.py"] == b""
    assert all(name.endswith(".py") for name in names)
    runtime = {path.name: path.read_bytes() for path in (REPOSITORY / "slave_runtime").glob("*.py")}
    prefix = "aioboinc/slave_runtime/"
    assert {n.removeprefix(prefix): c for n, c in content.items() if n.startswith(prefix)} == runtime


def test_nothing_of_the_library_but_the_codec():
    names = set(members()) - {"__main__.py", "aioboinc/__init__.py"}
    assert {name.split("/")[1] for name in names} == {"slave_runtime", "wire"}
    assert "aioboinc/wire/documents.py" not in names


def test_syntax_of_python_3_8():
    for name, content in members().items():
        ast.parse(content, name, feature_version=(3, 8))


def test_every_module_is_there(tmp_path):
    """Without the library and without installed packages, all modules of this platform can be imported."""
    path = tmp_path / "runtime.zip"
    path.write_bytes(runtime_archive.build())
    other = "processes_unix" if sys.platform == "win32" else "processes_windows"
    names = [
        name.removesuffix(".py").replace("/", ".")
        for name in members()
        if not name.endswith(("__main__.py", "__init__.py", f"/{other}.py"))
    ]
    script = """if True:
        import importlib, sys
        sys.path.insert(0, sys.argv[1])
        print(*map(importlib.import_module, sys.argv[2:]))
    """
    command = [sys.executable, "-I", "-B", "-W", "error", "-c", script, path, *names]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stdout.count(f"'{path}{os.sep}aioboinc") == len(names)


def test_python_runs_it(tmp_path):
    path = tmp_path / "runtime.zip"
    path.write_bytes(runtime_archive.build())
    (tmp_path / "slot").mkdir()
    command = [sys.executable, "-E", "-s", path]
    done = subprocess.run(command, cwd=tmp_path / "slot", capture_output=True, text=True, check=False)
    # There is no job in the slot: what counts is that the supervisor came as far as to say so.
    assert done.returncode != 0
    assert "the job can't be started" in done.stderr


def test_digest_is_over_all_files():
    whole = hashlib.sha256()
    for name, content in runtime_archive.files().items():
        whole.update(hashlib.sha256(name.encode()).digest() + hashlib.sha256(content).digest())
    assert runtime_archive.digest() == whole.hexdigest()


def test_files():
    files = runtime_archive.files()
    assert files[runtime_archive.ARCHIVE] == runtime_archive.build()
    launchers = {"launcher.sh", "launcher.bat", "launcher_x86_64.exe", "launcher_arm64.exe"}
    assert set(files) == {runtime_archive.ARCHIVE, *launchers}
    assert files["launcher.sh"].startswith(b"#!/bin/sh\n")
    assert b"\r" not in files["launcher.sh"]
    assert files["launcher.bat"].count(b"\n") == files["launcher.bat"].count(b"\r\n")
    with pytest.raises(TypeError):
        files["x"] = b""  # type: ignore[index]


def test_version():
    assert 0 < runtime_archive.VERSION < 100
    assert runtime_archive.version_num() == 100 + runtime_archive.VERSION


@pytest.mark.parametrize("installed", [True, False])
def test_same_bytes_from_a_checkout_and_installed(tmp_path, installed):
    assert digest_of(copy(tmp_path, installed)) == runtime_archive.digest()


def test_same_bytes_whatever_the_files_look_like(tmp_path):
    umask = os.umask(0o077)
    try:
        folder = copy(tmp_path / "some where", installed=True)
    finally:
        os.umask(umask)
    (folder / "aioboinc" / "slave_runtime" / "__pycache__").mkdir()
    (folder / "aioboinc" / "slave_runtime" / "README.txt").write_text("not Python")
    for path in folder.rglob("*"):
        if path.is_file():
            path.chmod(0o700)
            os.utime(path, (10**9, 10**9))
    # As git checks out where core.autocrlf is true.
    for path in (folder / "aioboinc").rglob("*"):
        if path.suffix in {".py", ".sh", ".bat"}:
            path.write_bytes(path.read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"))
    assert digest_of(folder, TZ="Asia/Tokyo", PYTHONHASHSEED="7") == runtime_archive.digest()


@pytest.mark.parametrize(
    "changed",
    ["aioboinc/wire/codec.py", "aioboinc/slave_runtime/slave.py", "aioboinc/slave_runtime/launcher.sh"],
)
def test_a_change_is_noticed(tmp_path, changed):
    folder = copy(tmp_path, installed=True)
    with (folder / changed).open("a") as file:
        file.write("\n")
    assert digest_of(folder) != runtime_archive.digest()


def test_a_change_of_the_library_is_none(tmp_path):
    folder = copy(tmp_path, installed=True)
    with (folder / "aioboinc" / "errors.py").open("a") as file:
        file.write("\n")
    assert digest_of(folder) == runtime_archive.digest()
