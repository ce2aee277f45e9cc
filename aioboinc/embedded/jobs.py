"""Results as local hosts get them: made from the documents in the database, with paths on this machine."""

from __future__ import annotations

from pathlib import Path

from aioboinc.embedded.process.messages import Job
from aioboinc.project import config
from aioboinc.store import dispatch
from aioboinc.wire import documents

__all__ = ["FLOPS", "job"]

FLOPS = 1e9
"""Floating-point operations a second that a local host counts as, for bounds in operations."""


def job(
    assignment: dispatch.Assignment, hostid: int, project: config.Project, checkpoint: Path | None = None
) -> Job:
    """Return a result as the process of the host *hostid* gets it; it resumes from *checkpoint*.

    Raises ValueError for a workunit that is not one of ours.
    """
    inputs = documents.links(assignment.xml_doc)
    outputs = documents.links(assignment.xml_doc_in)
    if documents.PROGRAM not in inputs or list(outputs) != [documents.OUTPUT]:
        raise ValueError(f"{assignment.name}: not a result of pyboinc")
    links = {open_name: project.download_path(name) for open_name, name in inputs.items()}
    output = project.upload_path(outputs[documents.OUTPUT])
    limits = [file.max_nbytes for file in documents.files(assignment.xml_doc_in)]
    return {
        "name": assignment.name,
        "workunit": assignment.workunit_name,
        "hostid": hostid,
        "program": links[documents.PROGRAM],
        "links": {**links, documents.OUTPUT: output},
        "input": documents.inline_input(assignment.xml_doc),
        "output": output,
        "max_nbytes": min(limits, default=float("inf")),
        "elapsed_bound": assignment.rsc_fpops_bound / FLOPS,
        "memory_bound": assignment.rsc_memory_bound,
        "disk_bound": assignment.rsc_disk_bound,
        "fpops_est": assignment.rsc_fpops_est,
        "fpops_bound": assignment.rsc_fpops_bound,
        "checkpoint": None if checkpoint is None else str(checkpoint),
    }
