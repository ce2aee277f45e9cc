"""Masters in the cells of a notebook, run by a real kernel."""

import re
import textwrap
from pathlib import Path

import nbclient
import nbformat
import pytest

import aioboinc

PACKAGE = Path(aioboinc.__file__).parent
MODULES = [f"/aioboinc/{path.relative_to(PACKAGE)}" for path in PACKAGE.rglob("*.py")]
"""The ends of the paths of our modules: the folder of the clone may be called as the package is."""
TIMEOUT = 300
"""Seconds until a cell counts as one that never ends."""

BEGIN = """
    from aioboinc import pyboinc_call, pyboinc_master
    outputs = []
"""
FIRST = 'vars(get_ipython()).pop("_last_traceback", None)\n'
"""Before each cell: its error is as the first one of a kernel, which IPython takes in another way."""

FAILING = {
    "a slave's name with a typo": (
        """
        async def make_calls():
            await pyboinc_call("app_slvae.py", 1)
        await pyboinc_master(make_calls, print)
        """,
        "ProgramError",
        "no such slave file",
    ),
    "a class of the notebook": (
        """
        class Input: pass
        async def make_calls():
            await pyboinc_call("app_slave.py", Input())
        await pyboinc_master(make_calls, print)
        """,
        "NotData",
        "class Input is in __main__",
    ),
    "an error in make_calls": (
        """
        async def make_calls():
            1 / 0
        await pyboinc_master(make_calls, print)
        """,
        "ZeroDivisionError",
        "1 / 0",
    ),
    "an error in a make_calls that is a plain function": (
        """
        def make_calls():
            1 / 0
        await pyboinc_master(make_calls, print)
        """,
        "ZeroDivisionError",
        "1 / 0",
    ),
    "an error in a handler": (
        """
        async def make_calls():
            await pyboinc_call("app_slave.py", 1)
        def handle_result(output):
            1 / 0
        await pyboinc_master(make_calls, handle_result, workers=1, fresh=True)
        """,
        "ZeroDivisionError",
        "1 / 0",
    ),
    "a wrong argument": (
        """
        await pyboinc_master(3, print)
        """,
        "ArgumentError",
        "make_calls=3: must be a function",
    ),
    "a group of the user's": (
        """
        async def make_calls():
            raise ExceptionGroup("mine", [ValueError("one"), KeyError("two")])
        await pyboinc_master(make_calls, print)
        """,
        "ExceptionGroup",
        "mine (2 sub-exceptions)",
    ),
    "jobs that fail": (
        """
        async def make_calls():
            await pyboinc_call("app_slave.py", "raise")
        await pyboinc_master(make_calls, print, workers=1, fresh=True)
        """,
        "BatchFailed",
        "1 of 1 jobs failed",
    ),
}
INTERRUPTED = """
    import os, signal
    async def make_calls():
        for i in range(5):
            await pyboinc_call("app_slave.py", i)
    def handle_result(output):
        outputs.append(output)
        if interrupt:
            os.kill(os.getpid(), signal.SIGINT)
    outputs.clear()
    summary = await pyboinc_master(make_calls, handle_result, workers=1, fresh=interrupt)
    print(sorted(outputs))
"""
BATCH = """
    import dataclasses, os, signal, aioboinc

    @dataclasses.dataclass
    class Point:
        x: int

    def doubled(point):
        return Point(2 * point.x)
"""
MAPPED = """
    async with aioboinc.Batch("points", workers=1, progress=True) as batch:
        found = [job.output async for job in batch.map(doubled, [Point(value) for value in range(5)], ordered=True)]
        last = batch.submit(doubled, Point(20))
        await last
        info = await last.info()
    print(found, last.output, info.state)
"""
STOPPED = """
    async with aioboinc.Batch("numbers", workers=1) as batch:
        outputs.clear()
        async for job in batch.map(abs_of, range(5)):
            outputs.append(job.output)
            if interrupt:
                first = job.output
                os.kill(os.getpid(), signal.SIGINT)
    print(sorted(outputs))
"""
ABS = """
    def abs_of(value):
        with open(COMPUTED, "a") as file:
            print(value, file=file)
        return abs(value)
"""
PLAIN = """
    for job in aioboinc.run(doubled, [Point(7)], batch_dir="plain", workers=1):
        print(job.output, (await job.info()).state)
"""


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    """The outputs of all cells, by their names: a kernel takes seconds to start."""
    folder = tmp_path_factory.mktemp("notebook")
    (folder / "app_slave.py").write_text(
        "input = pyboinc_get_input()\nif input == 'raise':\n    raise ValueError('bad')\npyboinc_return_output(input)\n"
    )
    texts = {"begin": BEGIN}
    texts |= {name: text for name, (text, _, _) in FAILING.items()}
    texts["interrupted"] = "interrupt = True\n" + textwrap.dedent(INTERRUPTED)
    texts["goes on"] = "interrupt = False\n" + textwrap.dedent(INTERRUPTED)
    texts["defined"] = f"COMPUTED = {str(folder / 'computed')!r}\n" + textwrap.dedent(BATCH) + textwrap.dedent(ABS)
    texts["mapped"] = MAPPED
    texts["a stopped batch"] = "interrupt = True\n" + textwrap.dedent(STOPPED)
    texts["the batch goes on"] = "interrupt = False\n" + textwrap.dedent(STOPPED)
    texts["computed"] = "print([int(line) for line in open(COMPUTED)].count(first))"
    texts["a plain loop"] = PLAIN
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(FIRST + textwrap.dedent(text)) for text in texts.values()]
    )
    nbclient.NotebookClient(
        notebook,
        timeout=TIMEOUT,
        kernel_name="python3",
        allow_errors=True,
        resources={"metadata": {"path": str(folder)}},
    ).execute()
    return {name: cell.outputs for name, cell in zip(texts, notebook.cells, strict=True)}


def shown(outputs):
    """What a reader sees, without colours."""
    text = "\n".join(output.get("text") or "\n".join(output.get("traceback", ())) for output in outputs)
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


@pytest.mark.parametrize("name", FAILING)
def test_an_error_ends_the_cell_and_is_shown(cells, name):
    _, kind, text = FAILING[name]
    assert re.search(rf"\b{kind}\b", shown(cells[name]))
    assert text in shown(cells[name])
    assert "unhandled errors in a TaskGroup" not in shown(cells[name])
    assert [path for path in MODULES if path in shown(cells[name])] == []


def test_an_interrupted_cell_goes_on_when_it_is_run_again(cells):
    (error,) = [output for output in cells["interrupted"] if output.output_type == "error"]
    assert error.ename in {"KeyboardInterrupt", "CancelledError"}
    assert shown(cells["goes on"]).endswith("[0, 1, 2, 3, 4]\n")


def test_a_batch_of_a_function_and_a_class_of_a_cell(cells):
    assert shown(cells["mapped"]).endswith(
        "[Point(x=0), Point(x=2), Point(x=4), Point(x=6), Point(x=8)] Point(x=40) done\n"
    )
    assert "error" not in [output.output_type for output in cells["mapped"]]


def test_the_progress_of_a_batch_as_notebooks_show_it(cells):
    views = [output.data for output in cells["mapped"] if output.output_type == "display_data"]
    assert any("application/vnd.jupyter.widget-view+json" in view for view in views)


def test_a_batch_in_a_cell_that_is_interrupted_goes_on(cells):
    (error,) = [output for output in cells["a stopped batch"] if output.output_type == "error"]
    assert error.ename in {"KeyboardInterrupt", "CancelledError"}
    assert [path for path in MODULES if path in shown(cells["a stopped batch"])] == []
    assert shown(cells["the batch goes on"]).endswith("[0, 1, 2, 3, 4]\n")
    assert shown(cells["computed"]) == "1\n"  # what was taken before is not computed again


def test_a_plain_loop_in_a_cell(cells):
    assert shown(cells["a plain loop"]) == "Point(x=14) done\n"
