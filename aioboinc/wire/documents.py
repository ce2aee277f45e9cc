"""BOINC's XML of workunits and results, written and read: the one place that knows its form.

``xml_doc`` of a workunit is what BOINC's ``tools/process_input_template.cpp`` makes of an input template,
``xml_doc_in`` of a result what its ``tools/process_result_template.cpp`` makes of an output template; ``xml_doc_out``
and ``stderr_out`` are a client's. They are no documents of one root, and BOINC itself reads them element by
element, so they are read that way here.
"""

from __future__ import annotations

import base64
import hashlib
import html
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

from aioboinc.wire import names

__all__ = [
    "INPUT",
    "OUTPUT",
    "PROGRAM",
    "Calls",
    "File",
    "Identity",
    "Template",
    "calls_of",
    "client_messages",
    "escape",
    "files",
    "identity",
    "inline_input",
    "links",
    "output_name",
    "parse_template",
    "program_name",
    "stderr_text",
    "workunit_form",
]

Calls = names.Calls
calls_of = names.calls_of

PROGRAM = "pyboinc_program"
"""Name under which a job opens its program."""
INPUT = "pyboinc_input"
"""Name under which a job opens its input, unless that is in the command line."""
OUTPUT = "pyboinc_output"
"""Name under which a job writes its output."""

_MARK = "\0"
"""On both sides of the name of a value in a form."""

_FILE_REF = re.compile(r"<file_ref>\s*<file_name>([^<]*)</file_name>\s*<open_name>([^<]*)</open_name>")
_FILE_NAME = re.compile(rb"<file_name>([^<]+)</file_name>")
_PROGRAM_NAME = re.compile(r"<file_name>pyboinc_program_([0-9a-f]{64})\.zip</file_name>")
_INPUT_NAME = re.compile(r"<file_name>pyboinc_\d+_\d+(?:_\d+)?_([0-9a-f]{64})</file_name>")
_INLINE_INPUT = re.compile(r"<command_line>\s*--input-base64[\s=]+([A-Za-z0-9+/=]+)\s*</command_line>")
_NO_DELETE = re.compile(r"<no_delete\s*/>|<no_delete>\s*1\s*</no_delete>")
_NUMBER = re.compile(r"[0-9.eE+]{1,20}")
_MACRO = re.compile(r"<OUTFILE_(\w+)/>")


def escape(text: str) -> str:
    """Return *text* as the content of an element."""
    return html.escape(text, quote=False)


@dataclass(frozen=True, slots=True)
class File:
    """What a ``<file_info>`` says."""

    name: str
    md5: str = ""
    """MD5 of its content, 32 hexadecimal digits, if it is known."""
    nbytes: int = 0
    """Its size in bytes, if it is known."""
    max_nbytes: float = float("inf")
    """Bytes that an output file may have."""
    no_delete: bool = False
    """The file deleter leaves it where it is."""


def files(document: str) -> Iterator[File]:
    """Yield the files of a workunit's or a result's document that have names."""
    for info in _contents(document, "file_info"):
        name = _content(info, "name")
        if name:
            yield File(
                name,
                md5=_content(info, "md5_cksum"),
                nbytes=int(_number(info, "nbytes") or 0),
                max_nbytes=_number(info, "max_nbytes", float("inf")),
                no_delete=_NO_DELETE.search(info) is not None,
            )


def links(document: str) -> dict[str, str]:
    """Return the names of the files that a document refers to, by the names under which the job opens them."""
    return {open_name: name for name, open_name in _FILE_REF.findall(document)}


def output_name(document: bytes) -> str:
    """Return the name of the output file in a result's document; empty if there is none.

    Quicker than `links`: there are thousands a second.
    """
    match = _FILE_NAME.search(document)
    return match[1].decode("utf-8", "replace") if match else ""


def inline_input(document: str) -> str | None:
    """Return the input in a workunit's command line, in base64; None if it is in a file."""
    match = _INLINE_INPUT.search(document)
    return match[1] if match else None


@dataclass(frozen=True, slots=True)
class Identity:
    """What a workunit says of its own inputs."""

    job: str
    input_sha256: bytes
    program_sha256: bytes


def identity(job: str, document: str) -> Identity:
    """Read from a workunit's document what its outputs must name.

    Raises ValueError for a workunit that is not one of ours.
    """
    program = _PROGRAM_NAME.search(document)
    file = _INPUT_NAME.search(document)
    inline = None if file else inline_input(document)
    if program is None or (file is None and inline is None):
        raise ValueError(f"{job}: not a workunit of pyboinc")
    if file is not None:
        input_sha256 = bytes.fromhex(file[1])
    else:
        input_sha256 = hashlib.sha256(base64.b64decode(inline or "", validate=True)).digest()
    return Identity(job, input_sha256, bytes.fromhex(program[1]))


def program_name(sha256: bytes) -> str:
    """Return the name of a program's file."""
    return f"pyboinc_program_{sha256.hex()}.zip"


def workunit_form(download_url: str, program: File, place: str, *, inline: bool) -> tuple[str, ...]:
    """Return the form of the documents of workunits that run *program*.

    It is text, the name of a value, text, the name of a value and so on, text. The values of a workunit with its
    input in a file are ``file``, its name, ``place``, its directory below *download_url* with a slash at the end,
    ``md5`` and ``nbytes``; the only value of one that has it *inline* is ``input``, in base64. *place* is the
    program's directory. BOINC's file deleter leaves the program where it is: others share it.
    """
    info = _file_info(download_url, program.name, place, program.md5, str(program.nbytes), "    <no_delete/>\n")
    reference = _file_ref(program.name, PROGRAM)
    if inline:
        command_line = f"<command_line>\n--input-base64 {_MARK}input{_MARK}\n</command_line>\n"
        text = f"{info}<workunit>\n{command_line}{reference}</workunit>"
    else:
        values = (f"{_MARK}{name}{_MARK}" for name in ("file", "place", "md5", "nbytes"))
        own = _file_info(download_url, *values)
        text = f"{info}{own}<workunit>\n{reference}{_file_ref(f'{_MARK}file{_MARK}', INPUT)}</workunit>"
    return tuple(text.split(_MARK))


@dataclass(frozen=True, slots=True)
class Template:
    """An output template with the project's upload URL in it; only the files' names are missing."""

    pieces: tuple[str, ...]
    """Text around the macros."""
    suffixes: tuple[str, ...]
    """What each macro, ``<OUTFILE_0/>`` say, adds to the common name: ``0``."""

    def document(self, base: str) -> bytes:
        """Return the ``xml_doc_in`` of a result whose output files are named *base* and a suffix."""
        text = [self.pieces[0]]
        for suffix, piece in zip(self.suffixes, self.pieces[1:], strict=True):
            text += (base, suffix, piece)
        return "".join(text).encode()


def parse_template(text: str, upload_url: str) -> Template:
    """Take the text of an output template apart."""
    text = text.replace("<UPLOAD_URL/>", upload_url)
    begin = text.find("<output_template>")
    if begin >= 0:
        text = text[begin + len("<output_template>") :].partition("</output_template>")[0]
    parts = _MACRO.split(text.strip())
    return Template(tuple(parts[::2]), tuple(parts[1::2]))


def client_messages(stderr_out: str) -> list[str]:
    """Return what the client itself says of an execution."""
    return [message.strip() for message in _contents(stderr_out, "message")]


def stderr_text(stderr_out: str) -> str:
    """Return what the application wrote to stderr, without the XML in which clients wrap it."""
    if "<![CDATA[" in stderr_out and "<stderr_txt>" not in stderr_out:
        return ""
    return stderr_out.rpartition("<stderr_txt>")[2].partition("</stderr_txt>")[0].strip()


def _file_info(download_url: str, name: str, place: str, md5: str, nbytes: str, flags: str = "") -> str:
    return (
        f"<file_info>\n    <name>{name}</name>\n    <url>{download_url}/{place}{name}</url>\n"
        f"    <md5_cksum>{md5}</md5_cksum>\n    <nbytes>{nbytes}</nbytes>\n{flags}</file_info>\n"
    )


def _file_ref(name: str, open_name: str) -> str:
    return f"<file_ref>\n    <file_name>{name}</file_name>\n    <open_name>{open_name}</open_name>\n</file_ref>\n"


def _contents(text: str, name: str) -> Iterator[str]:
    """Yield the texts of the elements *name*, in time linear in that of *text*, whatever a host has made of it."""
    opening, closing = f"<{name}>", f"</{name}>"
    end = 0
    while (begin := text.find(opening, end)) >= 0:
        begin += len(opening)
        end = text.find(closing, begin)
        if end < 0:
            return
        yield text[begin:end]


def _content(text: str, name: str) -> str:
    """Return the text of the first element *name*; empty if there is none."""
    return next(_contents(text, name), "").strip()


def _number(text: str, name: str, default: float = 0.0) -> float:
    content = _content(text, name)
    try:
        number = float(content) if _NUMBER.fullmatch(content) else default
    except ValueError:
        return default
    return number if math.isfinite(number) else default
