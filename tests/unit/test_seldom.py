"""Log lines: one a minute of each kind."""

import logging

import pytest

from aioboinc.aio import seldom


def test_lines(caplog: pytest.LogCaptureFixture) -> None:
    now = 0.0
    say = seldom.Seldom(logging.getLogger("test"), 60.0, clock=lambda: now)
    for number in range(5):
        say(logging.WARNING, "it fails: %d", number)
    say(logging.WARNING, "something else")
    now = 59.9
    say(logging.WARNING, "it fails: %d", 5)
    now = 60.0
    say(logging.WARNING, "it fails: %d", 6)
    now = 120.0
    say(logging.WARNING, "it fails: %d", 7)
    assert [record.getMessage() for record in caplog.records] == [
        "it fails: 0",
        "something else",
        "it fails: 6 (and 5 more like it)",
        "it fails: 7",
    ]
