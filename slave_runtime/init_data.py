"""What the client tells the application in ``init_data.xml``.

The client prints paths and names into that file without escaping them, so it is not always XML. BOINC's own
library scans it for tags, and so do we.
"""

from __future__ import annotations

import dataclasses
import html
import os
import re
import sys
from typing import Callable, Dict, Optional, TypeVar

__all__ = ["InitData", "parse", "read"]

_T = TypeVar("_T")

# Sections with tags of their own, and free text of the project in the first one.
_SECTIONS = ("project_preferences", "host_info", "proxy_info", "global_preferences")
_ELEMENT = re.compile(rb"<([a-z_]+)>([^\r\n]*?)</\1>")


@dataclasses.dataclass(frozen=True)
class InitData:
    """The parts of the file that the runtime uses; defaults are those of BOINC's library."""

    wu_name: str = ""
    """Name of the workunit."""
    result_name: str = ""
    """Name of the result."""
    project_dir: str = ""
    """Directory of the project's files, as an absolute path."""
    slot: int = 0
    """Number of the slot."""
    client_pid: int = 0
    """Process id of the client, 0 if it is not known."""
    shm_key: int = 0
    """System V key of the channels; -1: they are in ``boinc_mmap_file`` (not on Windows)."""
    comm_obj_name: str = ""
    """Name of the shared memory with the channels (Windows)."""
    wu_cpu_time: float = 0.0
    """CPU seconds up to the last checkpoint of earlier episodes."""
    fraction_done_start: float = 0.0
    """Fraction of the whole at which this application starts."""
    fraction_done_end: float = 1.0
    """Fraction of the whole at which this application ends."""
    checkpoint_period: float = 300.0
    """Seconds between checkpoints that the user asks for."""
    ncpus: float = 1.0
    """CPUs that the client has set aside for the job."""


def read(path: str) -> Optional[InitData]:
    """Return what the file *path* says, None where there is none: the runtime was started by hand."""
    try:
        with open(path, "rb") as file:
            data = file.read()
    except FileNotFoundError:
        return None
    return parse(data)


def parse(data: bytes) -> InitData:
    """Return what *data* says. What is missing or is no number keeps its default."""
    data = data.replace(b"<app_init_data>", b"")
    for section in _SECTIONS:
        data = re.sub(b"(?s)<%b>.*</%b>" % (section.encode(), section.encode()), b"", data)
    elements: Dict[str, str] = {}
    for name, value in _ELEMENT.findall(data):
        elements.setdefault(name.decode("ascii"), _text(value))
    default = InitData()

    def number(name: str, kind: Callable[[str], _T], otherwise: _T) -> _T:
        try:
            return kind(elements[name])
        except (KeyError, ValueError):
            return otherwise

    return InitData(
        wu_name=elements.get("wu_name", ""),
        result_name=elements.get("result_name", ""),
        project_dir=elements.get("project_dir", ""),
        slot=number("slot", int, default.slot),
        client_pid=number("client_pid", int, default.client_pid),
        shm_key=number("shm_key", int, default.shm_key),
        comm_obj_name=elements.get("comm_obj_name", ""),
        wu_cpu_time=number("wu_cpu_time", float, default.wu_cpu_time),
        fraction_done_start=number("fraction_done_start", float, default.fraction_done_start),
        fraction_done_end=number("fraction_done_end", float, default.fraction_done_end),
        checkpoint_period=number("checkpoint_period", float, default.checkpoint_period),
        ncpus=number("ncpus", float, default.ncpus),
    )


def _text(value: bytes) -> str:
    if sys.platform == "win32":
        try:
            text = value.decode("utf-8")
        except UnicodeDecodeError:
            text = value.decode("mbcs", "replace")
    else:
        text = os.fsdecode(value)
    return html.unescape(text.strip())
