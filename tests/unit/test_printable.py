"""What comes from hosts, made safe to print, log and show."""

import io
import logging
import sys
import unicodedata

import pytest

from aioboinc import BatchFailed, JobFailed, MalformedResult, RemoteError, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain: naïve 日本語 \N{IDEOGRAPHIC SPACE} é \N{NO-BREAK SPACE}🙂", None),
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("\x9b31m", r"\x9b31m"),
        ("a\u202eb\u2066c\u200fd\u061c", r"a\u202eb\u2066c\u200fd\u061c"),
        ("a\u200bb\ufeffc\u00ad", r"a\u200bb\ufeffc\xad"),
        ("one\u2028two\u2029three\x85four", r"one\u2028two\u2029three\x85four"),
        ("\ud800 \U000e0041 \ue000", r"\ud800 \U000e0041 \ue000"),
        ("a\rb\x00c\x7f\x08", r"a\rb\x00c\x7f\x08"),
        ("two\nlines\tand", r"two\nlines\tand"),
    ],
)
def test_a_line(text, shown):
    assert printable.line(text) == (text if shown is None else shown)


def test_lines_keep_their_ends_and_tabs():
    assert printable.lines("a\n\tb\r\n\x1bc") == "a\n\tb\\r\n\\x1bc"


def test_no_character_that_a_terminal_obeys_is_left():
    every = "".join(map(chr, range(sys.maxunicode + 1)))
    left = set(printable.line(every, len(every)))
    assert {unicodedata.category(character) for character in left} <= {
        *("Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd", "Nl", "No"),
        *("Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "Sm", "Sc", "Sk", "So", "Zs"),
    }


def test_long_texts_are_cut():
    assert printable.line("x" * 50, 10) == "x" * 10 + " [and 40 characters more]"
    assert len(printable.line("\x1b" * 10_000_000)) < 100_000


EVIL = "\x1b[2J\u202e\n2026-11-28 12:00:00 [CRITICAL] forged"


@pytest.mark.parametrize(
    "error",
    [
        JobFailed("job", 0, EVIL),
        RemoteError("job", 0, f"Value{EVIL}", EVIL, EVIL),
        MalformedResult(EVIL),
    ],
)
def test_errors_are_one_safe_line_as_text(error):
    assert str(error).isprintable()
    assert r"\x1b[2J\u202e\n2026" in str(error)
    assert str(BatchFailed("1 of 1 jobs failed", [error])) == "1 of 1 jobs failed (1 sub-exception)"


def test_programs_get_what_the_host_has_sent():
    error = RemoteError("job", 0, "ValueError", EVIL, f"Traceback\n{EVIL}")
    assert (error.message, error.traceback) == (EVIL, f"Traceback\n{EVIL}")
    assert error.reason == f"ValueError: {EVIL}"


def test_a_record_of_the_log_is_one_line_and_its_traceback_is_indented():
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(printable.Formatter("%(levelname)s %(message)s"))
    log = logging.Logger("of the test")
    log.addHandler(handler)
    try:
        raise ValueError(EVIL)
    except ValueError:
        log.exception("host %s", EVIL)
    first, *rest = stream.getvalue().splitlines()
    assert first == r"ERROR host \x1b[2J\u202e\n2026-11-28 12:00:00 [CRITICAL] forged"
    assert rest[0] == "    Traceback (most recent call last):"
    assert all(line.startswith("    ") and line.isprintable() for line in rest)
