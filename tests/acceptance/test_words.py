"""What people read who use `aioboinc.Batch` and `aioboinc.run` in another way than they are meant: what to write instead.

Nothing of ours is between the lines of their own program.
"""

import asyncio
import os
import pathlib
import re
import signal
import subprocess
import sys
import textwrap
import traceback

import pytest
from patience import PATIENCE
from word_functions import asynchronous, double, fails, leaves

import aioboinc
from aioboinc import errors

PACKAGE = os.path.join(os.path.dirname(aioboinc.__file__), "")


@pytest.fixture(autouse=True)
def first_folder(monkeypatch):
    """Be what a program's own folder is: the first entry of ``sys.path``, whatever pytest has put before it."""
    monkeypatch.syspath_prepend(os.path.dirname(__file__))


@pytest.fixture(autouse=True)
async def patience():
    async with asyncio.timeout(PATIENCE):
        yield


@pytest.fixture
def batch(tmp_path):
    return aioboinc.Batch(tmp_path / "batch", workers=1)


def ours(error):
    """Return the frames of ours in the traceback of *error*."""
    return [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename.startswith(PACKAGE)]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"keep_result": True}, "there is no option keep_result: did you mean keep_results?"),
        ({"worker": 2}, "there is no option worker: did you mean workers?"),
        ({"quorom": 2}, "there is no option quorom: did you mean quorum?"),
        ({"versoin": "1"}, "there is no option versoin: did you mean version?"),
        ({"colour": 1}, "there is no option colour: there are batch_dir, chunk, delay_bound, fresh"),
        ({"quorum": "two"}, "quorum='two': must be a whole number"),
        ({"include": "table.csv"}, "include='table.csv': must be a list"),
        ({"workers": 0}, "workers=0: must be a whole number"),
    ],
)
def test_options_are_of_what_was_called(options, text, tmp_path):
    for who, call in (
        ("Batch", lambda: aioboinc.Batch(tmp_path, **options)),
        ("run", lambda: aioboinc.run(double, [1], batch_dir=tmp_path, **options)),
    ):
        with pytest.raises(errors.UsageError) as caught:
            call()
        assert str(caught.value).startswith(f"{who}: {text}")
        assert ours(caught.value) == []
    assert not list(tmp_path.iterdir())


def test_options_of_some_calls(batch):
    with pytest.raises(
        errors.ArgumentError, match=r"^Batch\.options: there is no option quorom: did you mean quorum\?"
    ) as e:
        batch.options(quorom=2)
    assert ours(e.value) == []


CALLS = {
    "a call in place of a function": (
        lambda batch: batch.submit(double(1)),
        r"^Batch\.submit: .* and 2 is neither: pass the",
    ),
    "a coroutine in place of a function": (
        lambda batch: batch.submit(asynchronous(1)),
        r"^Batch\.submit: .* is neither",
    ),
    "a call in place of a function to map": (
        lambda batch: batch.map(double(1), [1]),
        r"^Batch\.map: .* is neither",
    ),
    "nothing to go through": (lambda batch: batch.map(double), r"^Batch\.map: it takes something to go through"),
    "an option of the call": (
        lambda batch: batch.submit("slave.py", 1, quorum=2),
        r"no keywords; options of a call are given by batch\.options\(quorum=\.\.\.\)",
    ),
    "an input that is not data": (
        lambda batch: batch.submit(double, pathlib.Path("x")),
        "^x: class PosixPath is not data: its module pathlib is not one of the program's own; .* send what is in the object",
    ),
    "arguments that do not fit": (
        lambda batch: batch.submit(double, 1, 2),
        r"^double\(x\): too many positional arguments",
    ),
    "an output that is not there yet": (
        lambda batch: batch.submit(double, 1).output,
        r"^the job is not done: write `await job`",
    ),
    "a plain loop": (lambda batch: list(batch.map(double, [1])), "write `async for job in"),
}


@pytest.mark.parametrize("name", CALLS)
async def test_calls_that_are_wrong(batch, name):
    call, text = CALLS[name]
    async with batch as entered:
        with pytest.raises(errors.UsageError, match=text) as caught:
            call(entered)
    assert ours(caught.value) == []


async def test_things_that_are_not_awaited(batch):
    with pytest.raises(TypeError, match="write `async with Batch"), batch:
        pass
    with pytest.raises(TypeError, match="write `async with Batch"):
        await batch
    async with batch as entered:
        with pytest.raises(TypeError, match=r"`\[job async for job in batch\.map\(\.\.\.\)\]`"):
            await entered.map(double, [1])


async def test_an_error_in_the_block_is_as_if_we_were_not_there(tmp_path):
    async def raises():
        async with aioboinc.Batch(tmp_path / "one", workers=1) as batch:
            assert await batch.submit(double, 1) == 2
            raise LookupError("mine")

    async def awaits():
        async with aioboinc.Batch(tmp_path / "two", workers=1) as batch:
            await batch.submit(fails, 1)

    async def iterates():
        async with aioboinc.Batch(tmp_path / "three", workers=1) as batch:
            async for job in batch.map(fails, [1]):
                print(job.output)

    def values():
        yield 1 / 0

    async def goes_through():
        async with aioboinc.Batch(tmp_path / "four", workers=1) as batch:
            async for _ in batch.map(double, values()):
                pass

    for work, kind, last in (
        (raises, LookupError, "raises"),
        (awaits, errors.RemoteError, "awaits"),
        (iterates, errors.RemoteError, "iterates"),
        (goes_through, ZeroDivisionError, "values"),
    ):
        with pytest.raises(kind) as caught:
            await work()
        frames = traceback.extract_tb(caught.value.__traceback__)
        assert ours(caught.value) == []
        assert frames[-1].name == last


async def test_what_a_function_has_raised_names_its_line(batch):
    line = fails.__code__.co_firstlineno + 1
    async with batch as entered:
        job = entered.submit(fails, 1)
        for _ in range(2):
            with pytest.raises(errors.RemoteError) as caught:
                await job
            assert str(caught.value).endswith(
                f"ZeroDivisionError: division by zero (in fails, word_functions.py:{line})"
            )
            assert len(traceback.extract_tb(caught.value.__traceback__)) == 1


async def test_a_function_that_exits_is_said_so_once(batch):
    async with batch as entered:
        with pytest.raises(errors.JobFailed) as caught:
            await entered.options(max_error_results=1, max_total_results=1).submit(leaves, 1)
    assert str(caught.value).count("status 3") == 1


PROGRAMS = {
    "Batch": """
        async def main():
            async with aioboinc.Batch("batch", workers=2) as batch:
                async for job in batch.map(slow, range(1000)):
                    print(job.output, flush=True)
        asyncio.run(main())
        """,
    "run": """
        for job in aioboinc.run(slow, range(1000), batch_dir="batch", workers=2):
            print(job.output, flush=True)
        """,
}
SLOW = """
import asyncio, aioboinc
def slow(x):
    import time
    time.sleep(0.1)
    return x
"""


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("face", PROGRAMS)
def test_a_program_that_is_interrupted(face, again, tmp_path):
    """One line says how far it was, and there is nothing of ours in the traceback; the same program goes on."""
    program = tmp_path / "program.py"
    program.write_text(SLOW + textwrap.dedent(PROGRAMS[face]))
    with subprocess.Popen(
        [sys.executable, str(program)], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        if again:
            process.send_signal(signal.SIGINT)
        _, complaints = process.communicate(timeout=PATIENCE)
    assert process.returncode == -signal.SIGINT
    said = re.search(r"^stopped: (\d+) of the \d+ jobs called so far are done", complaints, re.MULTILINE)
    assert said or again, complaints  # a second ^C may come before the line
    if said:
        assert int(said[1]) >= 1
        assert "the same program goes on from there" in complaints
    assert PACKAGE not in complaints
    assert "Exception ignored" not in complaints
