"""Input files and documents of workunits: what a host needs to run a call, put where hosts get it.

The form of the documents is that of BOINC's ``tools/process_input_template.cpp``.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import os
import re
import stat
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from aioboinc import access, durable, errors, jobs, keys, program, results, service
from aioboinc.project import Project, fanout_directory

__all__ = ["MAX_INLINE", "Identity", "Stager", "check_inline_inputs", "identity"]

MAX_INLINE = 4096
"""Bytes of an input that fit a command line everywhere: on Windows the launcher's has 8191 characters, base64."""
_SLICE = 128
"""Jobs to make before others get their turn: half a millisecond."""
_READABLE = stat.S_IRUSR | stat.S_IRGRP | stat.S_IROTH
_LARGE = 1 << 20
"""Bytes of an input that take longer than that."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What a workunit says of its own inputs."""

    job: str
    input_sha256: bytes
    program_sha256: bytes


@dataclass(frozen=True, slots=True)
class _Program:
    """A program's file in the download hierarchy, as the documents of its workunits name it."""

    sha256: bytes
    document: tuple[str, ...]
    """Of jobs that have their input in a file."""
    inline_document: tuple[str, ...]
    """Of jobs that have their input in the command line."""


_MARK = "\0"
"""On both sides of the name of a value in a document."""

_PROGRAM_NAME = re.compile(r"<file_name>pyboinc_program_([0-9a-f]{64})\.zip</file_name>")
_INPUT_NAME = re.compile(r"<file_name>pyboinc_\d+_\d+_([0-9a-f]{64})</file_name>")
_INLINE_INPUT = re.compile(r"<command_line>\s*--input-base64 ([A-Za-z0-9+/=]+)\s*</command_line>")


def identity(job: str, xml_doc: str) -> Identity:
    """Read from a workunit's document what its outputs must name.

    Raises ValueError for a workunit that is not one of ours.
    """
    program_name = _PROGRAM_NAME.search(xml_doc)
    input_name = _INPUT_NAME.search(xml_doc)
    inline = None if input_name else _INLINE_INPUT.search(xml_doc)
    if program_name is None or (input_name is None and inline is None):
        raise ValueError(f"{job}: not a workunit of pyboinc")
    if inline is None:
        assert input_name is not None
        input_sha256 = bytes.fromhex(input_name[1])
    else:
        input_sha256 = hashlib.sha256(base64.b64decode(inline[1], validate=True)).digest()
    return Identity(job, input_sha256, bytes.fromhex(program_name[1]))


def check_inline_inputs(limit: int) -> None:
    """Raise `errors.UsageError` unless inputs of up to *limit* bytes can be part of a command line."""
    if not (isinstance(limit, int) and 0 <= limit <= MAX_INLINE):
        raise errors.UsageError(
            f"pyboinc_master: inline_inputs={limit!r}: must be a number of bytes from 0 to {MAX_INLINE}; "
            "larger inputs are files"
        )


class Stager:
    """Puts the files of one project's workunits in place. Inputs of up to *inline_inputs* bytes need none.

    Raises `errors.UsageError` if *inline_inputs* is more than fits a command line.
    """

    def __init__(self, project: Project, inline_inputs: int = 0) -> None:
        check_inline_inputs(inline_inputs)
        self._project = project
        self._inline_inputs = inline_inputs
        self._key: keys.PrivateKey | None = None
        self._programs: dict[str, _Program] = {}
        self._forms: dict[tuple[str, jobs.Options, bool], jobs.Form] = {}
        self._quorum = 1 if project.embedded else 2
        self._template = None if project.upload_certificates else results.read_template(project)
        self._writing = asyncio.Lock()

    async def stage(
        self,
        batch: int,
        first: int,
        calls: Sequence[jobs.Call],
        digest: str,
        quiet: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext,
    ) -> jobs.Chunk:
        """Write the input files of *calls*, the first of which has the number *first*; return their jobs.

        *digest* is the running digest after the last of them. The files are durable on return. *quiet* is entered
        while they are written: the thread needs the interpreter's lock three times a file, and beside others that
        compute it waits 5 ms each time. Raises `errors.ProjectError` if the project can't take them.
        """
        downloads = _Downloads(self._project)
        made: list[jobs.Job] = []
        try:
            for number, call in enumerate(calls, first):
                if call.sources.fingerprint not in self._programs:
                    await self._add_program(downloads, call.sources)
                if len(call.input) < _LARGE:
                    made.append(self._job(downloads, batch, number, call))
                else:
                    made.append(await service.in_thread(self._job, downloads, batch, number, call))
                if len(made) % _SLICE == 0:
                    await asyncio.sleep(0)
            if downloads:
                # One thread writes, as several would wait for each other at every file; meanwhile the disk takes in
                # what those before have written.
                async with self._writing:
                    with quiet():
                        await service.in_thread(downloads.write)
                await service.in_thread(durable.sync, self._project.download_dir)
        except OSError as error:
            raise errors.ProjectError(
                f"download hierarchy of {self._project.root}: {error}; submitting needs write access to it"
            ) from None
        return jobs.Chunk(first, made, digest, self._template)

    async def program_sha256(self, sources: program.Sources) -> bytes:
        """Return the SHA-256 of the program file that *sources* make; it need not be staged."""
        file = self._programs.get(sources.fingerprint)
        return file.sha256 if file else hashlib.sha256(await service.in_thread(self._build, sources)).digest()

    def _job(self, downloads: _Downloads, batch: int, number: int, call: jobs.Call) -> jobs.Job:
        name = f"pyboinc_{batch}_{number}"
        inline = len(call.input) <= self._inline_inputs
        form = self._form(call, inline=inline)
        if inline:
            values = {"name": name, "input": base64.b64encode(call.input).decode()}
        else:
            values = {"name": name, **downloads.add(f"{name}_{call.input_sha256.hex()}", call.input)}
        return jobs.Job(form, values)

    def _form(self, call: jobs.Call, *, inline: bool) -> jobs.Form:
        key = call.sources.fingerprint, call.options, inline
        if key not in self._forms:
            if len(self._forms) >= jobs.MOST_KINDS:
                self._forms.clear()
            file = self._programs[call.sources.fingerprint]
            self._forms[key] = jobs.Form(
                self._completion(call.options), file.inline_document if inline else file.document
            )
        return self._forms[key]

    def _completion(self, options: jobs.Options) -> jobs.Options:
        quorum = options.quorum or self._quorum
        target = max(options.target_nresults or quorum, quorum)
        values = {name: getattr(options, name) for name in jobs.Options.__slots__}
        return jobs.Options(
            **{
                **values,
                "quorum": quorum,
                "target_nresults": target,
                "max_total_results": max(options.max_total_results, target),
                "max_success_results": max(options.max_success_results, target),
            }
        )

    async def _add_program(self, downloads: _Downloads, sources: program.Sources) -> None:
        data = await service.in_thread(self._build, sources)
        digest = hashlib.sha256(data).digest()
        name = f"pyboinc_program_{digest.hex()}.zip"
        # BOINC's file deleter takes the input files of a finished workunit; this one is shared.
        info = downloads.info(**downloads.add(name, data), flags="    <no_delete/>\n")
        reference = _file_ref(name, "pyboinc_program")
        self._programs[sources.fingerprint] = _Program(
            digest, _document(info, reference, downloads), _inline_document(info, reference)
        )

    def _build(self, sources: program.Sources) -> bytes:
        if self._key is None:
            self._key = keys.load(self._project.key_dir / keys.PROGRAM_PRIVATE)
        return program.build(sources, self._project.master_url, self._key)


class _Downloads:
    """Files to write into the download hierarchy; true if there are any."""

    def __init__(self, project: Project) -> None:
        self._url = project.download_url
        self._root = project.download_dir
        self._fanout = project.fanout
        self._files: list[tuple[str, bytes]] = []

    def add(self, name: str, data: bytes) -> dict[str, str]:
        """Note the file *name*; return what its ``<file_info>`` says."""
        directory = fanout_directory(name, self._fanout)
        place = f"{directory}/" if directory else ""
        self._files.append((place + name, data))
        return {
            "file": name,
            "place": place,
            "md5": hashlib.md5(data, usedforsecurity=False).hexdigest(),
            "nbytes": str(len(data)),
        }

    def info(self, file: str, place: str, md5: str, nbytes: str, flags: str = "") -> str:
        """Return the ``<file_info>`` of a file that was added."""
        return (
            f"<file_info>\n    <name>{file}</name>\n    <url>{self._url}/{place}{file}</url>\n"
            f"    <md5_cksum>{md5}</md5_cksum>\n    <nbytes>{nbytes}</nbytes>\n{flags}</file_info>\n"
        )

    def __bool__(self) -> bool:
        return bool(self._files)

    def write(self) -> None:
        """Write the files, which are not durable yet then. Blocks; raises OSError.

        By paths relative to the hierarchy, one directory after the other: in any other way ext4 takes longer.
        """
        self._files.sort()
        root = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for path, data in self._files:
                _write(path, data, root)
            _let_read([path for path, _ in self._files], root)
        finally:
            os.close(root)


def _write(path: str, data: bytes, root: int) -> None:
    try:
        descriptor = _open(path, root)
    except FileNotFoundError:
        access.make_directory(os.path.dirname(path), os.stat(root), dir_fd=root)
        descriptor = _open(path, root)
    except PermissionError:
        if _holds(path, data, root):
            return  # the same file, of another user's master
        raise
    try:
        written = os.write(descriptor, data)
        while written < len(data):
            written += os.write(descriptor, data[written:])
    finally:
        os.close(descriptor)


def _open(path: str, root: int) -> int:
    # Without O_TRUNC: after a crash the same bytes are written again, and a host may be reading them.
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o664, dir_fd=root)


def _holds(path: str, data: bytes, root: int) -> bool:
    """Tell whether there is a file *path* with just *data*."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=root)
    except OSError:
        return False
    with open(descriptor, "rb") as file:
        return file.read(len(data) + 1) == data


def _let_read(paths: Sequence[str], root: int) -> None:
    """Let the web server read files just written, whatever this user's umask: a look at the last one tells."""
    if os.stat(paths[-1], dir_fd=root).st_mode & _READABLE == _READABLE:
        return
    for path in paths:
        status = os.stat(path, dir_fd=root)
        if status.st_uid == os.geteuid():
            os.chmod(path, stat.S_IMODE(status.st_mode) | _READABLE, dir_fd=root)


def _document(program_info: str, program_ref: str, downloads: _Downloads) -> tuple[str, ...]:
    file, place, md5, nbytes = (f"{_MARK}{name}{_MARK}" for name in ("file", "place", "md5", "nbytes"))
    info = downloads.info(file, place, md5, nbytes)
    text = f"{program_info}{info}<workunit>\n{program_ref}{_file_ref(file, 'pyboinc_input')}</workunit>"
    return tuple(text.split(_MARK))


def _inline_document(program_info: str, program_ref: str) -> tuple[str, ...]:
    command_line = f"<command_line>\n--input-base64 {_MARK}input{_MARK}\n</command_line>\n"
    return tuple(f"{program_info}<workunit>\n{command_line}{program_ref}</workunit>".split(_MARK))


def _file_ref(name: str, open_name: str) -> str:
    return f"<file_ref>\n    <file_name>{name}</file_name>\n    <open_name>{open_name}</open_name>\n</file_ref>\n"
