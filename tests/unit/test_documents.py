"""BOINC's XML of workunits and results: what is written is read again, and what BOINC writes is."""

from __future__ import annotations

import base64
import hashlib

import pytest

from aioboinc.wire import documents

PROGRAM = documents.File(documents.program_name(b"\x01" * 32), md5="a" * 32, nbytes=700)
OTHERS = """
<file_info>
    <name>pyboinc_1_2_r5_0</name>
    <generated_locally/>
    <max_nbytes>1e6</max_nbytes>
</file_info>
<result>
    <file_ref>
        <file_name>pyboinc_1_2_r5_0</file_name>
        <open_name>pyboinc_output</open_name>
    </file_ref>
</result>
"""


def filled(form: tuple[str, ...], **values: str) -> str:
    return "".join(values[part] if place % 2 else part for place, part in enumerate(form))


def test_a_workunit_with_its_input_in_a_file_is_read_as_it_was_written() -> None:
    form = documents.workunit_form("http://a.b/download", PROGRAM, "1f/", inline=False)
    name = "pyboinc_3_4_" + "22" * 32
    document = filled(form, file=name, place="e/", md5="b" * 32, nbytes="17")
    program, own = documents.files(document)
    assert program == documents.File(PROGRAM.name, "a" * 32, 700, no_delete=True)
    assert own == documents.File(name, "b" * 32, 17)
    assert f"<url>http://a.b/download/e/{name}</url>" in document
    assert documents.links(document) == {documents.PROGRAM: PROGRAM.name, documents.INPUT: name}
    assert documents.inline_input(document) is None
    assert documents.identity("job", document) == documents.Identity("job", b"\x22" * 32, b"\x01" * 32)


def test_a_workunit_with_its_input_inline_is_read_as_it_was_written() -> None:
    form = documents.workunit_form("http://a.b/download", PROGRAM, "", inline=True)
    document = filled(form, input=base64.b64encode(b"input").decode())
    assert documents.inline_input(document) == base64.b64encode(b"input").decode()
    assert documents.links(document) == {documents.PROGRAM: PROGRAM.name}
    assert documents.identity("job", document).input_sha256 == hashlib.sha256(b"input").digest()


def test_the_output_of_a_result() -> None:
    assert documents.output_name(OTHERS.encode()) == "pyboinc_1_2_r5_0"
    assert documents.links(OTHERS) == {documents.OUTPUT: "pyboinc_1_2_r5_0"}
    assert [file.max_nbytes for file in documents.files(OTHERS)] == [1e6]
    assert documents.output_name(b"<file_info><name>x</name></file_info>") == ""


@pytest.mark.parametrize("flag", ["<no_delete/>", "<no_delete />", "<no_delete>1</no_delete>"])
def test_what_the_file_deleter_leaves(flag: str) -> None:
    (file,) = documents.files(f"<file_info><name>a</name>{flag}</file_info>")
    assert file.no_delete
    (file,) = documents.files("<file_info><name>a</name><no_delete>0</no_delete></file_info>")
    assert not file.no_delete


@pytest.mark.parametrize("number", ["", "-1", "nan", "inf", "1" * 30, "1e", "0x10", "1_0", "1e999"])
def test_a_number_that_is_none_is_as_if_it_was_not_there(number: str) -> None:
    (file,) = documents.files(f"<file_info><name>a</name><max_nbytes>{number}</max_nbytes></file_info>")
    assert file.max_nbytes == float("inf")


def test_what_client_and_application_say() -> None:
    stderr = "<core_client_version>7.20.5</core_client_version>\n<![CDATA[\n<message>\nexit 1\n</message>\n"
    whole = stderr + "<stderr_txt>\noops\n</stderr_txt>\n]]>"
    assert documents.client_messages(whole) == ["exit 1"]
    assert documents.stderr_text(whole) == "oops"
    assert documents.stderr_text(stderr + "]]>") == ""
    assert documents.stderr_text("oops\n") == "oops"


@pytest.mark.parametrize("piece", ["<message>", "<message> ", "<file_info>", "<name>", " " * 9, "</message>"])
def test_what_hosts_write_is_read_in_linear_time(piece: str) -> None:
    """In quadratic time this would take hours."""
    text = "<file_info><message>" + piece * 2_000_000
    assert documents.client_messages(text) in ([], [""])
    assert list(documents.files(text)) == []
