"""Checks that a project has what a master needs, before anything is submitted to it.

Each function raises `errors.ProjectError` or another `errors.UsageError`, with one line that says what to do.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from aioboinc import errors
from aioboinc.batch import directory as batch_directory
from aioboinc.project import access, config, keys
from aioboinc.store import batches

__all__ = [
    "check_application",
    "check_batch_directory",
    "check_database",
    "check_downloads",
    "check_files",
    "check_homogeneous_redundancy",
]


def check_homogeneous_redundancy(level: int) -> None:
    """Refuse a *level* other than 0, 1 and 2."""
    if isinstance(level, bool) or not isinstance(level, int) or level not in {0, 1, 2}:
        raise errors.ArgumentError(
            f"pyboinc_master: homogeneous_redundancy={level!r}: must be 0 (any hosts), 1 (fine) or 2 (coarse)"
        )


def check_downloads(project: config.Project) -> None:
    """Refuse a project that does not take this user's input files. Blocks."""
    if project.kind is config.Kind.EMBEDDED:
        raise errors.ProjectError(
            f"{project.root} is embedded in a batch directory, and has hosts only while a master runs there: "
            "unset PYBOINC_DIR, or name a served project or a BOINC project"
        )
    directory = project.download_dir
    if not directory.is_dir():
        raise errors.ProjectError(f"{directory}: no such directory; make it, or correct config.xml")
    closed = [path for path in _places(project) if not _is_open(path)]
    if closed:
        more = f" (nor to {len(closed) - 1} more directories there)" if len(closed) > 1 else ""
        raise errors.ProjectError(
            f"{closed[0]}: no write access{more}, which submitting needs; run masters as the project's user"
            f"{_owner(project.root)}, or let that user run: {_grant(project)}"
        )
    owner = access.User.of(project.root.stat().st_uid)
    if owner and os.geteuid() not in {0, owner.uid} and project.fanout and not access.inherits(owner, directory):
        raise errors.ProjectError(
            f"{directory}: {owner.name}, the project's user, could not delete the input files in the directories that "
            f"this master makes there; run masters as {owner.name}, or let {owner.name} run: {_grant(project)}"
        )


def _places(project: config.Project) -> list[Path]:
    """Return the directories for input files that exist."""
    directory = project.download_dir
    fanout = [directory / f"{number:x}" for number in range(project.fanout)]
    return [directory, *(path for path in fanout if os.access(path, os.F_OK))]


def _is_open(directory: Path) -> bool:
    # Asks the system, which knows access lists and read-only file systems. The slash refuses what is no directory.
    return os.access(f"{directory}/", os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids)


def _grant(project: config.Project) -> str:
    """Return the command that lets this user's masters and the project's own daemons share the download hierarchy."""
    user, owner = access.User.of(os.geteuid()), access.User.of(project.root.stat().st_uid)
    me, them = (
        (user.name if user else f"{os.geteuid()}"),
        (owner.name if owner else f"{project.root.stat().st_uid}"),
    )
    return f"setfacl -R -m u:{me}:rwX,d:u:{me}:rwX,d:u:{them}:rwX {project.download_dir}"


def check_database(root: Path, missing: Sequence[str]) -> None:
    """Refuse the project in *root* if its tables are *missing* something, according to `store.schema`."""
    if missing:
        what = " and ".join(filter(None, (", ".join(missing[:-1]), missing[-1])))
        raise errors.ProjectError(
            f"{root}: its database is of an old BOINC: it lacks {what}; upgrade the project's BOINC server, and its "
            f"database by html/ops/upgrade_db.php"
        )


def check_application(
    app: batches.App | None, project: config.Project, *, homogeneous_redundancy: int
) -> batches.App:
    """Return *app*. Refuse one without versions, or with another homogeneous redundancy than the batch asks for."""
    root = project.root
    setup = _setup(project)
    if app is None:
        raise errors.ProjectError(
            f"{root} is not set up: it has no application {config.APP_NAME} in use, or lacks the tables pyboinc_batch "
            f"and pyboinc_calls, which this version of aioboinc needs; "
            f"{setup}"
        )
    if not app.versions:
        raise errors.ProjectError(
            f"{root}: the application {config.APP_NAME} has no version in use, for any platform; {setup}"
        )
    # The hosts of an embedded project are one machine.
    if homogeneous_redundancy not in {0, app.homogeneous_redundancy} and project.kind is not config.Kind.EMBEDDED:
        if project.kind is config.Kind.SERVED:
            raise errors.ProjectError(f"{root}: homogeneous redundancy needs a BOINC project; omit it here")
        raise errors.ProjectError(
            f"{root}: the batch asks for homogeneous redundancy {homogeneous_redundancy}, but the application has "
            f"{app.homogeneous_redundancy}; {setup} --homogeneous-redundancy {homogeneous_redundancy}"
        )
    return app


def check_files(project: config.Project) -> None:
    """Refuse a project whose key or output template this user can't read. Blocks."""
    for path in (project.key_dir / keys.PROGRAM_PRIVATE, project.root / config.OUTPUT_TEMPLATE):
        try:
            os.close(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
        except FileNotFoundError:
            raise errors.ProjectError(f"{path}: not there; {_setup(project)}") from None
        except OSError as error:
            raise errors.ProjectError(
                f"{errors.describe(path, error)}; run masters as the project's user{_owner(project.root)}, or "
                "make it readable for a group that you are in"
            ) from None


def check_batch_directory(project: config.Project, directory: batch_directory.BatchDirectory) -> None:
    """Refuse a batch directory into which the project's assimilator can't publish. Blocks."""
    try:
        str(directory.path).encode()
    except UnicodeEncodeError:
        raise errors.UsageError(
            f"batch directory {directory.path}: its path is not UTF-8, as the project's database requires; "
            "choose another with --batch-dir or batch_dir="
        ) from None
    users = _assimilators(project.root)
    obstacles = [
        (user, obstacle)
        for user in users
        if (obstacle := access.obstacle(user, directory.new) or access.obstacle(user, directory.tmp))
    ]
    if users and len(obstacles) == len(users):
        user, obstacle = obstacles[0]
        if obstacle in {Path(os.path.realpath(path)) for path in (directory.new, directory.tmp)}:
            trouble, remedy = "write to", f"setfacl -R -m u:{user.name}:rwX,d:u:{user.name}:rwX {directory.path}"
        else:
            trouble, remedy = "enter", f"setfacl -m u:{user.name}:x {obstacle}"
        raise errors.UsageError(
            f"batch directory {directory.path}: the project's daemons run as {user.name}, who can't {trouble} "
            f"{obstacle}; run the master as {user.name}, choose another directory with --batch-dir, or give access: "
            f"{remedy}"
        )


def _assimilators(root: Path) -> list[access.User]:
    """Return the users that assimilators run as, or last ran as, as far as can be known."""
    traces = list(root.glob("pid_*/pyboinc_assimilator*.pid")) or [root]
    try:
        users = [access.User.of(uid) for uid in {path.stat().st_uid for path in traces}]
    except FileNotFoundError:
        return []
    return [user for user in users if user] if all(users) else []


def _setup(project: config.Project) -> str:
    command = "serve --project" if project.kind is config.Kind.SERVED else "setup"
    return f"run: python -m aioboinc {command} {project.root}"


def _owner(root: Path) -> str:
    user = access.User.of(root.stat().st_uid)
    return f", {user.name}" if user else ""
