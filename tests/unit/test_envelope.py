"""The envelope of an output: one form for a value, one for an exception, the same on every machine."""

from __future__ import annotations

import hashlib
import importlib.util
import linecache
import math
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import codec_samples
import pytest
from interpreters import INTERPRETERS

from aioboinc.wire import codec, envelope

INPUT = hashlib.sha256(b"input").digest()
PROGRAM = hashlib.sha256(b"program").digest()
JOB = "pyboinc_12_345"


def encode_output(value: object) -> bytes:
    return envelope.encode_output(JOB, INPUT, PROGRAM, value, codec_samples.REGISTRY)


def encode_error(error: BaseException, root: Path | str) -> dict[str, Any]:
    data = envelope.encode_error(JOB, INPUT, PROGRAM, error, root)
    envelope.check(data, JOB, INPUT, PROGRAM)
    decoded = envelope.decode(data, None)
    assert decoded.status == "error"
    value: dict[str, Any] = decoded.value
    return value


def test_output() -> None:
    value = codec_samples.Plain(value=[1, 2.5])
    data = encode_output(value)
    content = {"pyboinc": 1, "job": JOB, "input": INPUT, "program": PROGRAM, "status": "ok", "value": value}
    assert data == codec.encode(content, codec_samples.REGISTRY)
    assert pickle.loads(data) == content
    assert envelope.decode(data, codec_samples.REGISTRY) == envelope.Envelope(JOB, INPUT, PROGRAM, "ok", value)
    envelope.check(data, JOB, INPUT, PROGRAM)


def test_output_that_is_not_data() -> None:
    with pytest.raises(codec.NotData, match=r"^output\[0\]: function is not data"):
        encode_output([test_output])


@pytest.mark.parametrize("job", ["", JOB, "x" * 300, "\u00e9"])
def test_header(job: str) -> None:
    header = envelope.header(job, INPUT, PROGRAM)
    data = envelope.encode_output(job, INPUT, PROGRAM, None, None)
    assert data.startswith(header + b"\x8c\x02ok")
    assert header.endswith(b"\x8c\x06status")
    assert envelope.encode_error(job, INPUT, PROGRAM, ValueError(), ".").startswith(header + b"\x8c\x05error")


def test_header_of_something_else() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        envelope.header(JOB, b"", PROGRAM)


def test_the_deepest_value_has_room_in_the_envelope() -> None:
    value: Any = []
    for _ in range(codec.LIMITS.depth - 1):
        value = [value]
    assert envelope.decode(encode_output(value), None).value == value


def test_check_is_about_one_job() -> None:
    data = encode_output(1)
    for job, input_sha256, program_sha256 in [
        ("other", INPUT, PROGRAM),
        (JOB, PROGRAM, PROGRAM),
        (JOB, INPUT, INPUT),
    ]:
        with pytest.raises(codec.Malformed, match=f"is not an output of {job}"):
            envelope.check(data, job, input_sha256, program_sha256)
    for end in range(len(data)):
        with pytest.raises(codec.Malformed):
            envelope.check(data[:end], JOB, INPUT, PROGRAM)


def good(**changes: Any) -> dict[str, Any]:
    return {"pyboinc": 1, "job": JOB, "input": INPUT, "program": PROGRAM, "status": "ok", "value": 1, **changes}


def bad_error(**changes: Any) -> dict[str, Any]:
    error = {"type": "ValueError", "message": "", "traceback": [], "causes": [], **changes}
    return good(status="error", value=error)


@pytest.mark.parametrize(
    "content",
    [
        None,
        [],
        {},
        good(more=1),
        dict(reversed(good().items())),
        good(pyboinc=2),
        good(pyboinc=True),
        good(pyboinc=1.0),
        good(job=b"x"),
        good(job=None),
        good(job="\u00e9"),
        good(job="x" * 256),
        good(input=INPUT[1:]),
        good(program=INPUT.hex()),
        good(status="fine"),
        good(status=[]),
        good(status="error"),
        bad_error(type=1),
        bad_error(message=None),
        bad_error(more=1),
        bad_error(traceback=()),
        bad_error(traceback=[1]),
        bad_error(traceback=[["file", 1, "function"]]),
        bad_error(traceback=[["file", "1", "function", "source"]]),
        bad_error(traceback=[["file", True, "function", "source"]]),
        bad_error(causes=["ValueError"]),
        bad_error(traceback=[["file", 10**5000, "function", "source"]]),
        bad_error(traceback=[["file", 1 << 31, "function", "source"]]),
        bad_error(traceback=[["file", -1, "function", "source"]]),
        bad_error(traceback=[["file", 1, "function", "x" * 201]]),
        bad_error(traceback=[["f" * 20_001, 1, "function", "source"]]),
        bad_error(traceback=[["file", 1, "f" * 20_001, "source"]]),
        bad_error(traceback=[["file", 1, "function", "source"]] * 51),
        bad_error(type=""),
        bad_error(type="T" * 20_001),
        bad_error(message="x" * 4001),
        bad_error(causes=[["ValueError", "x" * 4001]]),
        bad_error(causes=[["ValueError", ""]] * 11),
        bad_error(causes=[["ValueError", None]]),
    ],
)
def test_what_is_no_envelope(content: object) -> None:
    data = codec.encode(content)
    with pytest.raises(codec.Malformed):
        envelope.decode(data, None)
    with pytest.raises(codec.Malformed):
        envelope.check(data, JOB, INPUT, PROGRAM)


def test_the_largest_error_of_a_runtime_is_one() -> None:
    frame = ["folder/" * 580 + "file.py", 2**31 - 1, "f" * 20_000, "x" * 200]
    content = bad_error(
        type="T" * 20_000, message="x" * 4000, traceback=[frame] * 50, causes=[["T" * 20_000, "x" * 4000]] * 10
    )
    error = envelope.decode(codec.encode(content), None).value
    assert "line 2147483647" in envelope.format_traceback(error)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"\x0epyboinc_12", b"\x0dpyboinc_12"),  # a name that is longer than it says
        (b"valueK\x01u.", b"valueK\x01."),
        (b"valueK\x01u.", b"valueK\x01u"),
        (b"valueK\x01u.", b"valueu."),
        (b"valueK\x01u.", b"valueK\x01K\x01u."),
        (b"valueK\x01u.", b"value](K\x01u."),
        (b"valueK\x01u.", b"valueK\x01e."),
        (b"valueK\x01u.", b"valueK\x01u.."),
        (b"valueK\x01u.", b"valueK\x01u.K\x01u."),
        (b"valueK\x01u.", b"valueK\x01\x8c\x04moreK\x01u."),
    ],
)
def test_what_is_not_how_an_envelope_is_written(old: bytes, new: bytes) -> None:
    data = encode_output(1)
    assert old in data
    with pytest.raises(codec.Malformed):
        envelope.decode(data.replace(old, new), None)


# Exceptions

MAIN = """\
import json
import helper

class Mine(Exception):
    pass

def fails(x): return x / 0

def in_a_list():
    return [fails(number)
            for number in range(3)]

def in_a_chain():
    text = "a"
    (text
     .upper()
     .missing
     .lower())

def in_arguments():
    max(
        1,
        fails(
            1
        ),
        2,
    )

def in_a_default():
    @str
    def function(
        argument=fails(1)
    ):
        pass

def in_a_decorator():
    @fails
    @str
    def function():
        pass

def in_a_with():
    with open("nowhere.txt") as one, \\
         open("nowhere.txt") as two:
        pass

def in_a_condition():
    if (True and
            fails(1)):
        pass

def in_a_lambda():
    return sorted([2, 1], key=lambda number:
        fails(number))

def in_a_generator():
    return sum(fails(number) for number in (1,
        2))

def in_a_class():
    class Local:
        attribute = fails(
            1)

def in_a_library():
    return json.loads("{")

def through_a_library():
    return json.dumps(json.loads("[1, {}]", object_hook=
        fails))

def in_another_file():
    helper.fails()

def at_the_end():
    try:
        pass
    finally:
        raise Mine("at the end")

def recursion():
    return recursion()

def mutual(depth=0):
    return mutual_too(depth)

def mutual_too(depth):
    return mutual(depth +
        1)

FUNCTIONS = [in_a_list, in_a_chain, in_arguments, in_a_default, in_a_decorator, in_a_condition, in_a_lambda,
             in_a_generator, in_a_class, in_a_library, through_a_library, in_another_file, at_the_end, recursion,
             in_a_with, mutual]
"""
HELPER = "def fails():\n    raise LookupError('helper') from KeyError('key')\n"
SCRIPT = """\
import sys
root = sys.argv[1]
sys.path[:0] = [root]
import app_slave
from aioboinc.wire import envelope
for function in app_slave.FUNCTIONS:
    try:
        function()
    except BaseException as error:
        print(function.__name__, envelope.encode_error("job", bytes(32), bytes(32), error, root).hex())
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    root = tmp_path / "program"
    (root / "package").mkdir(parents=True)
    (root / "app_slave.py").write_text(MAIN)
    (root / "helper.py").write_text(HELPER)
    (root / "package" / "inner.py").write_text(HELPER)
    return root


@pytest.fixture
def load(program: Path) -> Callable[[str], ModuleType]:
    def load(path: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location("program_" + Path(path).stem, program / path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


def raised(function: Callable[[], object]) -> BaseException:
    with pytest.raises(BaseException) as caught:  # noqa: PT011
        function()
    return caught.value


def test_error(program: Path, load: Callable[[str], ModuleType]) -> None:
    error = encode_error(raised(load("package/inner.py").fails), program)
    assert error == {
        "type": "LookupError",
        "message": "helper",
        "traceback": [["package/inner.py", 2, "fails", "raise LookupError('helper') from KeyError('key')"]],
        "causes": [["KeyError", "'key'"]],
    }
    assert envelope.format_traceback(error) == (
        "Traceback (most recent call last):\n"
        '  File "package/inner.py", line 2, in fails\n'
        "    raise LookupError('helper') from KeyError('key')\n"
        "LookupError: helper\n"
        "  caused by KeyError: 'key'"
    )


def test_frames_of_others_are_left_out(program: Path, load: Callable[[str], ModuleType], tmp_path: Path) -> None:
    (tmp_path / "outside.py").write_text(HELPER)
    outside = load("../outside.py")
    assert encode_error(raised(outside.fails), program)["traceback"] == []
    assert encode_error(raised(outside.fails), program)["causes"] == []
    assert encode_error(raised(lambda: exec("1/0")), program)["traceback"] == []
    assert envelope.format_traceback(encode_error(ValueError(), program)) == "ValueError"


def test_root_may_be_a_link(program: Path, load: Callable[[str], ModuleType], tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(program)
    error = raised(load("helper.py").fails)
    assert encode_error(error, link) == encode_error(error, str(program)) == encode_error(error, f"{program}/")
    missing = FileNotFoundError(2, "No such file", str(link / "data.txt"))
    assert encode_error(missing, link)["message"] == "[Errno 2] No such file: 'data.txt'"


def test_program_in_an_archive(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (program / "helper.py").rename(program / "zipped_helper.py")
    archive = shutil.make_archive(str(program), "zip", program)
    monkeypatch.syspath_prepend(archive)
    module = importlib.import_module("zipped_helper")
    monkeypatch.delitem(sys.modules, "zipped_helper")
    [frame] = encode_error(raised(module.fails), archive)["traceback"]
    assert frame == ["zipped_helper.py", 2, "fails", "raise LookupError('helper') from KeyError('key')"]


def test_source_is_missing_or_no_longer_python(program: Path, load: Callable[[str], ModuleType]) -> None:
    module = load("helper.py")
    error = raised(module.fails)
    for content in (None, "def (\n  x"):
        linecache.clearcache()
        (program / "helper.py").unlink() if content is None else (program / "helper.py").write_text(content)
        [[file, number, function, line]] = encode_error(error, program)["traceback"]
        assert (file, number, function, line) == ("helper.py", 2, "fails", "x" if content else "")


class Awkward(Exception):
    def __str__(self) -> str:
        raise ValueError


class Text(str):
    def __getitem__(self, key: object) -> Any:
        raise ValueError


class Subclass(Exception):
    def __str__(self) -> str:
        return Text("text")


@pytest.mark.parametrize(
    ("error", "type_name", "message"),
    [
        (
            ValueError("<object at 0x7f00deadBEEF> and <x at 0x1>"),
            "ValueError",
            "<object at 0x...> and <x at 0x...>",
        ),
        (ValueError("0x10"), "ValueError", "0x10"),
        (ValueError("x" * 9000), "ValueError", "x" * 4000),
        (ValueError("\ud800"), "ValueError", "\ud800"),
        (Awkward(), "test_envelope.Awkward", "<its text can't be had: ValueError>"),
        (Subclass(), "test_envelope.Subclass", "text"),
        (KeyError(1), "KeyError", "1"),
        (RecursionError("somewhere"), "RecursionError", "maximum recursion depth exceeded"),
        (ExceptionGroup("both", [ValueError()]), "ExceptionGroup", "both (1 sub-exception)"),
        (type("Local", (Exception,), {"__module__": "package.module"})(), "package.module.Local", ""),
        (SystemExit(3), "SystemExit", "3"),
    ],
    ids=lambda value: str(value)[:20] if isinstance(value, str) else None,
)
def test_messages(error: BaseException, type_name: str, message: str, tmp_path: Path) -> None:
    encoded = encode_error(error, tmp_path)
    assert (encoded["type"], encoded["message"]) == (type_name, message)


def test_causes(program: Path) -> None:
    source = (
        "def chain():\n"
        "    try:\n"
        "        try:\n"
        "            raise ValueError(1)\n"
        "        except ValueError:\n"
        "            raise KeyError(2)\n"
        "    except KeyError as error:\n"
        "        raise TypeError(3) from error\n"
        "def hidden():\n"
        "    try:\n"
        "        raise ValueError(1)\n"
        "    except ValueError:\n"
        "        raise TypeError(3) from None\n"
        "def endless():\n"
        "    for number in range(100):\n"
        "        try:\n"
        "            raise ValueError(number) from (error if number else None)\n"
        "        except ValueError as caught:\n"
        "            error = caught\n"
        "    raise error\n"
    )
    path = program / "chains.py"
    path.write_text(source)
    names: dict[str, Any] = {}
    exec(compile(source, str(path), "exec"), names)
    assert encode_error(raised(names["chain"]), program)["causes"] == [["KeyError", "2"], ["ValueError", "1"]]
    assert encode_error(raised(names["hidden"]), program)["causes"] == []
    assert len(encode_error(raised(names["endless"]), program)["causes"]) == 10
    error = raised(names["chain"])
    assert error.__cause__ is not None
    error.__cause__.__cause__ = error
    assert encode_error(error, program)["causes"] == [["KeyError", "2"]]


def test_long_tracebacks(program: Path) -> None:
    path = program / "deep.py"
    source = "def deep(n):\n    if not n:\n        raise ValueError('x' * 500)\n    deep(n - 1)\n"
    path.write_text(source)
    names: dict[str, Any] = {}
    exec(compile(source, str(path), "exec"), names)
    frames = encode_error(raised(lambda: names["deep"](100)), program)["traceback"]
    assert len(frames) == 50
    assert frames[-1] == ["deep.py", 3, "deep", "raise ValueError('x' * 500)"]
    frames = encode_error(raised(lambda: names["deep"](math.inf)), program)["traceback"]
    assert len(frames) == 50
    assert {tuple(frame) for frame in frames} == {("deep.py", 4, "deep", "deep(n - 1)")}


def test_every_python_tells_the_same(program: Path, tmp_path: Path) -> None:
    package = tmp_path / "host" / "aioboinc"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    shutil.copytree(Path(codec.__file__).parent, package / "wire", ignore=shutil.ignore_patterns("__pycache__"))
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    told: dict[str, dict[str, Any]] = {}
    for number, python in enumerate(INTERPRETERS):
        root = shutil.copytree(program, tmp_path / "slots" / str(number) / "program")
        done = subprocess.run(
            [python, "-W", "error", str(script), str(root)],
            env={"PYTHONPATH": str(package.parent), "PYTHONDONTWRITEBYTECODE": "1"},
            cwd=root.parent,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stderr == ""
        for line in done.stdout.splitlines():
            name, data = line.split()
            value = envelope.decode(bytes.fromhex(data), None).value
            assert told.setdefault(name, value) == value, (python, name)
    assert len(told) == 16
    assert told["in_a_list"]["traceback"] == [
        ["app_slave.py", 10, "in_a_list", "return [fails(number)"],
        ["app_slave.py", 7, "fails", "def fails(x): return x / 0"],
    ]
    assert [frame[0] for frame in told["in_another_file"]["traceback"]] == ["app_slave.py", "helper.py"]
    assert not os.path.exists("nowhere.txt")
