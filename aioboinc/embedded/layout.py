"""The files of an embedded project: what in its directory is ours, and may be removed. Functions block."""

from __future__ import annotations

import os
import re
from pathlib import Path

from aioboinc import errors
from aioboinc.aio import files
from aioboinc.project import config as projects
from aioboinc.project import keys

__all__ = ["DATABASE", "DIRECTORIES", "check", "check_whole", "remove"]

DATABASE = "project.sqlite"
DIRECTORIES = ("download", "upload", "keys", "templates", "slots", "programs", "checkpoints", "log")
"""Directories that exist while it runs."""

_ALL_DIRECTORIES = (*DIRECTORIES, "runtime")
_CONFIG = "config.xml"
_FILES = re.compile(rf"lock|{DATABASE}(-wal|-shm|-journal)?|\.config\.xml\.[0-9a-f]{{8}}")
_HIERARCHIES = ("download", "upload")
_JOB_FILE = re.compile(r"pyboinc_[A-Za-z0-9_.-]+")
_FILES_OF = {
    "keys": re.compile(rf"\.?({keys.PROGRAM_PRIVATE}|{keys.PROGRAM_PUBLIC})(\.new)?"),
    "templates": re.compile(r"pyboinc_out|\.pyboinc_out\.[0-9a-f]{8}"),
    "log": re.compile(r"local_host_\d+\.txt"),
    "slots": re.compile(r"\d+\.lock"),
    "checkpoints": _JOB_FILE,
}
_TREES_OF = {
    "slots": re.compile(r"\d+"),
    "programs": re.compile(r"\d+"),
    "runtime": re.compile(r"[0-9a-f]{16}(\.[0-9a-f]{8})?"),
}
_MARK = re.compile(rb"<master_url>http://[0-9a-f]{16}\.invalid/pyboinc/</master_url>")
_VITAL = (DATABASE, _CONFIG, "download", f"keys/{keys.PROGRAM_PRIVATE}", projects.OUTPUT_TEMPLATE)
"""What can't be made again once a batch has begun."""


def check(root: Path) -> None:
    """Refuse a *root* that is no embedded project, not even a half-made one. Raises `errors.ProjectError`."""
    refusal = errors.ProjectError(f"{root} was not made by aioboinc; move it away, or use another batch directory")
    if not os.path.lexists(root):
        return
    if not root.is_dir():
        raise refusal
    with errors.of_files(root, errors.ProjectError):
        try:
            config = files.read(root / _CONFIG, 1 << 16)
        except FileNotFoundError:
            config = b""
        except files.Obstacle:
            raise refusal from None
        if _MARK.search(config):
            return
        names = {entry.name for entry in root.iterdir()} - {_CONFIG}
        if config.strip(b"\0") or any(not _FILES.fullmatch(name) for name in names - {*_ALL_DIRECTORIES}):
            raise refusal


def check_whole(root: Path) -> None:
    """Refuse a project with a batch that lacks what can't be made again. Raises `errors.CheckpointError`."""
    for name in _VITAL:
        path = root / name
        try:
            is_there = path.is_dir() or path.stat().st_size > 0
        except OSError:
            is_there = False
        if not is_there:
            what = "what is known of the batch with it" if name == DATABASE else "the batch can't go on without"
            raise errors.CheckpointError(
                f"{path} is gone or empty, and {what}: put it back, or start anew with --fresh; the outputs so far "
                f"are in {root.parent / 'old'} and {root.parent / 'new'}, keep a copy if you need them"
            )


def remove(root: Path) -> None:
    """Remove an embedded project; other people's files in it stay, and so do the directories around them.

    Raises `errors.ProjectError`.
    """
    check(root)
    with errors.of_files(root, errors.ProjectError):
        files.remove_matching(root, _FILES)
        for name in _HIERARCHIES:
            for folder in _directories(root / name, re.compile(r"[0-9a-f]{1,3}")):
                files.remove_matching(folder, _JOB_FILE)
                files.remove_empty([folder])
        for name, pattern in _FILES_OF.items():
            files.remove_matching(root / name, pattern)
        for name, pattern in _TREES_OF.items():
            for folder in _directories(root / name, pattern):
                files.remove_tree(folder)
        files.remove_empty(root / name for name in _ALL_DIRECTORIES)
        files.remove(root / _CONFIG)  # last, because it identifies the project
        files.remove_empty([root])


def _directories(folder: Path, pattern: re.Pattern[str]) -> list[Path]:
    if not folder.is_dir():
        return []
    return [path for path in folder.iterdir() if pattern.fullmatch(path.name) and path.is_dir()]
