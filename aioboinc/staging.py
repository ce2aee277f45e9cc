"""Input files and documents of workunits: what a host needs to run a call, put where hosts get it.

The form of the documents is that of BOINC's ``tools/process_input_template.cpp``.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from aioboinc import durable, errors, keys, program, results, service
from aioboinc.project import Project

if TYPE_CHECKING:
    from aioboinc.submission import Call

__all__ = ["Chunk", "Identity", "Job", "Options", "Stager", "identity"]

_DAY = 86400


@dataclass(frozen=True, slots=True)
class Options:
    """What a call may ask of the project. The names and most defaults are BOINC's ``create_work``'s."""

    quorum: int | None = None
    """Results that must agree (``min_quorum``); None: 1 on an embedded project, 2 on a BOINC project."""
    target_nresults: int | None = None
    """Results made at first; None: as many as the quorum."""
    max_error_results: int = 3
    """The job fails when more results than this have failed."""
    max_total_results: int = 10
    """The job fails when it would take more results than this."""
    max_success_results: int = 6
    """The job fails when this many outputs have come back and no quorum agrees."""
    priority: int = 0
    """Jobs of higher priority are sent first."""
    delay_bound: int = 7 * _DAY
    """Seconds until a result sent to a host counts as lost."""
    rsc_fpops_est: float = 3600e9
    """Estimate of the job's size in floating-point operations."""
    rsc_fpops_bound: float = 86400e9
    """Operations after which the result is aborted; on an embedded project 1e9 of them count as a second."""
    rsc_memory_bound: float = 5e8
    """Bytes of memory that a result may use."""
    rsc_disk_bound: float = 1e9
    """Bytes of disk that a result may use."""

    def __post_init__(self) -> None:
        for name in (
            "quorum",
            "target_nresults",
            "max_error_results",
            "max_total_results",
            "max_success_results",
        ):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, int) and 1 <= value <= 1000):
                raise errors.UsageError(f"pyboinc_call: {name}={value!r}: must be a whole number from 1 to 1000")
        for name in ("delay_bound", "rsc_fpops_est", "rsc_fpops_bound", "rsc_memory_bound", "rsc_disk_bound"):
            if not getattr(self, name) > 0:
                raise errors.UsageError(f"pyboinc_call: {name}={getattr(self, name)!r}: must be positive")


@dataclass(frozen=True, slots=True)
class Job:
    """One workunit to be."""

    name: str
    xml_doc: str
    options: Options
    """With nothing left open."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Jobs that are committed together; their input files are in place and durable."""

    first: int
    """Number of the first job's call."""
    jobs: Sequence[Job]
    digest: str
    """The running digest after the last of them."""
    template: results.Template | None
    """For the first results, which go with the jobs; None if only BOINC's transitioner can make them."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What a workunit says of its own inputs."""

    job: str
    input_sha256: bytes
    program_sha256: bytes


@dataclass(frozen=True, slots=True)
class _File:
    """A file in the download hierarchy, as a workunit's document names it."""

    name: str
    sha256: bytes
    info: str
    """Its ``<file_info>``."""


_PROGRAM_NAME = re.compile(r"<file_name>pyboinc_program_([0-9a-f]{64})\.zip</file_name>")
_INPUT_NAME = re.compile(r"<file_name>pyboinc_\d+_\d+_([0-9a-f]{64})</file_name>")


def identity(job: str, xml_doc: str) -> Identity:
    """Read from a workunit's document what its outputs must name.

    Raises ValueError for a workunit that is not one of ours.
    """
    program_name = _PROGRAM_NAME.search(xml_doc)
    input_name = _INPUT_NAME.search(xml_doc)
    if program_name is None or input_name is None:
        raise ValueError(f"{job}: not a workunit of pyboinc")
    return Identity(job, bytes.fromhex(input_name[1]), bytes.fromhex(program_name[1]))


class Stager:
    """Puts the files of one project's workunits in place."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._key: keys.PrivateKey | None = None
        self._programs: dict[str, _File] = {}
        self._directories: set[Path] = set()
        self._quorum = 1 if project.embedded else 2
        self._template = None if project.upload_certificates else results.read_template(project)

    async def stage(self, batch: int, first: int, calls: Sequence[Call], digest: str) -> Chunk:
        """Write the input files of *calls*, the first of which has the number *first*; return their jobs.

        *digest* is the running digest after the last of them. The files are durable on return. Raises
        `errors.ProjectError` if the project can't take them.
        """
        return await service.in_thread(self._stage, batch, first, calls, digest)

    async def program_sha256(self, sources: program.Sources) -> bytes:
        """Return the SHA-256 of the program file that *sources* make; it need not be staged."""
        file = self._programs.get(sources.fingerprint)
        return file.sha256 if file else hashlib.sha256(await service.in_thread(self._build, sources)).digest()

    def _stage(self, batch: int, first: int, calls: Sequence[Call], digest: str) -> Chunk:
        try:
            jobs = [self._job(batch, first + offset, call) for offset, call in enumerate(calls)]
            durable.sync(self._project.download_dir)
        except OSError as error:
            raise errors.ProjectError(
                f"download hierarchy of {self._project.root}: {error}; submitting needs write access to it"
            ) from None
        return Chunk(first, jobs, digest, self._template)

    def _job(self, batch: int, number: int, call: Call) -> Job:
        name = f"pyboinc_{batch}_{number}"
        program_file = self._program(call.sources)
        input_file = self._write(f"{name}_{call.input_sha256.hex()}", call.input, call.input_sha256)
        document = (
            f"{program_file.info}{input_file.info}<workunit>\n"
            f"{_file_ref(program_file.name, 'pyboinc_program')}{_file_ref(input_file.name, 'pyboinc_input')}"
            "</workunit>"
        )
        return Job(name, document, self._complete(call.options))

    def _complete(self, options: Options) -> Options:
        if options.quorum is not None and options.target_nresults is not None:
            return options
        quorum = options.quorum or self._quorum
        target = max(options.target_nresults or quorum, quorum)
        values = {name: getattr(options, name) for name in Options.__slots__}
        return Options(
            **{
                **values,
                "quorum": quorum,
                "target_nresults": target,
                "max_total_results": max(options.max_total_results, target),
                "max_success_results": max(options.max_success_results, target),
            }
        )

    def _program(self, sources: program.Sources) -> _File:
        if sources.fingerprint not in self._programs:
            data = self._build(sources)
            digest = hashlib.sha256(data).digest()
            self._programs[sources.fingerprint] = self._write(f"pyboinc_program_{digest.hex()}.zip", data, digest)
        return self._programs[sources.fingerprint]

    def _build(self, sources: program.Sources) -> bytes:
        if self._key is None:
            self._key = keys.load(self._project.key_dir / keys.PROGRAM_PRIVATE)
        return program.build(sources, self._project.master_url, self._key)

    def _write(self, name: str, data: bytes, sha256: bytes) -> _File:
        path = self._project.download_path(name)
        if path.parent not in self._directories:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._directories.add(path.parent)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o664)
        with open(descriptor, "wb", buffering=0) as file:
            file.write(data)
        md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
        info = (
            f"<file_info>\n    <name>{name}</name>\n    <url>{self._project.download_file_url(name)}</url>\n"
            f"    <md5_cksum>{md5}</md5_cksum>\n    <nbytes>{len(data)}</nbytes>\n</file_info>\n"
        )
        return _File(name, sha256, info)


def _file_ref(name: str, open_name: str) -> str:
    return f"<file_ref>\n    <file_name>{name}</file_name>\n    <open_name>{open_name}</open_name>\n</file_ref>\n"
