"""What a slave has, and what becomes of the ways in which it may end. Each job runs in a forked child."""

from __future__ import annotations

import atexit
import hashlib
import os
import sys
import textwrap
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from aioboinc.program import bundle, signed_archive
from aioboinc.project import keys
from aioboinc.slave_runtime import failures, init_data, program_file, progress, signature, slave, unpacking
from aioboinc.wire import codec, envelope

JOB = "pyboinc_1_0"
PRIVATE = keys.PrivateKey(rsa.generate_private_key(65537, 2048))
KEY = signature.parse(PRIVATE.public_json)
TYPES = "class Point:\n    def __init__(self, x):\n        self.x = x\n"


@dataclass
class Ran:
    """How a job ended."""

    status: int
    """Exit status of the child, minus the signal that killed it."""
    text: str
    """What it wrote to stdout and stderr."""
    data: bytes | None
    """The output file."""

    @property
    def value(self) -> Any:
        assert self.data is not None, self.text
        return envelope.decode(self.data, codec.OPAQUE).value

    @property
    def last_line(self) -> str:
        return self.text.splitlines()[-1]


Run = Callable[..., Ran]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Return a function that runs the text of a slave, with other files of its program by keyword."""

    def run_in_child(text: str, input_value: object = None, **files: str) -> Ran:
        modules = {"app_types": TYPES, **files}
        contents = {f"{name}.py": content.encode() for name, content in modules.items()}
        contents["app_slave.py"] = ("import app_types\n" + textwrap.dedent(text)).encode()
        contents["table.txt"] = b"1 2 3"
        sources = bundle.Sources("app_slave.py", contents, {name: f"{name}.py" for name in modules}, "")
        (tmp_path / "program.zip").write_bytes(signed_archive.build(sources, "http://example.org/", PRIVATE))
        slot_dir = tmp_path / "slot"
        slot_dir.mkdir(exist_ok=True)
        (slot_dir / "pyboinc_input").write_bytes(codec.encode(input_value))
        log = tmp_path / "log.txt"

        def child() -> int:
            prepared = slave.prepare(
                unpacking.unpack(str(tmp_path / "program.zip"), str(tmp_path / "unpacked"), KEY)
            )
            return slave.run(prepared, str(slot_dir), init_data.InitData(wu_name=JOB))

        status = fork(child, log)
        output = slot_dir / "pyboinc_output"
        return Ran(status, log.read_text(), output.read_bytes() if output.exists() else None)

    return run_in_child


def fork(child: Callable[[], int], log: Path) -> int:
    """Run *child* in a forked process; return its exit status, minus the signal that killed it.

    The process ends like Python, up to its exit functions: the rest of its end would be pytest's.
    """
    pid = os.fork()
    if pid == 0:
        status = 99
        try:
            atexit._clear()  # type: ignore[attr-defined]
            null = os.open(os.devnull, os.O_RDONLY)
            file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            for number, target in enumerate((null, file, file)):
                os.dup2(target, number)
            sys.stdin = open(0, closefd=False)  # noqa: SIM115
            sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
            sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
            status = child()
            threading._shutdown()  # type: ignore[attr-defined]
            atexit._run_exitfuncs()  # type: ignore[attr-defined]
        except BaseException:
            import traceback

            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_input_and_output(run: Run) -> None:
    ran = run("pyboinc_return_output(pyboinc_get_input() ** 2)", 12)
    assert (ran.status, ran.text) == (0, "")
    assert ran.data is not None
    data = codec.encode(12)
    content = envelope.decode(ran.data, codec.OPAQUE)
    assert content.job == JOB
    assert content.input_sha256 == hashlib.sha256(data).digest()
    assert content.status == "ok"
    assert content.value == 144


def test_objects_of_the_programs_classes(run: Run) -> None:
    ran = run("pyboinc_return_output(app_types.Point([1, 2]))")
    assert ran.value.state == {"x": [1, 2]}


def test_the_input_is_the_same_object_each_time(run: Run) -> None:
    ran = run("pyboinc_return_output(pyboinc_get_input() is pyboinc_get_input())", [1])
    assert ran.value is True


def test_what_changes_after_it_was_returned_does_not_count(run: Run) -> None:
    ran = run("a = [1]\npyboinc_return_output(a)\na.append(2)")
    assert ran.value == [1]


def test_the_names_are_there_in_a_module_too(run: Run) -> None:
    ran = run(
        "import inner\ninner.work()",
        5,
        inner="import pyboinc\nfrom pyboinc import pyboinc_get_input\n\n"
        "def work():\n    pyboinc.pyboinc_return_output(pyboinc_get_input() + 1)\n",
    )
    assert ran.value == 6


def test_the_slave_is_the_main_program(run: Run) -> None:
    ran = run(
        """
        import os, sys, __main__
        pyboinc_return_output([
            __name__, sys.argv, os.path.basename(__file__), os.path.exists(__file__), "Spam" in dir(__main__),
            os.path.samefile(sys.path[0], os.path.dirname(__file__)), os.path.basename(os.getcwd()),
            sys.stdin.read(),
        ])
        class Spam: pass
        """
    )
    assert ran.value == ["__main__", ["app_slave.py"], "app_slave.py", True, False, True, "slot", ""]


def test_nothing_is_imported_from_where_the_job_happens_to_be(run: Run, tmp_path: Path) -> None:
    (tmp_path / "slot").mkdir()
    (tmp_path / "slot" / "stray.py").write_text("")
    ran = run("try:\n    import stray\nexcept ImportError:\n    pyboinc_return_output('none')")
    assert ran.value == "none"


def test_a_module_of_the_program_comes_before_an_installed_one(run: Run) -> None:
    ran = run("import queue\npyboinc_return_output(queue.mine)", queue="mine = 1")
    assert ran.value == 1


def test_included_files_lie_beside_the_program(run: Run) -> None:
    ran = run(
        "import os\npath = os.path.join(os.path.dirname(__file__), 'table.txt')\n"
        "pyboinc_return_output(open(path).read().split())"
    )
    assert ran.value == ["1", "2", "3"]


def test_two_outputs_are_an_error(run: Run) -> None:
    ran = run("pyboinc_return_output(1)\npyboinc_return_output(2)")
    assert ran.value["type"] == "RuntimeError"
    assert "a job has one output" in ran.value["message"]


def test_what_is_not_data_is_an_error_at_its_line(run: Run) -> None:
    ran = run("x = 1\npyboinc_return_output({'a': print})")
    assert ran.status == 0
    assert "NotData" in ran.value["type"]
    assert "output" in ran.value["message"]
    assert ran.value["traceback"] == [["app_slave.py", 3, "<module>", "pyboinc_return_output({'a': print})"]]


def test_an_exception_is_an_outcome(run: Run) -> None:
    ran = run("import inner\ninner.fail(0)", inner="def fail(x):\n    return 1 / x\n")
    assert ran.status == 0
    assert ran.value["type"] == "ZeroDivisionError"
    assert ran.value["traceback"] == [
        ["app_slave.py", 3, "<module>", "inner.fail(0)"],
        ["inner.py", 2, "fail", "return 1 / x"],
    ]
    assert "Traceback" in ran.text
    assert "slave_runtime" not in ran.text, "our own frames are of no interest"


def test_an_exception_after_the_output_is_the_outcome(run: Run) -> None:
    assert run("pyboinc_return_output(1)\nraise ValueError('late')").value["message"] == "late"


def test_nothing_returned(run: Run) -> None:
    ran = run("x = 1")
    assert ran.status == failures.NO_OUTPUT
    assert ran.data is None
    assert ran.last_line.startswith("pyboinc: slave returned no output")


@pytest.mark.parametrize("text", ["exit()", "exit(0)", "sys.exit(None)", "sys.exit(False)"])
def test_an_early_end_is_no_failure_once_the_output_is_returned(run: Run, text: str) -> None:
    assert run(f"import sys\npyboinc_return_output(1)\n{text}\nraise ValueError").value == 1
    assert run(f"import sys\n{text}\npyboinc_return_output(1)").status == failures.NO_OUTPUT


@pytest.mark.parametrize(
    ("argument", "status"), [("3", 3), ("255", 255), ("-1", 255), ("256", 1), ("512", 1), ("True", 1)]
)
def test_an_exit_status_is_passed_on(run: Run, argument: str, status: int) -> None:
    ran = run(f"import sys\npyboinc_return_output(1)\nsys.exit({argument})")
    assert (ran.status, ran.data) == (status, None)
    assert ran.last_line == f"pyboinc: slave exited with status {status}"


def test_the_last_line_comes_after_all_that_was_printed(run: Run) -> None:
    ran = run("print('printed')\nraise SystemExit(3)")
    assert ran.text == "printed\npyboinc: slave exited with status 3\n"


def test_an_exit_with_a_message(run: Run) -> None:
    ran = run("import sys\nsys.exit('no such luck')")
    assert ran.status == 1
    assert ran.text == "pyboinc: no such luck\npyboinc: slave exited with status 1\n"


@pytest.mark.parametrize(
    ("text", "status", "reason"),
    [
        ("raise MemoryError", failures.OUT_OF_MEMORY, "not enough memory"),
        ("bytearray(1 << 62)", failures.OUT_OF_MEMORY, "not enough memory"),
        ("import errno\nraise OSError(errno.ENOSPC, 'No space left')", 195, r"\[Errno 28\] No space left"),
        ("import errno\nraise OSError(errno.EMFILE, 'Too many open files')", 195, "Too many open files"),
        ('raise RuntimeError("can\'t start new thread")', 195, "new thread"),
        ("import importlib\nimportlib.import_module('not_there')", 195, "missing.*not_there"),
        ("from os import no_such_name", 195, "missing or too old.*no_such_name"),
    ],
)
def test_a_failure_of_the_host_is_no_outcome(run: Run, text: str, status: int, reason: str) -> None:
    ran = run(text)
    assert ran.status == status
    assert ran.data is None
    assert ran.last_line.startswith("pyboinc: this host can't do the job: ")
    import re

    assert re.search(reason, ran.last_line)


@pytest.mark.parametrize(
    "text",
    [
        "from app_types import no_such_name",
        "import app_types.inner",
        "raise ImportError('of our own')",
        "open('/nonexistent/file')",
        "raise OSError('no number')",
        "compile('x x', 'file', 'exec')",
        "def f(): f()\nf()",
        "raise BaseException",
        "raise GeneratorExit",
        "import asyncio\nraise asyncio.CancelledError",
    ],
)
def test_everything_else_is_an_outcome(run: Run, text: str) -> None:
    ran = run(text)
    assert ran.status == 0
    assert set(ran.value) >= {"type", "message", "traceback"}


def test_an_interrupt_is_no_outcome(run: Run) -> None:
    ran = run("raise KeyboardInterrupt")
    assert (ran.status, ran.data) == (130, None)
    assert ran.last_line == "pyboinc: slave was interrupted"


def test_the_end_waits_for_threads_but_not_for_daemons(run: Run) -> None:
    ran = run(
        """
        import threading
        go = threading.Event()
        threading.Thread(target=lambda: (go.wait(), pyboinc_return_output('thread'))).start()
        threading.Thread(target=threading.Event().wait, daemon=True).start()
        threading.Timer(0.05, go.set).start()
        """
    )
    assert (ran.status, ran.value) == (0, "thread")


def test_a_forked_child_that_comes_to_the_end_writes_nothing(run: Run) -> None:
    ran = run(
        """
        import os
        pid = os.fork()
        if pid:
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
            assert not os.path.exists("pyboinc_output")
        pyboinc_return_output('parent' if pid else 'child')
        """
    )
    assert ran.value == "parent"


def test_the_fraction_done_is_told(run: Run, tmp_path: Path) -> None:
    for argument, fraction in (("0.25", 0.25), ("1", 1.0), ("2", 1.0), ("-1e-9", 0.0)):
        run(f"pyboinc_fraction_done({argument})\npyboinc_return_output(1)")
        assert progress.read(str(tmp_path / "slot" / "pyboinc_progress")) == progress.Progress(fraction, 0)


@pytest.mark.parametrize(
    ("argument", "error"), [("float('nan')", "ValueError"), ("'x'", "ValueError"), ("[]", "TypeError")]
)
def test_a_fraction_that_is_none_is_an_error(run: Run, argument: str, error: str) -> None:
    assert run(f"pyboinc_fraction_done({argument})").value["type"] == error


CHECKPOINTED = """
state = pyboinc_restore()
if state is None:
    pyboinc_checkpoint([1, app_types.Point(2)])
    pyboinc_checkpoint([2, app_types.Point(3)])
    raise SystemExit(9)
pyboinc_return_output([state[0], state[1].x])
"""


def test_a_job_goes_on_from_its_checkpoint(run: Run, tmp_path: Path) -> None:
    assert run(CHECKPOINTED).status == 9
    assert progress.read(str(tmp_path / "slot" / "pyboinc_progress")).checkpoints == 2
    assert run(CHECKPOINTED).value == [2, 3]


def test_a_checkpoint_of_another_job_or_a_damaged_one_is_none(run: Run, tmp_path: Path) -> None:
    run(CHECKPOINTED)
    path = tmp_path / "slot" / "pyboinc_slave_checkpoint"
    content = path.read_bytes()
    assert run(CHECKPOINTED, "another input").status == 9
    path.write_bytes(content)
    assert run(CHECKPOINTED + "\n# another program").status == 9
    for damaged in (b"", content[:-1], content[:10], content + b"\0", content[:40] + b"x" + content[41:]):
        path.write_bytes(damaged)
        assert run(CHECKPOINTED).status == 9
    path.write_bytes(content)
    assert run(CHECKPOINTED).value == [2, 3]


def test_a_checkpoint_that_is_not_data_is_an_error(run: Run) -> None:
    ran = run("pyboinc_checkpoint([1, print])")
    assert "state" in ran.value["message"]


def test_a_program_that_this_python_can_not_compile_is_the_hosts_failure(run: Run) -> None:
    ran = run("this is the syntax of Python 9")
    assert ran.status == 99
    assert "Refused: Python 3" in ran.text
    assert "can't compile app_slave.py" in ran.text
    ran = run("import newer", newer="this is the syntax of Python 9")
    assert ran.status == failures.CHILD_FAILED
    assert "too old for the program" in ran.last_line


def test_a_missing_input_is_the_hosts_failure(tmp_path: Path, run: Run) -> None:
    run("pyboinc_return_output(1)")

    def child() -> int:
        prepared = slave.prepare(unpacking.unpack(str(tmp_path / "program.zip"), str(tmp_path / "unpacked"), KEY))
        return slave.run(prepared, str(tmp_path / "empty"), init_data.InitData(wu_name=JOB))

    (tmp_path / "empty").mkdir()
    assert fork(child, tmp_path / "log.txt") == failures.INIT_FAILURE
    assert "pyboinc_input" in (tmp_path / "log.txt").read_text()


def run_again(prepared: slave.Prepared, slot_dir: Path, value: object) -> Any:
    """Run another job of a program that was prepared, with its input in memory; return its output."""
    slot_dir.mkdir()
    init = init_data.InitData(wu_name=JOB)
    log = slot_dir.with_suffix(".log")
    assert fork(lambda: slave.run(prepared, str(slot_dir), init, codec.encode(value)), log) == 0, log.read_text()
    return envelope.decode((slot_dir / "pyboinc_output").read_bytes(), codec.OPAQUE).value


def test_one_prepared_program_runs_many_jobs(tmp_path: Path, run: Run) -> None:
    run("import random\npyboinc_return_output([pyboinc_get_input(), random.random()])")
    prepared = slave.prepare(unpacking.unpack(str(tmp_path / "program.zip"), str(tmp_path / "unpacked"), KEY))
    assert "app_types" not in sys.modules
    outputs = [run_again(prepared, tmp_path / f"slot{number}", number) for number in range(3)]
    assert [output[0] for output in outputs] == [0, 1, 2]
    assert len({output[1] for output in outputs}) == 3


def test_a_refused_program_is_not_prepared(tmp_path: Path, run: Run) -> None:
    run("pyboinc_return_output(1)")
    other = signature.parse(keys.PrivateKey(rsa.generate_private_key(65537, 2048)).public_json)
    with pytest.raises(program_file.Refused):
        slave.prepare(unpacking.unpack(str(tmp_path / "program.zip"), str(tmp_path / "unpacked"), other))
