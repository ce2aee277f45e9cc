"""Programs of users, run as ``__main__`` here, and their functions, run as hosts run them."""

from __future__ import annotations

import ast
import linecache
import subprocess
import sys
import textwrap
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from test_runtime_slave import Ran, fork

from aioboinc.app_versions import runtime_archive
from aioboinc.program import bundle, functions, signed_archive
from aioboinc.project import keys
from aioboinc.slave_runtime import init_data, signature, slave, unpacking
from aioboinc.wire import envelope, several

__all__ = ["Host", "Master", "host", "master"]

JOB = "pyboinc_1_0"
PRIVATE = keys.PrivateKey(rsa.generate_private_key(65537, 2048))
KEY = signature.parse(PRIVATE.public_json)


_RUN = """
import sys
from aioboinc.slave_runtime import init_data, signature, slave, unpacking
key, program, unpacked, slot, job = sys.argv[1:]
prepared = slave.prepare(unpacking.unpack(program, unpacked, signature.parse(key.encode())))
sys.exit(slave.run(prepared, slot, init_data.InitData(wu_name=job)))
"""


class Master:
    """A program in a folder of its own, run as ``aioboinc run`` does."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self._monkeypatch = monkeypatch
        monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
        monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def run(self, text: str, **modules: str) -> dict[str, Any]:
        """Run *text* as ``app.py`` with *modules* beside it, and return its names."""
        for name, content in modules.items():
            path = self.folder / f"{name}.py"
            path.parent.mkdir(exist_ok=True)
            path.write_text(textwrap.dedent(content))
            self._monkeypatch.delitem(sys.modules, name.replace("/", ".").removesuffix(".__init__"), raising=False)
        path = self.folder / "app.py"
        path.write_text(textwrap.dedent(text))
        linecache.cache.pop(str(path), None)
        module = types.ModuleType("__main__")
        module.__file__ = str(path)
        self._monkeypatch.setitem(sys.modules, "__main__", module)
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        exec(compile(path.read_text(), str(path), "exec", flags, dont_inherit=True), vars(module))
        return vars(module)

    def program(self, text: str, name: str = "f", **modules: str) -> functions.Program:
        """Run *text* and return the program of its function *name*."""
        return functions.Program(self.run(text, **modules)[name])

    def text(self, text: str, name: str = "f", **modules: str) -> str:
        """Return what of *text* goes to hosts, without blank lines."""
        files = self.program(text, name, **modules).sources.files
        return "\n".join(line for line in files["app.py"].decode().splitlines() if line)


class Host:
    """Runs calls of functions."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def call(self, program: functions.Program, *args: Any, **kwargs: Any) -> Any:
        """Return the output of a call; of an error the text of its traceback."""
        return self.call_with("", program, *args, **kwargs)

    def call_with(self, python: str, program: functions.Program, *args: Any, **kwargs: Any) -> Any:
        """Do the same with another interpreter, *python*."""
        sources, data = program.encode(args, kwargs)
        ran = self.run(sources, data, python)
        assert ran.status == 0, ran.text
        assert ran.data is not None
        found = envelope.decode(ran.data, bundle.registry(sources))
        if found.status == "error":
            assert "pyboinc-slave" not in ran.text, "our frames are not shown"
            return envelope.format_traceback(bundle.located(sources, found.value))
        return found.value

    def call_several(
        self, program: functions.Program, calls: Sequence[tuple[Any, ...]], python: str = ""
    ) -> list[tuple[bool, Any]]:
        """Return whether each of several calls in a workunit has an output, and that or its error."""
        encoded = [program.encode(args, {}) for args in calls]
        sources = encoded[0][0]
        data = several.encode_inputs(0.0, [data for _, data in encoded])
        ran = self.run(sources, data, python, f"{JOB}_{len(calls)}")
        assert ran.status == 0, ran.text
        assert ran.data is not None
        assert "pyboinc-slave" not in ran.text, "our frames are not shown"
        registry = bundle.registry(sources)
        return [envelope.decode_call(piece, registry) for piece in envelope.decode_calls(ran.data)[3]]

    def error_alone(self, program: functions.Program, *args: Any) -> Any:
        """Return the error of a call that has a workunit of its own."""
        sources, data = program.encode(args, {})
        ran = self.run(sources, data)
        assert ran.data is not None, ran.text
        return envelope.decode(ran.data, None).value

    def run(self, sources: bundle.Sources, data: bytes, python: str = "", job: str = JOB) -> Ran:
        """Run the workunit *job* with the encoded input *data*."""
        folder = self._folder
        (folder / "program.zip").write_bytes(signed_archive.build(sources, "http://example.org/", PRIVATE))
        slot = folder / "slot"
        slot.mkdir(exist_ok=True)
        (slot / "pyboinc_input").write_bytes(data)
        output = slot / "pyboinc_output"
        output.unlink(missing_ok=True)
        log = folder / "log.txt"

        def child() -> int:
            for name in sources.modules:
                sys.modules.pop(name, None)
            prepared = slave.prepare(unpacking.unpack(str(folder / "program.zip"), str(folder / "unpacked"), KEY))
            return slave.run(prepared, str(slot), init_data.InitData(wu_name=job))

        if python:
            (folder / "runtime.zip").write_bytes(runtime_archive.build())
            command = [
                python,
                "-c",
                _RUN,
                PRIVATE.public_json,
                str(folder / "program.zip"),
                str(folder / "unpacked"),
                str(slot),
                job,
            ]
            environment = {"PYTHONPATH": str(folder / "runtime.zip"), "PYTHONDONTWRITEBYTECODE": "1"}
            with log.open("w") as file:
                status = subprocess.run(
                    command, cwd=slot, env=environment, stdout=file, stderr=file, check=False
                ).returncode
        else:
            status = fork(child, log)
        return Ran(status, log.read_text(), output.read_bytes() if output.exists() else None)


@pytest.fixture
def master(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Master:
    folder = tmp_path / "program"
    folder.mkdir()
    return Master(folder, monkeypatch)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    folder = tmp_path / "host"
    folder.mkdir()
    return Host(folder)
