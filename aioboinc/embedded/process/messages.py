"""What a local host's process and the project say to each other, a line of JSON each."""

from __future__ import annotations

from typing import TypedDict

from aioboinc.slave_runtime import slot

__all__ = ["CHECKPOINTS", "Configuration", "Job", "Report", "stderr_out"]


CHECKPOINTS = {slot.CHECKPOINT: "", slot.CALLS: ".calls"}
"""The files in a slot from which a job goes on, and how the names of the kept ones end."""


class Configuration(TypedDict):
    """What the process is told once, as its argument."""

    socket: int
    """Descriptor of its end of the connection."""
    slot: str
    """Path of the slot directory; other paths are absolute, too."""
    lock: str
    """Path of the file that is there as long as a process has the slot directory."""
    programs: str
    """Path of the directory to unpack programs in."""
    key: str
    """Path of the file with the public key that programs are checked with."""
    project_dir: str
    """Path of the project's root directory."""
    upload_url: str
    version: str
    """What to report as the client's version."""


class Job(TypedDict):
    """A result to execute."""

    name: str
    """Name of the result."""
    workunit: str
    """Name of the workunit."""
    hostid: int
    program: str
    """Path of the program."""
    links: dict[str, str]
    """Paths of the files in the slot directory's soft links, by their open names."""
    input: str | None
    """The input, in base64, if it is no file."""
    output: str
    """Path of the output file to be."""
    max_nbytes: float
    """Size of the output file at most."""
    elapsed_bound: float
    """Seconds that it may take."""
    memory_bound: float
    """Bytes of memory that it may use."""
    disk_bound: float
    """Bytes that it may have in the slot directory."""
    fpops_est: float
    fpops_bound: float
    checkpoint: str | None
    """Path of a checkpoint from which it goes on; with .calls behind it that of the finished calls."""


class Report(TypedDict):
    """What became of a job: the fields of `store.reports.Report`."""

    name: str
    client_state: int
    exit_status: int
    cpu_time: float
    elapsed_time: float
    xml_doc_out: str
    stderr_out: str
    peak_working_set_size: float
    peak_disk_usage: float


def stderr_out(version: str, message: str, stderr: str) -> str:
    """Return what a client reports of an execution: its own *message*, and what the slave wrote to *stderr*."""
    stderr = stderr.replace("]]>", "]]&gt;")
    parts = [f"<message>\n{message}</message>\n" if message else ""]
    parts.append(f"<stderr_txt>\n{stderr}\n</stderr_txt>\n" if stderr else "")
    return f"<core_client_version>{version}</core_client_version>\n<![CDATA[\n{''.join(parts)}]]>\n"
