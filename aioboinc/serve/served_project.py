"""Makes the files of a served project.

The directory is laid out like a BOINC project's, so masters find everything by config.xml. Each step can be repeated:
it finishes what was begun, or finds it done.
"""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path

from aioboinc import connectors, errors, printable
from aioboinc.aio import durable, threads
from aioboinc.project import config as projects
from aioboinc.project import templates
from aioboinc.serve import key_files, listening, settings
from aioboinc.wire import documents

__all__ = ["check", "create"]

_CONFIG = """\
<?xml version="1.0" ?>
<boinc>
    <config>
        <!-- The project's name for people. -->
        <long_name>{name}</long_name>
        <!-- Hosts identify the project by this URL, and store it: it can't be changed. -->
        <master_url>{url}</master_url>
        <download_url>{url}download</download_url>
        <upload_url>{url}file_upload_handler</upload_url>
        <listen>{listen}</listen>
        <database_url>{database}</database_url>
        <served>1</served>
        <!-- 1: anybody who reaches the server may make an account, as with the option open-accounts. -->
        <open_accounts>0</open_accounts>
        <min_passwd_length>6</min_passwd_length>
        <!-- 1: a job's results go to different accounts, not just to different hosts. -->
        <one_result_per_user_per_wu>0</one_result_per_user_per_wu>
        <!-- Seconds between two requests of a host. -->
        <min_sendwork_interval>6</min_sendwork_interval>
        <!-- Seconds after which an idle host asks again; 0: depends on the number of hosts. -->
        <next_rpc_delay>0</next_rpc_delay>
        <!-- Maximum of results that a host gets at a time, has at a time, and gets in a day, for each core. -->
        <max_wus_to_send>50</max_wus_to_send>
        <max_wus_in_progress>100</max_wus_in_progress>
        <daily_result_quota>100000</daily_result_quota>
        <!-- Cores of a host that count for these limits. -->
        <max_ncpus>64</max_ncpus>
        <uldl_dir_fanout>1024</uldl_dir_fanout>
        <dont_generate_upload_certificates>1</dont_generate_upload_certificates>
        <ignore_upload_certificates>1</ignore_upload_certificates>
        <download_dir>download</download_dir>
        <upload_dir>upload</upload_dir>
        <key_dir>keys</key_dir>
        <app_dir>apps</app_dir>
        <log_dir>log</log_dir>
    </config>
    <tasks>
    </tasks>
    <daemons>
    </daemons>
</boinc>
"""
_DIRECTORIES = {"download": 0o755, "upload": 0o770, "keys": 0o700, "templates": 0o755, "log": 0o755}
_SQLITE = "project.sqlite"
_MAX_PATH = 500
"""Maximum bytes of the database's path in SQLite."""


async def check(root: Path, *, listen: str | None, url: str | None, database: str | None) -> None:
    """Check that a project can be made in *root* and served, before it is.

    Raises `errors.UsageError`.
    """
    if (root / "config.xml").exists():
        return
    address = listening.Address.parse(listen or listening.DEFAULT)
    listening.master_url(address, url)
    await threads.in_thread(_check_place, root, database)
    try:
        socket.create_server((address.host, address.port), family=address.family).close()
    except OSError as error:
        raise errors.UsageError(f"--listen {address}: {error.strerror or error}") from None
    if database is not None:
        async with connectors.open(database):
            pass


def _check_place(root: Path, database: str | None) -> None:
    """Refuse a directory in which somebody else's files have our names. Raises `errors.ProjectError`.

    An interrupted run leaves only empty directories, keys and the template there.
    """
    refusal = "is there already, and was not made by aioboinc: give --project another directory"
    length = len(os.fsencode(os.path.realpath(root / _SQLITE)))
    if database is None and length > _MAX_PATH:
        raise errors.ProjectError(
            f"{root / _SQLITE}: a path of {length} bytes, and SQLite takes {_MAX_PATH} at most: give --project another "
            "directory, or --database"
        )
    with errors.of_files(root, errors.ProjectError):
        if os.path.lexists(root) and not root.is_dir():
            raise errors.ProjectError(f"{root}: not a directory; give --project another one")
        for name in _DIRECTORIES:
            path = root / name
            if os.path.lexists(path) and (
                not path.is_dir() or any(not _is_first(entry) for entry in path.iterdir())
            ):
                raise errors.ProjectError(f"{path} {refusal}")
        for name in (_SQLITE, key_files.ACCOUNT_KEY):
            if os.path.lexists(root / name) and (root / name).lstat().st_size:
                raise errors.ProjectError(f"{root / name} {refusal}")


def _is_first(path: Path) -> bool:
    return str(path).endswith((projects.OUTPUT_TEMPLATE, f"/.{Path(projects.OUTPUT_TEMPLATE).name}.new"))


def create(root: Path, *, listen: str | None, url: str | None, database: str | None) -> projects.Project:
    """Return the project in *root*, which is made if it isn't there. Blocks.

    Raises `errors.UsageError` if it is there with another URL or database, or if hosts don't accept the URL.
    """
    root = Path(os.path.abspath(root))
    if not (root / "config.xml").exists():
        address = listening.Address.parse(listen or listening.DEFAULT)
        master_url = listening.master_url(address, url)
        try:
            _make_files(root, str(address), master_url, database or f"sqlite:{_SQLITE}")
        except OSError as error:
            raise errors.ProjectError(f"the project can't be made: {errors.describe(root, error)}") from None
    project = projects.read(root)
    if "served" not in settings.elements(root):
        raise errors.ProjectError(f"{root} is a project of another kind: give --project another directory")
    if url is not None and listening.checked_url(url) != project.master_url:
        raise errors.ProjectError(
            f"{root} has the URL {project.master_url}, and its hosts know it by that; omit --url, or give "
            "--project another directory"
        )
    if database is not None and database != project.database_url:
        raise errors.ProjectError(f"{root} has another database; omit --database")
    return project


def _make_files(root: Path, listen: str, url: str, database: str) -> None:
    # It has accounts' keys: only for the owner.
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name, mode in _DIRECTORIES.items():
        with contextlib.suppress(FileExistsError):
            (root / name).mkdir(mode)
            (root / name).chmod(mode)
    (root / _SQLITE).touch(0o600)
    durable.place(root / templates.OUTPUT, templates.OUTPUT_TEXT.encode())
    text = _CONFIG.format(
        name=documents.escape(printable.line(root.name)),
        url=documents.escape(url),
        listen=documents.escape(listen),
        database=documents.escape(database),
    )
    # The database's URL contains its password.
    durable.place(root / "config.xml", text.encode(), 0o600 if "@" in database else 0o644)
    durable.sync(root)
