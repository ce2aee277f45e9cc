"""What hosts get is Python 3.8 with nothing but the standard library; launchers are plain."""

from __future__ import annotations

import ast
import io
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import aioboinc
from aioboinc import slave_runtime
from aioboinc.app_versions import runtime_archive

FOLDER = Path(slave_runtime.__file__).parent
# In sys.stdlib_module_names of Python 3.11, and not yet in 3.8.
LATER = {"graphlib", "tomllib", "zoneinfo", "_typing", "_tkinter"}


def sources() -> dict[str, str]:
    with zipfile.ZipFile(io.BytesIO(runtime_archive.build())) as archive:
        return {name: archive.read(name).decode() for name in archive.namelist()}


SOURCES = sources()


def test_the_archive_has_the_runtime_and_the_codec() -> None:
    names = set(SOURCES)
    assert {"__main__.py", "aioboinc/__init__.py", "aioboinc/wire/codec.py", "aioboinc/wire/envelope.py"} <= names
    assert {f"aioboinc/slave_runtime/{path.name}" for path in FOLDER.glob("*.py")} <= names
    assert Path(aioboinc.__file__).parent.name == "aioboinc"


@pytest.mark.parametrize("name", SOURCES)
def test_the_syntax_is_that_of_python_3_8(name: str) -> None:
    tree = ast.parse(SOURCES[name], name, feature_version=(3, 8))
    for node in ast.walk(tree):
        # Since 3.9 the parser takes these although it was asked for an older version.
        assert not isinstance(node, (ast.Match, ast.NamedExpr)) or sys.version_info >= (3, 8)
        if isinstance(node, ast.With):
            assert not re.match(r"with \(\s*$", SOURCES[name].splitlines()[node.lineno - 1].strip())
        for decorator in getattr(node, "decorator_list", []):
            plain = decorator.func if isinstance(decorator, ast.Call) else decorator
            assert isinstance(plain, (ast.Name, ast.Attribute)), f"{name}:{decorator.lineno}"


@pytest.mark.parametrize("name", SOURCES)
def test_annotations_are_never_evaluated(name: str) -> None:
    """``list[int]`` and ``int | None`` are none of Python 3.8's."""
    if any(isinstance(node, (ast.AnnAssign, ast.arg)) for node in ast.walk(ast.parse(SOURCES[name]))):
        assert "\nfrom __future__ import annotations\n" in SOURCES[name]


@pytest.mark.parametrize("name", SOURCES)
def test_imports_are_the_standard_librarys_or_our_own(name: str) -> None:
    ours = {path.removesuffix(".py").replace("/", ".") for path in SOURCES}
    for node in ast.walk(ast.parse(SOURCES[name])):
        modules: list[str] = []
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level:
            package = name.rpartition("/")[0].replace("/", ".")
            modules = [".".join(filter(None, (package, node.module, alias.name))) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module in {
            "aioboinc",
            "aioboinc.slave_runtime",
            "aioboinc.wire",
        }:
            modules = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            modules = [node.module or ""]
        for module in modules:
            top = module.partition(".")[0]
            optional = top == "numpy" and name.startswith("aioboinc/wire/")
            assert module in ours or optional or (top in sys.stdlib_module_names and top not in LATER), module


def test_the_modules_for_a_system_are_imported_on_that_system_only() -> None:
    for name in SOURCES:
        if "processes_windows" in SOURCES[name] and name != "aioboinc/slave_runtime/processes_windows.py":
            assert name.endswith(("app_client.py", "supervisor.py", "processes_unix.py")), name
    assert (
        'if sys.platform == "win32":\n    from . import processes_windows as processes\nelse:\n'
        in (SOURCES["aioboinc/slave_runtime/app_client.py"])
    )


def names_of(path: Path) -> set[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return set(ast.literal_eval(node.value))
    raise AssertionError(path)


def methods_of_tree(path: Path) -> dict[str, str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ClassDef) and node.name in {"ProcessTree", "Tree"}:
            return {
                item.name: ast.unparse(item.args)
                for item in node.body
                if isinstance(item, ast.FunctionDef) and not item.name.startswith("_")
            }
    raise AssertionError(path)


def test_both_systems_have_the_same_names() -> None:
    windows, unix = FOLDER / "processes_windows.py", FOLDER / "processes_unix.py"
    assert names_of(windows) == names_of(unix) - {"ProcTable", "PsTable", "Table", "Process"}
    defined = {
        node.name
        for node in ast.walk(ast.parse(windows.read_text()))
        if isinstance(node, (ast.FunctionDef, ast.ClassDef))
    }
    assert names_of(windows) <= defined
    assert methods_of_tree(windows) == methods_of_tree(unix) == methods_of_tree(FOLDER / "supervisor.py")


BATCH = (FOLDER / "launcher.bat").read_text()
SHELL = FOLDER / "launcher.sh"


def test_the_batch_file_has_what_cmd_needs() -> None:
    """cmd.exe loses its way in files whose lines end as on Unix, and reads other than ASCII in some code page."""
    shipped = runtime_archive.files()["launcher.bat"]
    assert shipped.count(b"\r\n") == shipped.count(b"\n")
    assert shipped.isascii()
    assert b"\t" not in shipped


def test_the_batch_file_goes_to_labels_that_it_has() -> None:
    labels = set(re.findall(r"^:(\w+)$", BATCH, re.MULTILINE)) | {"eof"}
    targets = set(re.findall(r"(?:goto|call) :(\w+)", BATCH))
    assert targets <= labels
    assert labels - {"eof"} <= targets


def test_the_batch_file_uses_variables_that_it_sets() -> None:
    used = set(re.findall(r"%(PYBOINC_\w+)[%:]", BATCH))
    assert used == set(re.findall(r'set "(PYBOINC_\w+)=', BATCH))


def test_no_line_of_the_batch_file_is_too_long_with_an_input_in_it() -> None:
    assert BATCH.count("%*") == 1


@pytest.mark.parametrize("shell", ["sh", "dash", "bash", "ksh", "zsh", "busybox"])
def test_the_shell_script_is_one_for_every_shell(shell: str) -> None:
    path = shutil.which(shell)
    if path is None:
        pytest.skip(f"{shell} is not here")
    command = [path, "sh"] if shell == "busybox" else [path]
    subprocess.run([*command, "-n", SHELL], check=True)


def test_the_shell_script_is_posix() -> None:
    text = SHELL.read_text()
    assert text.startswith("#!/bin/sh\n")
    assert not re.search(r"\[\[|^\s*local\b|\bfunction\b|<<<|\$'|&>|==", text, re.MULTILINE)
