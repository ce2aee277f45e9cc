"""Which frames are left of a traceback."""

import traceback

import pytest

from aioboinc import errors
from aioboinc.batch import handlers, outputs, tracebacks


class Batch:
    def taken(self, output):
        raise AssertionError("not to be called")


def deliver(handle_result):
    """Hand an output to *handle_result*, as a master does; return the names of the functions in the traceback."""
    called = handlers.Handlers(handle_result, None)
    steps = called._deliver(Batch(), outputs.Output(0, "output", None))
    try:
        with tracebacks.Shortened():
            steps.send(None)
    except Exception as error:
        return [frame.name for frame in traceback.extract_tb(error.__traceback__)]
    raise AssertionError("nothing was raised")


def deep(output):
    raise ValueError(output)


def handle_result(output):
    deep(output)


async def handle_asynchronously(output):
    deep(output)


def refused(output):
    errors.describe("x", output)  # it fails in our code, for it is called wrongly


def refused_on_purpose(output):
    from aioboinc import arguments

    arguments.flag("x", output)


def test_an_error_of_a_handler_has_its_frames():
    assert deliver(handle_result) == ["handle_result", "deep"]
    assert deliver(handle_asynchronously) == ["handle_asynchronously", "deep"]


def test_what_we_raise_on_purpose_ends_at_the_line_that_is_wrong():
    assert deliver(refused_on_purpose) == ["refused_on_purpose"]


def test_what_nobody_has_foreseen_in_our_code_is_shown_to_its_end():
    assert deliver(refused) == ["refused", "describe"]

    with pytest.raises(AttributeError) as caught, tracebacks.Shortened():
        errors.describe("x", 3)
    assert [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)][-1] == "describe"
