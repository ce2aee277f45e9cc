"""The envelope of an output: whose it is, and the value, or the exception that ended the slave.

It is the canonical pickle (see codec) of a dict with the keys ``pyboinc`` (the version of this format),
``job``, ``input`` and ``program`` (SHA-256 of the files), ``status`` (``ok`` or ``error``) and ``value``, in
this order. Errors are data, and the same on every machine, so that an exception that is the program's own
reaches quorum. Standard library only, Python 3.8 syntax: hosts get this file too.
"""

from __future__ import annotations

import ast
import linecache
import os
import re
import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

from aioboinc.wire import codec, exceptions

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

__all__ = [
    "HEADER_SIZE",
    "Envelope",
    "check",
    "decode",
    "encode_error",
    "encode_output",
    "format_traceback",
    "header",
    "is_ok",
]

_ERROR_KEYS = ["type", "message", "traceback", "causes"]
_BEFORE_JOB = b"\x80\x04}(\x8c\x07pyboincK\x01\x8c\x03job"
_BEFORE_INPUT = b"\x8c\x05inputC\x20"
_BEFORE_PROGRAM = b"\x8c\x07programC\x20"
_STATUS = b"\x8c\x06status"
_OK = b"\x8c\x02ok\x8c\x05value"
_ERROR = b"\x8c\x05error\x8c\x05value"
_END = b"u."
# There is one way to write what is before the value. Names of jobs are ASCII.
_ENVELOPE = re.compile(
    b"%b\x8c(.)([!-~]{0,255}?)%b(.{32})%b(.{32})%b(?:(%b)|%b)"
    % tuple(map(re.escape, (_BEFORE_JOB, _BEFORE_INPUT, _BEFORE_PROGRAM, _STATUS, _OK, _ERROR))),
    re.DOTALL,
)

_CALLS = re.compile(
    b"%b\x8c(.)([!-~]{0,255}?)%b(.{32})%b(.{32})%b\x8c\x05calls\x8c\x05value"
    % tuple(map(re.escape, (_BEFORE_JOB, _BEFORE_INPUT, _BEFORE_PROGRAM, _STATUS))),
    re.DOTALL,
)
HEADER_SIZE = 1024
"""Bytes that what comes before an output's value has at most."""
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
    """``ok`` or ``error``."""
    value: Any
    """The output; or the error: a dict with ``type`` and ``message`` of the exception, ``traceback``, a list
    of [file, line, function, source line], and ``causes``, a list of [type, message] of the exceptions
    before it."""


def header(job: str, input_sha256: bytes, program_sha256: bytes) -> bytes:
    """Return what the envelope of every output of *job* begins with, up to the status."""
    name = codec.encode(job)[2:-1]
    if len(input_sha256) != 32 or len(program_sha256) != 32:
        raise ValueError("a SHA-256 has 32 bytes")
    return b"".join((_BEFORE_JOB, name, _BEFORE_INPUT, input_sha256, _BEFORE_PROGRAM, program_sha256, _STATUS))


def encode_output(
    job: str,
    input_sha256: bytes,
    program_sha256: bytes,
    value: Any,
    registry: codec.Registry | None,
) -> bytes:
    """Return the envelope of the output *value*. Raises codec.NotData."""
    body = codec.encode(value, registry, root="output")
    return b"".join((header(job, input_sha256, program_sha256), _OK, memoryview(body)[2:-1], _END))


def encode_error(
    job: str,
    input_sha256: bytes,
    program_sha256: bytes,
    exc: BaseException,
    program_root: str | os.PathLike[str],
    *,
    note: str = "",
) -> bytes:
    """Return the envelope of the exception *exc* that ended the slave, whose files are in *program_root*.

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
    body = codec.encode(error, root="error")
    return b"".join((header(job, input_sha256, program_sha256), _ERROR, body[2:-1], _END))


def decode(data: bytes, registry: codec.Registry | None, *, limits: codec.Limits = codec.LIMITS) -> Envelope:
    """Return the envelope in *data*. Raises codec.Malformed, whatever *data* is."""
    match = _ENVELOPE.match(data)
    if match is None or len(match[2]) != match[1][0]:
        raise codec.Malformed("is not the envelope of an output, or one of another version")
    _, job, input_sha256, program_sha256, ok = match.groups()
    value = codec.decode_part(data, match.end(), _END, registry, limits=limits)
    if not ok and not _is_error(value):
        raise codec.Malformed("has an error that is not one, or one with too much in it")
    return Envelope(job.decode("ascii"), input_sha256, program_sha256, "ok" if ok else "error", value)


def decode_calls(data: bytes) -> Any:
    match = _CALLS.match(data)
    if match is None:
        raise codec.Malformed("is not the envelope of the outputs of several calls")
    _, job, input_sha256, program_sha256 = match.groups()
    return job.decode("ascii"), input_sha256, program_sha256, codec.decode_part(data, match.end(), _END, None)


def decode_call(data: bytes, registry: codec.Registry | None) -> Any:
    return codec.decode(data, registry)


def is_ok(data: bytes) -> bool:
    """Tell whether *data*, the first `HEADER_SIZE` bytes of an output at least, begins one that is no error."""
    match = _ENVELOPE.match(data)
    return match is not None and match[5] is not None


def check(data: bytes, job: str, input_sha256: bytes, program_sha256: bytes) -> None:
    """Raise codec.Malformed if *data* is no output of *job* with that input and program.

    What can't be told without the program is not checked: whether it has the classes of the objects.
    """
    if not data.startswith(header(job, input_sha256, program_sha256)):
        raise codec.Malformed(f"is not an output of {job} with its input and program")
    if data[len(header(job, input_sha256, program_sha256)) :].startswith(b"\x8c\x05calls"):
        return
    decode(data, codec.OPAQUE)


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
