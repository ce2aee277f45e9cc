"""Results as local hosts get them: from the documents in the database to the files on this machine."""

from __future__ import annotations

import re
from pathlib import Path

from aioboinc import project as projects
from aioboinc.embedded.local_host_messages import Job
from aioboinc.store import scheduling

__all__ = ["FLOPS", "job"]

FLOPS = 1e9
"""Floating-point operations that a local host does in a second, as far as bounds in operations go."""

_FILE_REF = re.compile(r"<file_ref>\s*<file_name>([^<]*)</file_name>\s*<open_name>([^<]*)</open_name>")
_MAX_NBYTES = re.compile(r"<max_nbytes>\s*([0-9.eE+]+)\s*</max_nbytes>")
_INPUT = re.compile(r"--input-base64[\s=]+([A-Za-z0-9+/=]+)")


def job(
    assignment: scheduling.Assignment, hostid: int, project: projects.Project, checkpoint: Path | None = None
) -> Job:
    """Return what the process of the host *hostid* is told of a result; it goes on from *checkpoint*.

    Raises ValueError for a workunit that is not one of ours.
    """
    inputs = {open_name: name for name, open_name in _FILE_REF.findall(assignment.xml_doc)}
    outputs = {open_name: name for name, open_name in _FILE_REF.findall(assignment.xml_doc_in)}
    inline = _INPUT.search(assignment.xml_doc)
    if "pyboinc_program" not in inputs or list(outputs) != ["pyboinc_output"]:
        raise ValueError(f"{assignment.name}: not a result of pyboinc")
    links = {open_name: _path(project.download_dir, name, project) for open_name, name in inputs.items()}
    output = _path(project.upload_dir, outputs["pyboinc_output"], project)
    limit = _MAX_NBYTES.search(assignment.xml_doc_in)
    return {
        "name": assignment.name,
        "workunit": assignment.workunit_name,
        "hostid": hostid,
        "program": links["pyboinc_program"],
        "links": {**links, "pyboinc_output": output},
        "input": inline[1] if inline else None,
        "output": output,
        "max_nbytes": float(limit[1]) if limit else float("inf"),
        "elapsed_bound": assignment.rsc_fpops_bound / FLOPS,
        "memory_bound": assignment.rsc_memory_bound,
        "disk_bound": assignment.rsc_disk_bound,
        "fpops_est": assignment.rsc_fpops_est,
        "fpops_bound": assignment.rsc_fpops_bound,
        "checkpoint": None if checkpoint is None else str(checkpoint),
    }


def _path(directory: Path, name: str, project: projects.Project) -> str:
    return f"{directory}/{projects.fanout_directory(name, project.fanout)}/{name}"
