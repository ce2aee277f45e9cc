"""What the public functions refuse, and in which words."""

import asyncio
import functools
import math
import re
import traceback
from decimal import Decimal
from pathlib import Path

import numpy
import pytest

from aioboinc import errors, pyboinc_call, pyboinc_master
from aioboinc.batch import calls, queue, takers
from aioboinc.store import jobs


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    (tmp_path / "app_slave.py").write_text("")
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    assert {path.name for path in tmp_path.iterdir()} == {"app_slave.py"}


async def made(folder, *arguments, **options):
    """Return the call that is made of these arguments."""
    sender, receiver = queue.open()
    called = calls.Calls(folder, sender, takers.Queue())
    idle = asyncio.Event()
    idle.set()

    async def make_calls():
        await pyboinc_call(*arguments, **options)

    with calls.current(called):
        await calls.make(make_calls, called)
    called.end()
    (call,) = await receiver.take(idle)
    return call


class Callable:
    def __call__(self):
        pass


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((made, 3), {}, "must be the name of a Python file, 'app_slave.py' for example, and made is a function"),
        ((Callable(), 3), {}, "Callable is a function or class"),
        ((None, 3), {}, "must be the name of a Python file, 'app_slave.py' for example, not None"),
        ((b"app_slave.py", 3), {}, "not b'app_slave.py'"),
        (("", 3), {}, "must be the name of a Python file, not ''"),
        (("a\0b", 3), {}, "must be the name of a Python file, not 'a\\x00b'"),
        ((".", 3), {}, "is a folder"),
        (("app_slave.py", 3), {"quorom": 2}, "there is no option quorom: did you mean quorum?"),
        (
            ("app_slave.py", 3),
            {"colour": 2},
            "there is no option colour: there are chunk, delay_bound, include,",
        ),
        (("app_slave.py", 3), {"include": "table.csv"}, "include='table.csv': must be a list"),
        (("app_slave.py", 3), {"include": Path("table.csv")}, "must be a list"),
        (("app_slave.py", 3), {"include": 3}, "include=3: must be a list"),
        (("app_slave.py", 3), {"include": None}, "include=None: must be a list"),
        (("app_slave.py", 3), {"include": [3]}, "must be a list of names of files and folders"),
        (("app_slave.py", 3), {"include": [["table.csv"]]}, "not ['table.csv']"),
        (("app_slave.py", 3), {"include": [""]}, "no file has the name ''"),
        (("app_slave.py", 3), {"include": (name for name in ["x"])}, "must be a list"),
        (("app_slave.py", 3), {"include": ["../x"]}, "name files and folders inside"),
        (("app_slave.py", 3), {"include": ["nope.csv"]}, "nope.csv"),
    ],
)
async def test_calls_that_are_refused(folder, arguments, options, message):
    with pytest.raises(errors.UsageError, match=re.escape(message)) as caught:
        await made(folder, *arguments, **options)
    assert caught.value.at_call
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    assert traceback.extract_tb(caught.value.__traceback__)[-1].line == "await pyboinc_call(*arguments, **options)"


@pytest.mark.parametrize("value", ["two", True, 2.0, 0, -1, 1001, [2], math.nan, 10**30, 1j, numpy.True_])
@pytest.mark.parametrize("name", ["quorum", "target_nresults", "max_error_results", "max_total_results"])
async def test_counts_that_are_refused(folder, name, value):
    with pytest.raises(
        errors.UsageError, match=rf"pyboinc_call: {name}=.*: must be a whole number from 1 to 1000"
    ):
        await made(folder, "app_slave.py", 1, **{name: value})


@pytest.mark.parametrize(
    "value", ["1 GB", True, 0, -1, math.nan, math.inf, -math.inf, 10**400, 1j, None, Decimal(1)]
)
@pytest.mark.parametrize("name", ["rsc_fpops_est", "rsc_fpops_bound", "rsc_memory_bound", "rsc_disk_bound"])
async def test_amounts_that_are_refused(folder, name, value):
    with pytest.raises(errors.UsageError, match=rf"pyboinc_call: {name}=.*: must be a positive number, in "):
        await made(folder, "app_slave.py", 1, **{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("priority", value) for value in ("high", 1.5, 10**12, True, None)),
        *(("delay_bound", value) for value in ("1 day", 0, -5, math.nan, math.inf, 10**9, True, 1.5, None)),
    ],
)
async def test_priorities_and_times_that_are_refused(folder, name, value):
    with pytest.raises(errors.UsageError, match=f"pyboinc_call: {name}=.*: must be a whole number from"):
        await made(folder, "app_slave.py", 1, **{name: value})


async def test_what_is_equal_to_a_right_value_is_refused_after_it(folder):
    called = calls.Calls(folder, queue.open()[0], takers.Queue())
    called.add(called.taker, "app_slave.py", 1, (), quorum=1)
    with pytest.raises(errors.ArgumentError, match="quorum=True"):
        called.add(called.taker, "app_slave.py", 1, (), quorum=True)


async def test_numbers_of_numpy_and_whole_floats_are_numbers(folder):
    call = await made(
        folder,
        "app_slave.py",
        1,
        quorum=numpy.int64(2),
        priority=numpy.int8(-3),
        delay_bound=1e6,
        rsc_memory_bound=numpy.float32(2.0),
        rsc_disk_bound=10**9,
    )
    options = call.kind.options
    assert [options.quorum, options.priority, options.delay_bound] == [2, -3, 1_000_000]
    assert {type(options.quorum), type(options.priority), type(options.delay_bound)} == {int}
    assert (options.rsc_memory_bound, options.rsc_disk_bound) == (2.0, 1e9)
    assert type(options.rsc_memory_bound) is float


def test_every_option_is_checked():
    for name in jobs.Options.__slots__:
        with pytest.raises(errors.ArgumentError, match=name):
            jobs.Options(**{name: "text"})


def test_a_call_outside_of_a_batch():
    with pytest.raises(errors.CallOutsideBatch, match="pyboinc_call outside of pyboinc_master") as caught:
        pyboinc_call("app_slave.py", 1)
    assert isinstance(caught.value, RuntimeError)


async def make_calls():
    raise AssertionError("not to be called")


def takes_nothing():
    pass


def takes_two(one, two):
    pass


def takes_three(one, two, three):
    pass


def generates(output):
    yield output


async def generates_asynchronously(output):
    yield output


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((3, print), {}, "make_calls=3: must be a function"),
        ((None, print), {}, "make_calls=None: must be a function"),
        ((generates(1), print), {}, "write generates, not generates()"),
        ((takes_two, print), {}, "takes_two(one, two) can't be: missing a required argument: 'one'"),
        ((make_calls, None), {}, "handle_result=None: must be a function"),
        ((make_calls, takes_nothing), {}, "takes_nothing() can't be: too many positional arguments"),
        (
            (make_calls, takes_three),
            {},
            "it is called with two arguments, the output and the job, and takes_three(one, two, three) can't be",
        ),
        ((make_calls, generates), {}, "generates has a yield in it"),
        ((make_calls, generates_asynchronously), {}, "has a yield in it"),
        ((make_calls, print), {"handle_error": 3}, "handle_error=3: must be a function"),
        ((make_calls, print), {"handle_error": takes_nothing}, "one argument, the error"),
        ((make_calls, print), {"progress": 3}, "progress=3: must be a function"),
        ((make_calls, print), {"progress": takes_nothing}, "progress: it is called with one argument"),
        *(
            ((make_calls, print), {"workers": value}, "must be a whole number of 1 or more")
            for value in ("3", 0, -1, True, 2.5, math.nan)
        ),
        *(((make_calls, print), {name: 3}, f"{name}=3: must be a path") for name in ("batch_dir", "project")),
        *(((make_calls, print), {name: b"x"}, "must be a path") for name in ("batch_dir", "project")),
        *(
            ((make_calls, print), {name: ""}, f"{name}='': no path is like that")
            for name in ("batch_dir", "project")
        ),
        ((make_calls, print), {"batch_dir": "a\0b"}, "no path is like that"),
        *(
            ((make_calls, print), {name: value}, f"{name}={value!r}: must be True or False")
            for name in ("fresh", "replay", "keep_results")
            for value in ("no", 0, None)
        ),
        *(
            ((make_calls, print), {"inline_inputs": value}, "must be a whole number from 0 to 4096, in bytes")
            for value in ("1", True, -1, 4097, 1.0)
        ),
        *(
            (
                (make_calls, print),
                {"homogeneous_redundancy": value},
                "must be 0 (any hosts), 1 (fine) or 2 (coarse)",
            )
            for value in ([1], True, 3, "1")
        ),
    ],
)
async def test_masters_that_are_refused(arguments, options, message):
    with pytest.raises(errors.UsageError, match=re.escape(message)) as caught:
        await pyboinc_master(*arguments, **options)
    assert str(caught.value).startswith("pyboinc_master: ")
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    # The caller's line is the last.
    assert [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)] == [
        "test_masters_that_are_refused"
    ]


async def test_a_coroutine_in_place_of_its_function():
    """It is closed: that it was never awaited is no second complaint."""
    with pytest.raises(errors.ArgumentError, match=re.escape("write make_calls, not make_calls()")):
        await pyboinc_master(make_calls(), print)


@pytest.mark.parametrize(
    "handler",
    [
        print,
        [].append,
        takes_two,
        functools.partial(takes_two, 1),
        lambda *all: None,
        lambda output, more=3: None,
        lambda output, job=None: None,
    ],
)
async def test_handlers_of_all_kinds_are_taken(handler):
    with pytest.raises(errors.NoCalls):
        await pyboinc_master(takes_nothing, handler, handle_error=handler)


@pytest.mark.parametrize("kind", ["coroutine", "plain", "generator"])
async def test_an_error_of_make_calls_is_alone(kind):
    def fail():
        1 / 0  # noqa: B018

    async def coroutine():
        await asyncio.sleep(0)
        fail()

    def generator():
        fail()
        yield

    functions = {"coroutine": coroutine, "plain": fail, "generator": generator}
    with pytest.raises(ZeroDivisionError) as caught:
        await pyboinc_master(functions[kind], print)
    assert not hasattr(caught.value, "__notes__")
    assert caught.value.__context__ is None
    names = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert names[0] == "test_an_error_of_make_calls_is_alone"
    assert set(names[1:]) <= {"coroutine", "generator", "fail"}
    assert names[-1] == "fail"
