"""When outputs agree."""

import datetime
import decimal
import hashlib
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aioboinc import errors
from aioboinc.passes import comparators
from aioboinc.wire import codec, envelope

numpy = pytest.importorskip("numpy")

JOB = "pyboinc_1_0"
SHA = hashlib.sha256(b"").digest()


class Point:
    def __init__(self, x):
        self.x = x


REGISTRY = codec.Registry({(Point.__module__, "Point"): Point})


def prepared(comparator, value):
    return comparator.prepare(envelope.encode_output(JOB, SHA, SHA, value, REGISTRY))


def failure(comparator, exception, tmp_path):
    return comparator.prepare(envelope.encode_error(JOB, SHA, SHA, exception, tmp_path))


def agree(comparator, one, other):
    one, other = prepared(comparator, one), prepared(comparator, other)
    assert comparator.agree(one, other) == comparator.agree(other, one)
    return comparator.agree(one, other)


def test_bitwise():
    assert agree(comparators.BITWISE, [1.0, "x"], [1.0, "x"])
    assert not agree(comparators.BITWISE, 1.0, 1.0 + 1e-15)
    assert not agree(comparators.BITWISE, 1, True)


NEAR = comparators.Numeric(relative=1e-6)
UP = 1.0000001


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1.0, UP),
        (0.0, -0.0),
        (math.inf, math.inf),
        (math.nan, math.nan),
        (1 + 1j, UP + 1j),
        ([1.0, {"a": (2.0, None)}], [UP, {"a": (2.0 * UP, None)}]),
        ({"a": 1.0, "b": 2}, {"b": 2, "a": UP}),
        (Point([1.0]), Point([UP])),
        ({1, 2}, {2, 1}),
        (decimal.Decimal("NaN"), decimal.Decimal("NaN")),
        (numpy.float64(1), numpy.float64(UP)),
        (numpy.float32(1), numpy.float32(UP)),
        (numpy.complex128(1j), numpy.complex128(1j * UP)),
        (numpy.array([[1.0, math.nan]]), numpy.array([[UP, math.nan]])),
        (numpy.array([1, 2], "f4"), numpy.array([UP, 2], "f4")),
        (numpy.array([1j]), numpy.array([UP * 1j])),
        (numpy.array([1, 2]), numpy.array([1, 2])),
        (numpy.array(["a"]), numpy.array(["a"])),
    ],
)
def test_close(one, other):
    assert agree(NEAR, one, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1.0, 1.00001),
        (1.0, 1),
        (1, 2),
        (True, 1),
        (math.inf, -math.inf),
        (math.inf, 1e308),
        (math.nan, 1.0),
        (1j, 1.0001j),
        ([1.0], [1.0, 1.0]),
        ([1.0], (1.0,)),
        ({"a": 1.0}, {"b": 1.0}),
        ({1.0: 0}, {UP: 0}),
        ({1.0}, {UP}),
        ("a", "b"),
        (datetime.date(2000, 1, 1), datetime.date(2000, 1, 2)),
        (Point(1.0), Point(2.0)),
        (Point(1.0), {"x": 1.0}),
        (numpy.float64(1), numpy.float32(1)),
        (numpy.array([1.0]), numpy.array([[1.0]])),
        (numpy.array([1.0]), numpy.array([1.1])),
        (numpy.array([1.0]), numpy.array([1.0], "f4")),
        (numpy.array([1, 2]), numpy.array([1, 3])),
        (numpy.datetime64("2000-01-01"), numpy.datetime64("2000-01-02")),
    ],
)
def test_different(one, other):
    assert not agree(NEAR, one, other)


def test_absolute():
    assert agree(comparators.Numeric(absolute=0.5), 1.0, 1.5)
    assert not agree(comparators.Numeric(absolute=0.5), 1.0, 1.6)


@pytest.mark.parametrize(
    ("one", "steps", "kind"),
    [
        (1.0, 4, float),
        (0.0, 3, float),
        (-1e300, 2, float),
        (1.0, 4, numpy.float32),
        (1.0, 1, numpy.float16),
    ],
)
def test_ulps(one, steps, kind):
    other = kind(one)
    for _ in range(steps):
        other = math.nextafter(other, math.inf) if kind is float else numpy.nextafter(other, kind(numpy.inf))
    assert agree(comparators.Numeric(ulps=steps), kind(one), other)
    assert not agree(comparators.Numeric(ulps=steps - 1), kind(one), other)


def test_ulps_across_zero():
    tiny = math.ulp(0.0)
    assert agree(comparators.Numeric(ulps=2), -tiny, tiny)
    assert not agree(comparators.Numeric(ulps=1), -tiny, tiny)


@settings(derandomize=True)
@given(st.floats(), st.floats())
def test_symmetric_and_reflexive(one, other):
    for comparator in (NEAR, comparators.Numeric(ulps=3), comparators.Numeric(absolute=1.0)):
        assert comparator.agree(one, one)
        assert comparator.agree(one, other) == comparator.agree(other, one)


def test_exceptions_agree_if_they_are_the_same(tmp_path):
    for comparator in (comparators.BITWISE, NEAR, comparators.Custom(lambda one, other: True)):
        one = failure(comparator, ValueError("a"), tmp_path)
        assert comparator.agree(one, failure(comparator, ValueError("a"), tmp_path))
        assert not comparator.agree(one, failure(comparator, ValueError("b"), tmp_path))
        assert not comparator.agree(one, prepared(comparator, 1))
        assert not comparator.agree(prepared(comparator, 1), one)


def test_hostile_objects_do_not_break_the_comparison():
    for module, name, state in [("numpy", "float64x", {}), ("numpy", "x", {}), ("a", "b", ())]:
        one = codec.Instance(module, name, state)
        assert NEAR.agree(one, codec.Instance(module, name, state))
        assert not NEAR.agree(one, codec.Instance(module, name, [1]))


def test_parse():
    assert comparators.parse("bitwise") is comparators.BITWISE
    assert comparators.parse("numeric:absolute=1e-9,relative=0.5,ulps=4") == comparators.Numeric(1e-9, 0.5, 4)
    assert comparators.parse("numeric:ulps=4") == comparators.Numeric(ulps=4)
    custom = comparators.parse("operator:eq")
    assert agree(custom, [1], [1])
    assert not agree(custom, [1], [2])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "numeric",
        "numeric:",
        "numeric:absolute",
        "numeric:absolute=x",
        "numeric:absolute=-1",
        "numeric:absolute=nan",
        "numeric:ulps=1.5",
        "numeric:other=1",
        "fuzzy",
        "no_such_module:f",
        "math:no_such_function",
        "math:pi",
        ":x",
        "math:",
    ],
)
def test_parse_errors(text):
    with pytest.raises(errors.UsageError, match="comparator"):
        comparators.parse(text)


def calls(*values):
    """Return the output of several calls; an exception is one's outcome."""
    outcomes = [
        envelope.Outcome.of_error(value, "/nowhere")
        if isinstance(value, Exception)
        else envelope.Outcome.of_output(value, REGISTRY)
        for value in values
    ]
    return envelope.encode_calls("pyboinc_1_0_4", SHA, SHA, list(map(envelope.encode_call, outcomes)))


BY_CALL = {
    "bitwise": comparators.BITWISE,
    "numeric": comparators.Numeric(relative=1e-6),
    "custom": comparators.Custom(lambda one, other: abs(one - other) < 1e-5),
}


@pytest.mark.parametrize("kind", BY_CALL)
@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ([1.0, 2.0, 3.0], [1.0, 2.0, 3.0], True),
        ([1.0, 2.0, 3.0], [1.0, 2.5, 3.0], False),
        ([1.0, 2.0, 3.0], [1.0, 2.0], True),
        ([1.0, 2.0, 3.0], [1.0], True),
        ([1.0, 2.0, 3.0], [4.0], False),
        ([1.0, ValueError("a")], [1.0, ValueError("a"), 5.0], True),
        ([1.0, ValueError("a")], [1.0, ValueError("b")], False),
        ([1.0, ValueError("a")], [1.0, 2.0], False),
        ([1.0, UP], [1.0, 1.0], None),
    ],
)
def test_several_calls_agree_as_far_as_both_have_got(kind, one, other, expected):
    comparator = BY_CALL[kind]
    kept = comparator.prepare(calls(*one)), comparator.prepare(calls(*other))
    expected = kind != "bitwise" if expected is None else expected
    assert comparator.agree(*kept) is expected
    assert comparator.agree(*reversed(kept)) is expected


@pytest.mark.parametrize("kind", BY_CALL)
def test_several_calls_and_one_never_agree(kind):
    comparator = BY_CALL[kind]
    several, one = comparator.prepare(calls(1.0)), failure(comparator, ValueError("a"), "/nowhere")
    assert not comparator.agree(several, one)
    assert not comparator.agree(one, several)
