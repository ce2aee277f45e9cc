"""The envelope of an output: whose it is, and the value, or the exception that ended the slave.

It is the canonical pickle (see codec) of a dict with the keys ``pyboinc`` (the version of this format),
``job``, ``input`` and ``program`` (SHA-256 of the files), ``status`` (``ok`` or ``error``) and ``value``, in
this order. Errors are data, and the same on every machine, so that an exception that is the program's own
reaches quorum.

A workunit of several calls has the status ``calls``, and for a value a list of bytes, a piece for each call from the
first on: the canonical pickle of a list, ``True`` and the output, or ``False`` and the error. There may be fewer of
these than of calls, as a runtime ends at the workunit's limit. Standard library only, Python 3.8 syntax: hosts get
this file too.
"""

from __future__ import annotations

import ast
import dataclasses
import linecache
import os
import re
import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

from aioboinc.wire import codec, exceptions, names

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

__all__ = [
    "HEADER_SIZE",
    "MAX_PIECES",
    "Envelope",
    "Outcome",
    "check",
    "check_content",
    "decode",
    "decode_call",
    "decode_calls",
    "encode",
    "encode_call",
    "encode_calls",
    "encode_error",
    "encode_output",
    "format_traceback",
    "header",
    "is_calls",
    "is_ok",
    "is_ok_call",
]

_ERROR_KEYS = ["type", "message", "traceback", "causes"]
_BEFORE_JOB = b"\x80\x04}(\x8c\x07pyboincK\x01\x8c\x03job"
_BEFORE_INPUT = b"\x8c\x05inputC\x20"
_BEFORE_PROGRAM = b"\x8c\x07programC\x20"
_STATUS = b"\x8c\x06status"
_OK = b"\x8c\x02ok\x8c\x05value"
_ERROR = b"\x8c\x05error\x8c\x05value"
_CALLS = b"\x8c\x05calls\x8c\x05value"
_END = b"u."
_OK_CALL = b"\x80\x04](\x88"
_ERROR_CALL = b"\x80\x04](\x89"
_END_OF_CALL = b"e."
# There is one way to write what is before the value. Names of jobs are ASCII.
_ENVELOPE = re.compile(
    b"%b\x8c(.)([!-~]{0,255}?)%b(.{32})%b(.{32})%b(?:(%b)|(%b)|%b)"
    % tuple(map(re.escape, (_BEFORE_JOB, _BEFORE_INPUT, _BEFORE_PROGRAM, _STATUS, _OK, _CALLS, _ERROR))),
    re.DOTALL,
)

HEADER_SIZE = 1024
"""Bytes that what comes before an output's value has at most."""
MAX_PIECES = codec.LIMITS.size
"""Bytes that the pieces of several calls may have together."""
_MAX_MESSAGE = 4000
_MAX_LINE = 200
_MAX_FRAMES = 50
_MAX_CAUSES = 10
_MAX_NAME = 1000
_MAX_DECODED_NAME = 20_000  # paths and names of classes and functions were not cut in 0.1.0
_MAX_NUMBER = 1 << 31
_ADDRESS = re.compile(r"\bat 0x[0-9a-fA-F]+")
_INLINED = ("<listcomp>", "<dictcomp>", "<setcomp>")  # no functions of their own since Python 3.12


class Envelope(NamedTuple):
    """An output with what it belongs to."""

    job: str
    """Name of the job."""
    input_sha256: bytes
    """SHA-256 of the job's input file."""
    program_sha256: bytes
    """SHA-256 of the program file."""
    status: str
    """``ok``, ``error`` or ``calls``."""
    value: Any
    """The output; or the error: a dict with ``type`` and ``message`` of the exception, ``traceback``, a list
    of [file, line, function, source line], and ``causes``, a list of [type, message] of the exceptions
    before it; or the list of pieces, which `decode_call` reads."""


class Outcome(NamedTuple):
    """What a call has come to, encoded."""

    is_ok: bool
    """Whether it is an output, not an exception."""
    body: bytes
    """The output, or the error as in an `Envelope`: a whole pickle."""

    @classmethod
    def of_output(cls, value: Any, registry: codec.Registry | None) -> Outcome:
        """Return that of the output *value*. Raises codec.NotData."""
        return cls(True, codec.encode(value, registry, root="output"))

    @classmethod
    def of_error(cls, exc: BaseException, program_root: str | os.PathLike[str], *, note: str = "") -> Outcome:
        """Return that of the exception *exc* that ended the slave, whose files are in *program_root*.

        It depends on the program and its input only, not on the machine or the version of Python, as far as the
        message of the exception doesn't. *note* is added to that. Reads the program's source lines.
        """
        program = _Program(program_root)
        addition = f"\n{note}"[: _MAX_MESSAGE // 2] if note else ""
        error = {
            "type": _type_name(exc),
            "message": program.message(exc)[: _MAX_MESSAGE - len(addition)] + addition,
            "traceback": program.frames(exc),
            "causes": program.causes(exc),
        }
        return cls(False, codec.encode(error, root="error"))


def header(job: str, input_sha256: bytes, program_sha256: bytes) -> bytes:
    """Return what the envelope of every output of *job* begins with, up to the status."""
    name = codec.encode(job)[2:-1]
    if len(input_sha256) != 32 or len(program_sha256) != 32:
        raise ValueError("a SHA-256 has 32 bytes")
    return b"".join((_BEFORE_JOB, name, _BEFORE_INPUT, input_sha256, _BEFORE_PROGRAM, program_sha256, _STATUS))


def encode(job: str, input_sha256: bytes, program_sha256: bytes, outcome: Outcome) -> bytes:
    """Return the envelope of the *outcome* of *job*."""
    status = _OK if outcome.is_ok else _ERROR
    return b"".join((header(job, input_sha256, program_sha256), status, memoryview(outcome.body)[2:-1], _END))


def encode_output(
    job: str,
    input_sha256: bytes,
    program_sha256: bytes,
    value: Any,
    registry: codec.Registry | None,
) -> bytes:
    """Return the envelope of the output *value*. Raises codec.NotData."""
    return encode(job, input_sha256, program_sha256, Outcome.of_output(value, registry))


def encode_error(
    job: str,
    input_sha256: bytes,
    program_sha256: bytes,
    exc: BaseException,
    program_root: str | os.PathLike[str],
    *,
    note: str = "",
) -> bytes:
    """Return the envelope of the exception *exc*, as of `Outcome.of_error`."""
    return encode(job, input_sha256, program_sha256, Outcome.of_error(exc, program_root, note=note))


def encode_call(outcome: Outcome) -> bytes:
    """Return the piece that the *outcome* of a call among several is."""
    opening = _OK_CALL if outcome.is_ok else _ERROR_CALL
    return b"".join((opening, memoryview(outcome.body)[2:-1], _END_OF_CALL))


def encode_calls(job: str, input_sha256: bytes, program_sha256: bytes, pieces: Sequence[bytes]) -> bytes:
    """Return the envelope of the workunit *job* with the *pieces* of its calls, `MAX_PIECES` bytes at most."""
    limits = dataclasses.replace(codec.LIMITS, size=MAX_PIECES + 8 * len(pieces))
    body = codec.encode(list(pieces), root="calls", limits=limits)
    return b"".join((header(job, input_sha256, program_sha256), _CALLS, memoryview(body)[2:-1], _END))


def decode(data: bytes, registry: codec.Registry | None, *, limits: codec.Limits = codec.LIMITS) -> Envelope:
    """Return the envelope in *data*; what is in the pieces of several calls is not looked at.

    Raises codec.Malformed, whatever *data* is.
    """
    match = _ENVELOPE.match(data)
    if match is None or len(match[2]) != match[1][0]:
        raise codec.Malformed("is not the envelope of an output, or one of another version")
    _, name, input_sha256, program_sha256, ok, calls = match.groups()
    job = name.decode("ascii")
    count = names.count_of(job)
    if (count > 1) != bool(calls):
        raise codec.Malformed("is not the output of one call" if calls else f"is not the output of {count} calls")
    if calls:
        limits = dataclasses.replace(limits, size=limits.size + 8 * count)
    value = codec.decode_part(data, match.end(), _END, registry, limits=limits)
    if calls and not (_is_list(value, count, _is_piece) and value):
        raise codec.Malformed(f"has something else than outputs of {count} calls or fewer")
    if not (ok or calls or _is_error(value)):
        raise codec.Malformed("has an error that is not one, or one with too much in it")
    status = "ok" if ok else "calls" if calls else "error"
    return Envelope(job, input_sha256, program_sha256, status, value)


def decode_calls(data: bytes) -> tuple[str, bytes, bytes, list[bytes]]:
    """Return name, SHA-256 of the input and of the program, and the pieces in the envelope of several calls.

    Raises codec.Malformed, whatever *data* is. What is in a piece is for `decode_call` to see.
    """
    content = decode(data, codec.OPAQUE)
    if content.status != "calls":
        raise codec.Malformed("is not the output of several calls")
    return content.job, content.input_sha256, content.program_sha256, content.value


def decode_call(piece: bytes, registry: codec.Registry | None) -> tuple[bool, Any]:
    """Return whether a call has ended without an exception, and its output or the error.

    Raises codec.Malformed, whatever *piece* is.
    """
    ok = is_ok_call(piece)
    if not ok and not piece.startswith(_ERROR_CALL):
        raise codec.Malformed("is not the output of a call")
    value = codec.decode_part(piece, len(_OK_CALL), _END_OF_CALL, registry)
    if not ok and not _is_error(value):
        raise codec.Malformed("has an error that is not one, or one with too much in it")
    return ok, value


def is_ok(data: bytes) -> bool:
    """Tell whether *data*, the first `HEADER_SIZE` bytes of an output at least, begins one that is no error."""
    match = _ENVELOPE.match(data)
    return match is not None and match[5] is not None


def is_calls(data: bytes) -> bool:
    """Tell whether *data* begins as the output of several calls does."""
    match = _ENVELOPE.match(data)
    return match is not None and match[6] is not None


def is_ok_call(piece: bytes) -> bool:
    """Tell whether *piece*, of a call among several, has an output that is no error."""
    return piece.startswith(_OK_CALL)


def check(data: bytes, job: str, input_sha256: bytes, program_sha256: bytes) -> int:
    """Return of how many calls *data* has outcomes; raise codec.Malformed if it is no output of *job*.

    It is one if it names that input and program. What can't be told without the program is not checked: whether it has
    the classes of the objects.
    """
    if not data.startswith(header(job, input_sha256, program_sha256)):
        raise codec.Malformed(f"is not an output of {job} with its input and program")
    return check_content(data)


def check_content(data: bytes) -> int:
    """Return of how many calls *data* has outcomes; raise codec.Malformed if it is no output, from end to end."""
    content = decode(data, codec.OPAQUE)
    if content.status != "calls":
        return 1
    for number, piece in enumerate(content.value):
        try:
            decode_call(piece, codec.OPAQUE)
        except codec.Malformed as error:
            raise codec.Malformed(f"call {number}: {error}") from None
    return len(content.value)


def format_traceback(error: dict[str, Any]) -> str:
    """Return the text of *error*, the value of an envelope with status ``error``, as Python prints one."""
    lines = ["Traceback (most recent call last):"] if error["traceback"] else []
    for file, number, function, source in error["traceback"]:
        lines.append(f'  File "{file}", line {number}, in {function}')
        if source:
            lines.append(f"    {source}")
    lines.append(_line(error["type"], error["message"]))
    lines.extend(f"  caused by {_line(*cause)}" for cause in error["causes"])
    return "\n".join(lines)


def _line(type_name: str, message: str) -> str:
    return f"{type_name}: {message}" if message else type_name


def _is_error(value: Any) -> bool:
    """Return whether *value* is an error as `encode_error` makes one, of no more than that has room for."""
    return (
        type(value) is dict
        and list(value) == _ERROR_KEYS
        and _is_exception([value["type"], value["message"]])
        and _is_list(value["traceback"], _MAX_FRAMES, _is_frame)
        and _is_list(value["causes"], _MAX_CAUSES, _is_exception)
    )


def _is_piece(value: Any) -> bool:
    return type(value) is bytes


def _is_list(value: Any, most: int, is_item: Callable[[Any], bool]) -> bool:
    return type(value) is list and len(value) <= most and all(map(is_item, value))


def _is_exception(value: Any) -> bool:
    return _is_row(value, str, str) and 0 < len(value[0]) <= _MAX_DECODED_NAME and len(value[1]) <= _MAX_MESSAGE


def _is_frame(value: Any) -> bool:
    return (
        _is_row(value, str, int, str, str)
        and len(value[0]) <= _MAX_DECODED_NAME
        and 0 <= value[1] < _MAX_NUMBER
        and len(value[2]) <= _MAX_DECODED_NAME
        and len(value[3]) <= _MAX_LINE
    )


def _is_row(row: Any, *types: type) -> bool:
    return type(row) is list and list(map(type, row)) == list(types)


def _type_name(exc: BaseException) -> str:
    return exceptions.type_name(exc)[:_MAX_NAME]


class _Program:
    """Exceptions as the files of a program see them."""

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self._root = os.path.realpath(root)
        self._prefixes = {os.path.join(os.fspath(root), ""), os.path.join(self._root, "")}
        self._sources: dict[str, _Source | None] = {}

    def message(self, exc: BaseException) -> str:
        """Return the text of *exc* without what differs from machine to machine."""
        if exceptions.is_a(exc, RecursionError):
            return "maximum recursion depth exceeded"  # and where, which depends on the machine
        message = exceptions.text(exc)[: 2 * _MAX_MESSAGE]
        for prefix in self._prefixes:
            message = message.replace(prefix, "")
        return _ADDRESS.sub("at 0x...", message)[:_MAX_MESSAGE]

    def causes(self, exc: BaseException) -> list[list[str]]:
        """Return type and message of the exceptions that led to *exc*: of a group its members, then the latest first.

        Those behind an exception that the program did not raise itself are left out: they come from inside of
        the standard library or a package, and differ between versions. The members of a group are the program's.
        """
        causes: list[list[str]] = []
        seen = {id(exc)}
        waiting = self._direct_causes(exc)
        while waiting and len(causes) < _MAX_CAUSES:
            cause = waiting.pop(0)
            if id(cause) not in seen:
                seen.add(id(cause))
                causes.append([_type_name(cause), self.message(cause)])
                waiting = self._direct_causes(cause) + waiting
        return causes

    def frames(self, exc: BaseException) -> list[list[Any]]:
        """Return [file, line, function, source line] of the frames of *exc* that are the program's."""
        found = []
        trace = exceptions.traceback(exc)
        while trace is not None:
            source = self._source(trace)
            if source is not None and trace.tb_frame.f_code.co_name not in _INLINED:
                found.append((trace, source))
            trace = trace.tb_next
        # At which frame the limit is reached depends on the machine.
        is_first = exceptions.is_a(exc, RecursionError)
        return [
            _frame(trace, source) for trace, source in (found[:_MAX_FRAMES] if is_first else found[-_MAX_FRAMES:])
        ]

    def _direct_causes(self, exc: BaseException) -> list[BaseException]:
        if self._raised(exceptions.traceback(exc)):
            return exceptions.causes(exc)
        return exceptions.members(exc)

    def _raised(self, trace: TracebackType | None) -> bool:
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        return trace is not None and self._source(trace) is not None

    def _source(self, trace: TracebackType) -> _Source | None:
        """Return the file of the first frame of *trace*, None if it is not of the program."""
        filename = trace.tb_frame.f_code.co_filename
        if filename not in self._sources:
            relative = self._relative(filename)
            self._sources[filename] = (
                None
                if relative is None
                else _Source(relative, linecache.getlines(filename, trace.tb_frame.f_globals))
            )
        return self._sources[filename]

    def _relative(self, filename: str) -> str | None:
        """Return the path of *filename* in the program, with slashes; None if it is elsewhere."""
        if filename.startswith("<"):
            return None
        try:
            path = os.path.relpath(os.path.realpath(filename), self._root)
        except ValueError:  # another drive
            return None
        path = path.replace(os.sep, "/")
        return None if path == ".." or path.startswith("../") else path


def _frame(trace: TracebackType, source: _Source) -> list[Any]:
    number, line = source.statement(trace.tb_lineno or 0)  # code that was made by hand may have no line
    return [source.file[-_MAX_NAME:], number, trace.tb_frame.f_code.co_name[:_MAX_NAME], line]


class _Source:
    """A file of the program."""

    def __init__(self, file: str, lines: list[str]) -> None:
        self.file = file
        """Its path in the program."""
        self._lines = lines
        self._statements = _statements("".join(lines))

    def statement(self, number: int) -> tuple[int, str]:
        """Return number and text of the line in which the innermost statement around line *number* begins.

        To which line of a statement an instruction belongs depends on the version of Python.
        """
        within = [first for first, last in self._statements if first <= number <= last]
        number = max(within, default=number)
        line = self._lines[number - 1] if 0 < number <= len(self._lines) else ""
        return number, line.strip()[:_MAX_LINE]


def _statements(source: str) -> list[tuple[int, int]]:
    """Return the first and the last line of each statement in *source*."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            nodes = list(ast.walk(ast.parse(source)))
    except (SyntaxError, ValueError, RecursionError):
        return []
    return [
        (
            min([node.lineno, *(decorator.lineno for decorator in getattr(node, "decorator_list", ()))]),
            node.end_lineno or node.lineno,
        )
        for node in nodes
        if isinstance(node, ast.stmt)
    ]
