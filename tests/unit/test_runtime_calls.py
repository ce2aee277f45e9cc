"""The calls of a workunit of several: each as if it were alone in its process, which they share."""

from __future__ import annotations

import hashlib
import os
import signal
import sys
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from function_programs import Host, Master, host, master
from interpreters import INTERPRETERS
from test_runtime_slave import KEY, PRIVATE, TYPES, fork

from aioboinc.program import bundle
from aioboinc.slave_runtime import failures, finished, init_data, progress, slave, unpacking
from aioboinc.wire import codec, envelope, several

__all__ = ["host", "master"]


@dataclass
class Ran:
    """How a workunit ended."""

    status: int
    text: str
    """What its process wrote to stdout and stderr."""
    data: bytes | None
    """The output file."""

    @property
    def pieces(self) -> list[bytes]:
        assert self.data is not None, self.text
        return envelope.decode_calls(self.data)[3]

    @property
    def outcomes(self) -> list[tuple[bool, Any]]:
        return [envelope.decode_call(piece, codec.OPAQUE) for piece in self.pieces]

    @property
    def values(self) -> list[Any]:
        assert all(ok for ok, _ in self.outcomes), self.outcomes
        return [value for _, value in self.outcomes]

    @property
    def last_line(self) -> str:
        return self.text.splitlines()[-1]


Run = Callable[..., Ran]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Return a function that runs a slave for each of some inputs, in the slot as it was left."""

    def run_in_child(
        text: str,
        inputs: Sequence[object] = (0, 1, 2),
        *,
        limit: float = 0.0,
        count: int | None = None,
        data: bytes | None = None,
        slave_files: dict[str, str] | None = None,
    ) -> Ran:
        modules = {"app_types": TYPES, **(slave_files or {})}
        contents = {f"{name}.py": content.encode() for name, content in modules.items()}
        contents["app_slave.py"] = ("import app_types\nn = pyboinc_get_input()\n" + textwrap.dedent(text)).encode()
        sources = bundle.Sources("app_slave.py", contents, {name: f"{name}.py" for name in modules}, "")
        (tmp_path / "program.zip").write_bytes(bundle.build(sources, "http://example.org/", PRIVATE))
        slot_dir = tmp_path / "slot"
        (slot_dir / "tmp").mkdir(parents=True, exist_ok=True)
        if data is None:
            data = several.encode_inputs(limit, [codec.encode(value) for value in inputs])
        (slot_dir / "pyboinc_input").write_bytes(data)
        (slot_dir / "pyboinc_output").unlink(missing_ok=True)
        name = f"pyboinc_1_5_{len(inputs) if count is None else count}"

        def child() -> int:
            program = unpacking.unpack(str(tmp_path / "program.zip"), str(tmp_path / "unpacked"), KEY)
            return slave.run(slave.prepare(program), str(slot_dir), init_data.InitData(wu_name=name))

        status = fork(child, tmp_path / "log.txt")
        output = slot_dir / "pyboinc_output"
        return Ran(status, (tmp_path / "log.txt").read_text(), output.read_bytes() if output.exists() else None)

    return run_in_child


def test_outputs_come_in_the_order_of_the_calls(run: Run) -> None:
    ran = run("pyboinc_return_output(app_types.Point(n * n))", range(50))
    assert (ran.status, ran.text) == (0, "")
    assert [value.state["x"] for value in ran.values] == [n * n for n in range(50)]
    assert ran.data is not None
    job, input_sha256, _, pieces = envelope.decode_calls(ran.data)
    data = several.encode_inputs(0.0, [codec.encode(n) for n in range(50)])
    assert (job, input_sha256, len(pieces)) == ("pyboinc_1_5_50", hashlib.sha256(data).digest(), 50)


def test_a_piece_is_what_a_list_would_be(run: Run) -> None:
    ran = run("if n: 1 / 0\npyboinc_return_output({'a': (n, None)})", [0, 1])
    assert ran.pieces[0] == codec.encode([True, {"a": (0, None)}])
    assert ran.pieces[1] == codec.encode([False, ran.outcomes[1][1]])


def test_exceptions_between_good_calls(run: Run) -> None:
    ran = run("pyboinc_return_output(6 // (n % 3))", [1, 2, 0, 4, 3])
    assert ran.status == 0
    assert [ok for ok, _ in ran.outcomes] == [True, True, False, True, False]
    assert [value for ok, value in ran.outcomes if ok] == [6, 3, 6]
    error = ran.outcomes[2][1]
    assert (error["type"], error["traceback"]) == (
        "ZeroDivisionError",
        [["app_slave.py", 3, "<module>", "pyboinc_return_output(6 // (n % 3))"]],
    )
    assert ran.text.count("Traceback") == 2
    assert "slave_runtime" not in ran.text


def test_an_exception_is_the_same_as_alone(run: Run, tmp_path: Path) -> None:
    ran = run(
        "import inner\ninner.fail(n)", [1, 2], slave_files={"inner": "def fail(n):\n    raise ValueError(n)\n"}
    )
    assert [value["message"] for _, value in ran.outcomes] == ["1", "2"]
    assert [value["traceback"] for _, value in ran.outcomes] == [
        [["app_slave.py", 4, "<module>", "inner.fail(n)"], ["inner.py", 2, "fail", "raise ValueError(n)"]]
    ] * 2


@pytest.mark.parametrize(
    ("text", "status", "line"),
    [
        ("pass", failures.NO_OUTPUT, "slave returned no output: it ended without calling pyboinc_return_output"),
        ("raise SystemExit(3)", 3, "slave exited with status 3"),
        ("raise SystemExit('enough')", 1, "slave exited with status 1"),
        ("raise KeyboardInterrupt", 130, "slave was interrupted"),
        ("raise MemoryError", failures.OUT_OF_MEMORY, "this host can't do the job: not enough memory"),
        (
            "import not_there",
            195,
            "this host can't do the job: a package is missing or too old: No module named 'not_there'",
        ),
    ],
)
def test_what_fails_a_job_alone_fails_the_workunit(run: Run, text: str, status: int, line: str) -> None:
    ran = run(f"if n == 1:\n    {text}\nelse:\n    pyboinc_return_output(n)")
    assert (ran.status, ran.data) == (status, None)
    assert ran.last_line == f"pyboinc: pyboinc_1_6: {line}"


def test_an_early_end_after_the_output_is_none(run: Run) -> None:
    assert run("import sys\npyboinc_return_output(n)\nsys.exit()").values == [0, 1, 2]
    assert run("pyboinc_return_output(n)\nraise SystemExit(0)").values == [0, 1, 2]


def test_main_is_new_for_each_call(run: Run) -> None:
    text = """
    import sys, __main__, pyboinc
    first = [sorted(set(dir(__main__)) & {"left"}), sys.modules["__main__"].__dict__ is globals(), __name__]
    left = 1
    class Left: pass
    pyboinc.left = sys.modules["__main__"] = None
    pyboinc_return_output(first)
    """
    assert run(text).values == [[[], True, "__main__"]] * 3


def test_the_process_is_as_at_the_start(run: Run) -> None:
    text = """
    import os, sys
    found = [os.path.basename(os.getcwd()), sys.argv[:], len(sys.path), sys.getrecursionlimit(), os.environ.get("LEFT"),
             sys.stdout.name, sys.meta_path[0].__class__.__name__, os.environ["HOME"]]
    os.chdir("/")
    sys.argv += ["more"]
    sys.path.insert(0, "/elsewhere")
    sys.setrecursionlimit(1500 + n)
    if n:
        os.environ["LEFT"] = "x"
        os.environ["HOME"] = "/nowhere"
        os.environ = {"HOME": ""}
    sys.stdout = open(os.devnull, "w")
    sys.meta_path.insert(0, None)
    pyboinc_return_output(found)
    """
    first, *others = run(text, range(5)).values
    assert others == [first] * 4
    assert first[:2] == ["slot", ["app_slave.py"]]


def test_what_a_module_does_at_its_import_stays(run: Run) -> None:
    inner = """
    import os, sys, tempfile
    sys.setrecursionlimit(4321)
    sys.path.append("/at/the/end")
    sys.path.insert(0, "/at/the/beginning")
    os.environ["OF_MODULE"] = "1"
    open("cache", "w").write("kept")
    directory = tempfile.mkdtemp(dir="tmp")
    """
    text = """
    import sys, os
    import inner
    found = [sys.getrecursionlimit(), sys.path[0], sys.path[-1], os.environ["OF_MODULE"], open("cache").read()]
    found += [os.listdir(inner.directory), sorted(set(os.listdir()) & {"cache", "left"})]
    open("left", "w").close()
    sys.setrecursionlimit(2000)
    sys.path.append("/of/the/call")
    sys.path.insert(0, "/of/the/call")
    pyboinc_return_output(found)
    """
    ran = run(text, range(4), slave_files={"inner": textwrap.dedent(inner)})
    assert ran.values == [[4321, "/at/the/beginning", "/at/the/end", "1", "kept", [], ["cache"]]] * 4


def test_a_modules_state_is_that_of_the_workunit(run: Run) -> None:
    inner = "count = 0\n"
    ran = run("import inner\ninner.count += 1\npyboinc_return_output(inner.count)", slave_files={"inner": inner})
    assert ran.values == [1, 2, 3]


def test_modules_have_the_names_of_the_call_that_runs(run: Run) -> None:
    inner = (
        "import pyboinc\nfrom pyboinc import pyboinc_get_input, pyboinc_return_output\n\n"
        "def work():\n    pyboinc.pyboinc_fraction_done(0.5)\n    pyboinc_return_output(pyboinc_get_input() + 1)\n"
    )
    assert run("import inner\ninner.work()", slave_files={"inner": inner}).values == [1, 2, 3]


FUNCTION = """
import dataclasses
SCALE = {"factor": 10}
@dataclasses.dataclass
class Own:
    x: int
def f(own, n):
    if n == 1:
        raise KeyError(own.x)
    return [type(own) is Own, Own(own.x * SCALE["factor"])]
"""


@pytest.mark.parametrize("python", ["", *INTERPRETERS[1:]], ids=lambda path: path and Path(path).parts[-3])
def test_calls_of_a_function_of_the_main_program(master: Master, host: Host, python: str) -> None:
    """Its classes are `__main__`'s on both sides, and on the host others in each call."""
    program = master.program(FUNCTION)
    own = sys.modules["__main__"].Own
    found = host.call_several(program, [(own(n), n) for n in range(4)], python)
    assert [value for ok, value in found if ok] == [[True, own(10 * n)] for n in (0, 2, 3)]
    assert [(value["type"], value["message"]) for ok, value in found if not ok] == [("KeyError", "1")]
    assert found[1] == (False, host.error_alone(program, own(1), 1))


def test_files_that_were_left_are_removed(run: Run, tmp_path: Path) -> None:
    text = """
    import os, tempfile
    found = sorted(os.listdir()) + os.listdir("tmp")
    open("file", "x").close()
    os.makedirs("folder/in/folder")
    os.symlink("/", "link")
    tempfile.mkstemp()
    os.makedirs("tmp/folder/inner")
    if n == 2:
        os.chmod("folder/in", 0o500)
    if n == 1:
        __import__("shutil").rmtree("tmp")
    pyboinc_return_output(found)
    """
    ran = run(text, range(4))
    names = ["pyboinc_calls", "pyboinc_input", "pyboinc_progress", "tmp"]
    assert ran.values == [names] * 4
    assert os.path.isdir("/")


def test_a_folder_that_can_not_be_emptied_ends_the_workunit_early(run: Run) -> None:
    text = """
    import os, shutil
    os.mkdir("folder")
    def refuse(path, *args, **kwargs): raise PermissionError(path)
    shutil.rmtree = refuse
    pyboinc_return_output(n)
    """
    assert run(text).values == [0]


def test_a_stream_that_was_closed_ends_the_workunit_early(run: Run) -> None:
    assert run("import sys\npyboinc_return_output(n)\nif n == 1: sys.stdout.close()").values == [0, 1]


def test_threads_are_waited_for(run: Run) -> None:
    text = """
    import threading
    go = threading.Event()
    threading.Thread(target=lambda: (go.wait(), pyboinc_return_output(["thread", n]))).start()
    threading.Thread(target=threading.Event().wait, daemon=True).start()
    threading.Timer(0.02, go.set).start()
    """
    assert run(text).values == [["thread", n] for n in range(3)]


@pytest.mark.parametrize("kind", ["ThreadPoolExecutor", "ProcessPoolExecutor"])
def test_a_pool_that_was_left_open(run: Run, kind: str) -> None:
    text = f"""
    from concurrent.futures import {kind}
    executor = {kind}(2)
    pyboinc_return_output(list(executor.map(abs, [-n, -1])))
    """
    assert run(text).values == [[0, 1], [1, 1], [2, 1]]


def test_a_pool_returns_the_output(run: Run) -> None:
    text = """
    from concurrent.futures import ThreadPoolExecutor
    import time
    executor = ThreadPoolExecutor(1)
    executor.submit(time.sleep, 0.02)
    executor.submit(pyboinc_return_output, n)
    """
    assert run(text).values == [0, 1, 2]


def test_the_pool_of_a_module_goes_on(run: Run) -> None:
    inner = "from concurrent.futures import ThreadPoolExecutor\npool = ThreadPoolExecutor(2)\n"
    text = "import inner\npyboinc_return_output(list(inner.pool.map(abs, [-n])))"
    assert run(text, slave_files={"inner": inner}).values == [[0], [1], [2]]


def test_a_thread_that_goes_on_returns_nothing_for_the_next_call(run: Run) -> None:
    inner = """
    import threading
    import pyboinc
    go = threading.Event()
    refused = []
    threads = []
    def work(function):
        go.wait()
        try:
            function("stray")
        except RuntimeError as error:
            refused.append(str(error))
    def start(function):
        threads.append(threading.Thread(target=work, args=(function,), daemon=True))
        threads[-1].start()
    """
    text = """
    import inner, pyboinc
    if n == 0:
        inner.start(pyboinc_return_output)
        inner.start(pyboinc.pyboinc_return_output)
        inner.start(pyboinc_checkpoint)
    else:
        inner.go.set()
        for thread in inner.threads: thread.join()
    pyboinc_return_output([n, inner.refused])
    """
    ran = run(text, slave_files={"inner": textwrap.dedent(inner)})
    over = ["the call that this belongs to is over"] * 3
    assert ran.values == [[0, []], [1, over], [2, over]]


def test_exit_functions_are_called_at_the_end_of_their_call(run: Run) -> None:
    inner = "import atexit\natexit.register(print, 'module', flush=True)\nfrom atexit import register\n"
    text = """
    import atexit, inner
    atexit.register(print, "first", n)
    @inner.register
    def last():
        print("last", n)
    atexit.register(print, "not at all")
    atexit.unregister(print)
    atexit.register(print, "second", n)
    atexit.register(lambda: 1 / 0)
    pyboinc_return_output(n)
    """
    ran = run(text, [1, 2], slave_files={"inner": inner})
    assert ran.values == [1, 2]
    lines = [
        line for line in ran.text.splitlines() if line.startswith(("first", "second", "last", "module", "not"))
    ]
    assert lines == ["second 1", "last 1", "second 2", "last 2", *(["module"] if "module" in ran.text else [])]
    assert ran.text.count("ZeroDivisionError") == 2


def test_an_exit_function_returns_the_output(run: Run) -> None:
    assert run("import atexit\natexit.register(pyboinc_return_output, n)").values == [0, 1, 2]


def test_a_forked_child_that_comes_to_the_end_goes_no_further(run: Run, tmp_path: Path) -> None:
    text = f"""
    import atexit, os
    pid = os.fork()
    if not pid:
        atexit.register(lambda: open({str(tmp_path)!r} + f"/child{{n}}", "w").close())
        if n == 1: raise SystemExit(7)
        if n == 2: raise ValueError
    else:
        pyboinc_return_output(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    """
    assert run(text).values == [0, 7, 1]
    assert sorted(path.name for path in tmp_path.glob("child*")) == ["child0", "child1", "child2"]


def test_what_a_call_leaves_in_memory_is_freed(run: Run) -> None:
    text = """
    import resource
    hog = bytearray(30_000_000)
    hog[::4096] = len(hog[::4096]) * b"x"
    def circle(): return hog
    pyboinc_return_output(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    """
    sizes = run(text, range(60)).values
    assert max(sizes) < min(sizes) + 40 * 30_000  # of 60 times 30 MB


def test_a_timer_that_was_left_does_not_go_off_later(run: Run) -> None:
    text = """
    import signal, time
    if n == 1:
        time.sleep(0.05)
    signal.setitimer(signal.ITIMER_REAL, 0.02 if n == 0 else 0)
    pyboinc_return_output(n)
    """
    assert run(text, [0, 1]).values == [0, 1]


def test_the_fraction_done_is_that_of_the_whole(run: Run, tmp_path: Path) -> None:
    text = """
    import os, struct
    pyboinc_fraction_done(0.5)
    pyboinc_return_output(struct.unpack("<d", open("pyboinc_progress", "rb").read()[:8])[0])
    """
    assert run(text, range(4)).values == [(n + 0.5) / 4 for n in range(4)]
    assert progress.read(str(tmp_path / "slot" / "pyboinc_progress")) == progress.Progress(1.0, 4)


def test_the_workunit_ends_at_its_limit(run: Run) -> None:
    text = "import time\nif n == 2: time.sleep(0.3)\npyboinc_return_output(n)"
    assert run(text, range(9), limit=0.25).values == [0, 1, 2]
    assert run(text, range(9), limit=1000.0).values == list(range(9))
    assert run("pyboinc_return_output(n)", range(9), limit=1e-9).values == [0]


def test_many_bytes_of_outputs_end_it_too(run: Run) -> None:
    assert [len(value) for value in run("pyboinc_return_output(bytes(12 << 20))", range(9)).values] == [
        12 << 20
    ] * 3


KILLED = """
import os, signal
with open({log!r}, "a") as log:
    log.write(f"{{n}}\\n")
if n == 3 and not os.path.exists({once!r}):
    open({once!r}, "w").close()
    if {checkpoint}:
        pyboinc_checkpoint(["state", n])
    os.kill(os.getpid(), signal.SIGKILL)
pyboinc_return_output([n, pyboinc_restore()])
"""


@pytest.mark.parametrize("checkpoint", [False, True])
def test_it_goes_on_after_the_last_finished_call(run: Run, tmp_path: Path, checkpoint: bool) -> None:
    log, once = str(tmp_path / "calls"), str(tmp_path / "once")
    text = KILLED.format(log=log, once=once, checkpoint=checkpoint)
    ran = run(text, range(6))
    assert (ran.status, ran.data) == (-signal.SIGKILL, None)
    assert finished.label(str(tmp_path / "slot"), "pyboinc_1_5_6") == "pyboinc_1_8: "
    ran = run(text, range(6))
    assert finished.label(str(tmp_path / "slot"), "pyboinc_1_5_6") == ""
    assert ran.values == [[n, ["state", 3] if checkpoint and n == 3 else None] for n in range(6)]
    assert Path(log).read_text().split() == ["0", "1", "2", "3", "3", "4", "5"]
    # All of them are finished: nothing is left to run.
    assert run(text, range(6)).values == ran.values
    assert len(Path(log).read_text().split()) == 7


def test_files_of_the_killed_call_are_there_for_it_and_gone_for_the_next(run: Run, tmp_path: Path) -> None:
    text = f"""
    import os, signal
    found = os.path.exists("own")
    open("own", "w").close()
    if n == 1 and not os.path.exists({str(tmp_path / "once")!r}):
        open({str(tmp_path / "once")!r}, "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    pyboinc_return_output(found)
    """
    assert run(text).status == -signal.SIGKILL
    assert run(text).values == [False, True, False]


def test_a_damaged_file_counts_as_far_as_it_is_whole(run: Run, tmp_path: Path) -> None:
    log = tmp_path / "calls"
    text = f"with open({str(log)!r}, 'a') as log: log.write('x')\npyboinc_return_output(n)"
    run(text, range(20))
    path = tmp_path / "slot" / "pyboinc_calls"
    content = path.read_bytes()
    lengths = []
    damaged = [content[:cut] for cut in range(0, len(content), 29)]
    damaged += [content[:at] + b"?" + content[at + 1 :] for at in range(3, len(content), 97)]
    damaged += [content + b"?" * 50, content + content, b"?" * 1000, content[1:]]
    for whole in damaged:
        log.write_text("")
        path.write_bytes(whole)
        assert run(text, range(20)).values == list(range(20))
        lengths.append(len(log.read_text()))
        assert path.read_bytes() == content
    assert set(lengths) >= {0, 20, 5}
    for number in range(len(damaged) - 2, len(damaged)):
        assert lengths[number] == 20


def test_a_file_of_another_workunit_does_not_count(run: Run, tmp_path: Path) -> None:
    assert run("pyboinc_return_output(n)", [1, 2]).values == [1, 2]
    assert run("pyboinc_return_output(n)", [1, 3]).values == [1, 3]
    assert run("pyboinc_return_output(-n)", [1, 3]).values == [-1, -3]
    path = tmp_path / "slot" / "pyboinc_calls"
    for obstacle in (
        path.mkdir,
        lambda: path.symlink_to("/dev/full"),
        lambda: path.symlink_to(tmp_path / "other"),
    ):
        path.unlink()
        obstacle()
        assert run("pyboinc_return_output(n)", [1, 2]).values == [1, 2]
        assert path.is_file()
        assert not path.is_symlink()
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    "data",
    [
        codec.encode(5),
        codec.encode([0.0, [b"x"]]),
        codec.encode([0.0, [b"x", "y", b"z"]]),
        codec.encode([-1.0, [b"x"] * 3]),
        codec.encode([float("nan"), [b"x"] * 3]),
        codec.encode([0, [b"x"] * 3]),
        b"",
    ],
)
def test_an_input_that_is_none_fails_the_workunit(run: Run, data: bytes) -> None:
    ran = run("pyboinc_return_output(n)", data=data)
    assert ran.status == failures.INIT_FAILURE
    assert ran.last_line.startswith("pyboinc: the job can't be started: its input is malformed: ")


def test_a_malformed_input_of_a_call_is_its_outcome(run: Run) -> None:
    inputs = [codec.encode(1), b"nonsense", codec.encode(3)]
    ran = run("pyboinc_return_output(n)", data=several.encode_inputs(0.0, inputs))
    assert [ok for ok, _ in ran.outcomes] == [True, False, True]
    assert "Malformed" in ran.outcomes[1][1]["type"]


def test_no_call_is_delivered_twice(run: Run) -> None:
    ran = run("pyboinc_return_output(n)\nif n == 1: pyboinc_return_output(n)")
    assert [ok for ok, _ in ran.outcomes] == [True, False, True]
    assert "a job has one output" in ran.outcomes[1][1]["message"]
