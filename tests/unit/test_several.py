"""Names, inputs and outputs of workunits of several calls, hostile ones too."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aioboinc.wire import codec, documents, envelope, names, several

JOB = "pyboinc_1_10_3"
INPUT, PROGRAM = hashlib.sha256(b"input").digest(), hashlib.sha256(b"program").digest()
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(max_size=300),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("name", "calls"),
    [
        ("pyboinc_1_0", (1, 0, 1)),
        ("pyboinc_12_345", (12, 345, 1)),
        ("pyboinc_12_345_2", (12, 345, 2)),
        ("pyboinc_1_0_2048", (1, 0, 2048)),
    ],
)
def test_names(name: str, calls: tuple[int, int, int]) -> None:
    assert documents.calls_of(name) == calls
    assert documents.Calls(*calls).name == name
    assert names.count_of(name) == calls[2]
    assert documents.Calls(*calls).job(1) == f"pyboinc_{calls[0]}_{calls[1] + 1}"


@pytest.mark.parametrize(
    "name",
    [
        *("", "pyboinc", "pyboinc_1", "pyboinc_1_2_", "pyboinc_1_2_0", "pyboinc_1_2_1", "pyboinc_1_2_02"),
        *("pyboinc_01_2", "pyboinc_1_02", "pyboinc_1_2_3_4", "pyboinc_1_2_-3", "pyboinc_1_2_3\n", " pyboinc_1_2"),
        *("pyboinc_1_2_٣", "pyboinc_1_2_" + "9" * 10, "pyboinc_1_2_3.error", "other_1_2_3"),
    ],
)
def test_names_that_are_none(name: str) -> None:
    with pytest.raises(ValueError, match="not the name of a workunit"):
        documents.calls_of(name)
    assert names.count_of(name) == 1


def test_the_input_of_several_is_found_in_the_workunits_document() -> None:
    program = documents.File(documents.program_name(PROGRAM), md5="a" * 32, nbytes=7)
    form = documents.workunit_form("http://a.b/", program, "", inline=False)
    values = {"file": f"{JOB}_{INPUT.hex()}", "place": "", "md5": "b" * 32, "nbytes": "9"}
    document = "".join(values[part] if place % 2 else part for place, part in enumerate(form))
    assert documents.identity(JOB, document) == documents.Identity(JOB, INPUT, PROGRAM)


@settings(derandomize=True)
@given(st.floats(0, 1e9), st.lists(st.binary(max_size=600), min_size=1))
def test_inputs_arrive(limit: float, inputs: list[bytes]) -> None:
    assert several.decode_inputs(several.encode_inputs(limit, inputs)) == (limit, inputs)


@settings(derandomize=True)
@given(st.data())
def test_inputs_that_were_changed(data: st.DataObject) -> None:
    content = several.encode_inputs(1.5, [b"one", b"x" * 300])
    changed = data.draw(mutations(content))
    try:
        limit, inputs = several.decode_inputs(changed)
    except codec.Malformed:
        return
    assert several.encode_inputs(limit, inputs) == changed


def mutations(content: bytes) -> st.SearchStrategy[bytes]:
    """Return what makes other bytes of *content*: cut, with one changed, removed or put in."""
    places = st.integers(0, len(content) - 1)
    byte = st.binary(min_size=1, max_size=1)
    return st.one_of(
        places.map(lambda place: content[:place]),
        st.tuples(places, byte).map(lambda change: content[: change[0]] + change[1] + content[change[0] + 1 :]),
        st.tuples(places, byte).map(lambda change: content[: change[0]] + change[1] + content[change[0] :]),
        places.map(lambda place: content[:place] + content[place + 1 :]),
        st.binary(max_size=40).map(lambda tail: content + tail),
    )


def ok(value: Any) -> bytes:
    return envelope.encode_call(envelope.Outcome.of_output(value, None))


def failed(text: str = "text") -> bytes:
    return envelope.encode_call(envelope.Outcome.of_error(ValueError(text), Path("/nowhere")))


def enveloped(*pieces: bytes, job: str = JOB) -> bytes:
    return envelope.encode_calls(job, INPUT, PROGRAM, pieces)


@settings(derandomize=True)
@given(st.lists(VALUES, min_size=1, max_size=3))
def test_outputs_arrive(values: list[Any]) -> None:
    pieces = [ok(value) for value in values]
    assert pieces == [codec.encode([True, value]) for value in values]
    data = enveloped(*pieces)
    assert envelope.decode_calls(data) == (JOB, INPUT, PROGRAM, pieces)
    assert [envelope.decode_call(piece, None) for piece in pieces] == [(True, value) for value in values]
    assert envelope.check(data, JOB, INPUT, PROGRAM) == len(values)
    assert envelope.is_calls(data)
    assert not envelope.is_ok(data)


def test_the_form_is_that_of_a_pickle() -> None:
    import pickle

    found = pickle.loads(enveloped(ok([1]), failed()))
    assert list(found) == ["pyboinc", "job", "input", "program", "status", "value"]
    assert (found["job"], found["status"]) == (JOB, "calls")
    assert pickle.loads(found["value"][0]) == [True, [1]]
    assert pickle.loads(found["value"][1])[0] is False
    assert pickle.loads(found["value"][1])[1]["type"] == "ValueError"


def test_an_error_is_that_of_an_envelope() -> None:
    is_ok, error = envelope.decode_call(failed(), None)
    alone = envelope.decode(
        envelope.encode_error("pyboinc_1_2", INPUT, PROGRAM, ValueError("text"), "/nowhere"), None
    )
    assert (is_ok, error) == (False, alone.value)
    assert (envelope.is_ok_call(failed()), envelope.is_ok_call(ok(1))) == (False, True)


def raw(body: bytes, job: str = JOB) -> bytes:
    return envelope.header(job, INPUT, PROGRAM) + b"\x8c\x05calls\x8c\x05value" + body + b"u."


MALFORMED = {
    "no calls": raw(b"](e"),
    "too many calls": enveloped(ok(1), ok(2), ok(3), ok(4)),
    "an output of one call": envelope.encode_output(JOB, INPUT, PROGRAM, [1], None),
    "an error of one call": envelope.encode_error(JOB, INPUT, PROGRAM, ValueError(), "/"),
    "a piece that is a string": raw(b"](\x8c\x01xe"),
    "no list": raw(b"K\x01"),
    "a tuple": raw(b"(C\x01xt"),
    "a dict": raw(b"}(u"),
    "a set": raw(b"\x8f(\x90"),
    "an object": raw(b"ca\nB\n)\x81}(ub"),
    "an array": raw(b"cnumpy\nndarray\n(K\x01t\x8c\x03<i8C\x08\0\0\0\0\0\0\0\0\x87R"),
    "lists in each other": raw(b"](" * 2000 + b"e" * 2000),
    "an error with too much in it": enveloped(codec.encode([False, {"type": "x" * 10}])),
    "an error that is none": enveloped(codec.encode([False, 5])),
    "neither": enveloped(codec.encode([1, 5])),
    "a piece of three": enveloped(codec.encode([True, 5, 6])),
    "a piece without a value": enveloped(codec.encode([True])),
    "a piece that is no pickle": enveloped(b"nonsense"),
    "an empty piece": enveloped(b""),
    "deep nesting in a piece": enveloped(b"\x80\x04](\x88" + b"](" * 5000 + b"e" * 5000 + b"e."),
    "a length that lies": raw(b"](B\xff\xff\xff\x7fxe"),
    "a length in a piece that lies": enveloped(b"\x80\x04](\x88B\xff\xff\xff\x7fxe."),
    "another pickle": enveloped(b"cos\nsystem\n(S'true'\ntR."),
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed(data: bytes) -> None:
    with pytest.raises(codec.Malformed):
        envelope.check(data, JOB, INPUT, PROGRAM)


@pytest.mark.parametrize("job", ["pyboinc_1_10", "pyboinc_1_10_1", "job"])
def test_a_workunit_of_one_call_has_no_list_of_calls(job: str) -> None:
    data = enveloped(ok(1), job=job)
    with pytest.raises(codec.Malformed, match="not the output of one call"):
        envelope.decode(data, None)
    with pytest.raises(codec.Malformed, match="not the output of several calls"):
        envelope.decode_calls(envelope.encode_output(job, INPUT, PROGRAM, 1, None))


def test_a_bad_piece_is_named_by_a_validator_and_fails_its_own_call_only() -> None:
    data = enveloped(ok(1), b"\x80\x04](\x88?e.", ok(3))
    with pytest.raises(codec.Malformed, match="call 1: byte 6: opcode 0x3f"):
        envelope.check(data, JOB, INPUT, PROGRAM)
    pieces = envelope.decode_calls(data)[3]
    assert envelope.decode_call(pieces[2], None) == (True, 3)


@settings(derandomize=True, max_examples=400)
@given(st.data())
def test_outputs_that_were_changed(data: st.DataObject) -> None:
    content = enveloped(ok([1.5, "x"]), failed(), ok(b"y" * 300))
    changed = data.draw(mutations(content))
    try:
        count = envelope.check_content(changed)
    except codec.Malformed:
        return
    job, input_sha256, program_sha256, pieces = envelope.decode_calls(changed)
    assert count == len(pieces)
    assert envelope.encode_calls(job, input_sha256, program_sha256, pieces) == changed


@settings(derandomize=True)
@given(st.binary(max_size=200))
def test_any_bytes_are_a_call_or_malformed(piece: bytes) -> None:
    for data in (piece, b"\x80\x04](\x88" + piece, b"\x80\x04](\x89" + piece + b"e."):
        try:
            is_ok, value = envelope.decode_call(data, codec.OPAQUE)
        except codec.Malformed:
            continue
        assert is_ok == data.startswith(b"\x80\x04](\x88")
        assert value is not envelope
