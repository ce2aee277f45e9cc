"""Input files and documents of workunits: what a host needs to run a call, where it can get it.

The documents have the form that BOINC's ``tools/process_input_template.cpp`` gives them.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ParamSpec

from aioboinc import arguments, errors
from aioboinc.aio import durable, threads
from aioboinc.batch import partition
from aioboinc.program import bundle, signed_archive
from aioboinc.project import access, keys, templates
from aioboinc.project.config import Kind, Project, fanout_directory
from aioboinc.store import jobs
from aioboinc.wire import documents, several

__all__ = ["MAX_INLINE", "Staged", "Stager", "check_inline_inputs"]

P = ParamSpec("P")

MAX_INLINE = 4096
"""Bytes of an input, base64-encoded, that fit on a command line everywhere: on Windows it has 8191 characters."""
_SLICE = 128
"""Jobs to make before yielding to the event loop: half a millisecond."""
_READABLE = stat.S_IRUSR | stat.S_IRGRP | stat.S_IROTH
_LARGE = 1 << 20
"""Bytes of an input that takes longer than that."""


@dataclass(frozen=True, slots=True)
class _Program:
    """A program's file in the download hierarchy, as the documents of its workunits name it."""

    sha256: bytes
    document: tuple[str, ...]
    """For jobs whose input is a file."""
    inline_document: tuple[str, ...]
    """For jobs whose input is on the command line."""


def check_inline_inputs(limit: int) -> None:
    """Raise `errors.UsageError` unless inputs of up to *limit* bytes can be part of a command line."""
    arguments.whole("pyboinc_master: inline_inputs", limit, 0, MAX_INLINE, unit="bytes; larger inputs are files")


class Stager:
    """Puts the files of one project's workunits in place. Inputs of up to *inline_inputs* bytes need none.

    A workunit of several calls, where nobody has said how many, stops after *limit* seconds.

    Raises `errors.UsageError` if *inline_inputs* is more than fits a command line.
    """

    def __init__(self, project: Project, inline_inputs: int = 0, limit: float = 0.0) -> None:
        check_inline_inputs(inline_inputs)
        self._project = project
        self._inline_inputs = inline_inputs
        self._limit = limit
        self._key: keys.PrivateKey | None = None
        self._programs: dict[str, _Program] = {}
        self._forms: dict[tuple[str, jobs.Options, int, bool], jobs.Form] = {}
        self._quorum = 1 if project.kind is Kind.EMBEDDED else 2
        self.template = None if project.upload_certificates else templates.read(project)
        """For the jobs' first results; None if only BOINC's transitioner can make them."""

    async def stage(
        self, batch: int, workunits: Sequence[partition.Workunit], calls: Sequence[jobs.Call]
    ) -> Staged:
        """Make *workunits*, which run *calls*, one after the other, and the files that they need.

        Raises `errors.ProjectError` if the project can't take them.
        """
        downloads = _Downloads(self._project)
        made: list[jobs.Job] = []
        place = 0
        for workunit in workunits:
            together = calls[place : place + workunit.ncalls]
            place += workunit.ncalls
            sources = together[0].kind.sources
            if sources.fingerprint not in self._programs:
                await self._add_program(downloads, sources)
            name = workunit.name(batch)
            if sum(len(call.input) for call in together) < _LARGE:
                made.append(self._job(downloads, name, together))
            else:
                made.append(await threads.in_thread(self._job, downloads, name, together))
            if len(made) % _SLICE == 0:
                await asyncio.sleep(0)
        return Staged(made, self._project, downloads)

    async def program_sha256(self, sources: bundle.Sources) -> bytes:
        """Return the SHA-256 of the program file that *sources* make; it need not be staged."""
        file = self._programs.get(sources.fingerprint)
        return file.sha256 if file else hashlib.sha256(await threads.in_thread(self._build, sources)).digest()

    def _job(self, downloads: _Downloads, name: str, calls: Sequence[jobs.Call]) -> jobs.Job:
        if len(calls) == 1:
            data, sha256 = calls[0].input, calls[0].input_sha256
        else:
            limit = self._limit if calls[0].kind.chunk == jobs.AUTO else 0.0
            data = several.encode_inputs(limit, [call.input for call in calls])
            sha256 = hashlib.sha256(data).digest()
        inline = len(data) <= self._inline_inputs
        form = self._form(calls[0].kind, len(calls), inline=inline)
        if inline:
            values = {"name": name, "input": base64.b64encode(data).decode()}
        else:
            values = {"name": name, **downloads.add(f"{name}_{sha256.hex()}", data)}
        return jobs.Job(form, values)

    def _form(self, kind: jobs.Kind, ncalls: int, *, inline: bool) -> jobs.Form:
        key = kind.sources.fingerprint, kind.options, ncalls, inline
        form = self._forms.get(key)
        if form is None:
            if len(self._forms) >= jobs.MAX_KINDS:
                self._forms.clear()
            file = self._programs[kind.sources.fingerprint]
            document = file.inline_document if inline else file.document
            form = self._forms[key] = jobs.Form(self.completed(kind.options, ncalls), document)
        return form

    def completed(self, options: jobs.Options, ncalls: int = 1) -> jobs.Options:
        """Return *options*, which are those of a call, for a workunit of *ncalls*, with nothing left open.

        Of several calls, one that takes its workunit down is found by dividing that: trying it again and again is not
        worth while before.
        """
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
                "max_error_results": options.max_error_results if ncalls == 1 else 1,
                "rsc_fpops_est": ncalls * options.rsc_fpops_est,
                "rsc_fpops_bound": ncalls * options.rsc_fpops_bound,
            }
        )

    async def _add_program(self, downloads: _Downloads, sources: bundle.Sources) -> None:
        data = await threads.in_thread(self._build, sources)
        digest = hashlib.sha256(data).digest()
        values = downloads.add(documents.program_name(digest), data)
        file = documents.File(values["file"], md5=values["md5"], nbytes=len(data))
        self._programs[sources.fingerprint] = _Program(
            digest,
            *(
                documents.workunit_form(self._project.download_url, file, values["place"], inline=inline)
                for inline in (False, True)
            ),
        )

    def _build(self, sources: bundle.Sources) -> bytes:
        if self._key is None:
            self._key = keys.load(self._project.key_dir / keys.PROGRAM_PRIVATE)
        return signed_archive.build(sources, self._project.master_url, self._key)


class Staged:
    """Jobs, and their files, which must be written before the jobs are committed."""

    def __init__(self, jobs: Sequence[jobs.Job], project: Project, downloads: _Downloads) -> None:
        self.jobs = jobs
        self._project = project
        self._downloads = downloads

    @property
    def has_files(self) -> bool:
        """Whether there is something to write."""
        return bool(self._downloads)

    async def write(self) -> None:
        """Write the files. Raises `errors.ProjectError`."""
        await self._in_thread(self._downloads.write)

    async def sync(self) -> None:
        """Make what was written durable. Raises `errors.ProjectError`."""
        await self._in_thread(durable.sync, self._project.download_dir)

    async def _in_thread(self, function: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
        try:
            await threads.in_thread(function, *args, **kwargs)
        except OSError as error:
            raise errors.ProjectError(
                f"download hierarchy of {self._project.root}: {error}; submitting needs write access to it"
            ) from None


class _Downloads:
    """Files to write into the download hierarchy; true if there are any."""

    def __init__(self, project: Project) -> None:
        self._root = project.download_dir
        self._fanout = project.fanout
        self._files: list[tuple[str, bytes]] = []

    def add(self, name: str, data: bytes) -> dict[str, str]:
        """Note the file *name*; return what a document says of it."""
        directory = fanout_directory(name, self._fanout)
        place = f"{directory}/" if directory else ""
        self._files.append((place + name, data))
        return {
            "file": name,
            "place": place,
            "md5": hashlib.md5(data, usedforsecurity=False).hexdigest(),
            "nbytes": str(len(data)),
        }

    def __bool__(self) -> bool:
        return bool(self._files)

    def write(self) -> None:
        """Write the files, without making them durable. Blocks; raises OSError.

        By paths relative to the hierarchy, one directory after the other: any other way is slower on ext4.
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
            return  # another user's master wrote the same file
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
    """Tell whether the file *path* exists and contains exactly *data*."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=root)
    except OSError:
        return False
    with open(descriptor, "rb") as file:
        return file.read(len(data) + 1) == data


def _let_read(paths: Sequence[str], root: int) -> None:
    """Let the web server read the files just written, whatever the umask. The last one tells if that is needed."""
    if os.stat(paths[-1], dir_fd=root).st_mode & _READABLE == _READABLE:
        return
    for path in paths:
        status = os.stat(path, dir_fd=root)
        if status.st_uid == os.geteuid():
            os.chmod(path, stat.S_IMODE(status.st_mode) | _READABLE, dir_fd=root)
