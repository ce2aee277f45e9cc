"""A project: its config.xml, and where its things are.

All kinds have the same file: a BOINC project's was written by its ``make_project``; ours name the database in
``<database_url>``.
"""

from __future__ import annotations

import enum
import hashlib
import os
import urllib.parse
import xml.etree.ElementTree
from dataclasses import dataclass
from pathlib import Path

from aioboinc import errors

__all__ = ["APP_NAME", "FRIENDLY_NAME", "OUTPUT_TEMPLATE", "Kind", "Project", "fanout_directory", "read"]

APP_NAME = "pyboinc"
FRIENDLY_NAME = "Python programs (pyboinc)"
OUTPUT_TEMPLATE = "templates/pyboinc_out"
_MYSQL_SOCKETS = ("/run/mysqld/mysqld.sock", "/var/lib/mysql/mysql.sock", "/tmp/mysql.sock")


class Kind(enum.Enum):
    """Where a project lives, and who its hosts are."""

    EMBEDDED = "embedded"
    """In a batch directory; its hosts are this machine's cores."""
    SERVED = "served"
    """Made by ``aioboinc serve``, which other machines' clients attach to."""
    BOINC = "BOINC"
    """Made by BOINC's ``make_project``, with BOINC's own server."""


@dataclass(frozen=True)
class Project:
    """A project's configuration, validated."""

    root: Path
    """The project's root directory, absolute."""
    name: str
    """The project's name for people."""
    master_url: str
    """The URL that identifies the project; ends with a slash."""
    download_url: str
    """URL of the download hierarchy, without a slash at the end."""
    upload_url: str
    """URL of the file upload handler."""
    download_dir: Path
    upload_dir: Path
    key_dir: Path
    fanout: int
    """Number of subdirectories in the two hierarchies (``uldl_dir_fanout``); 0 means none."""
    database_url: str
    """For ``connectors.open``."""
    kind: Kind
    upload_certificates: bool
    """Whether results need a signed upload certificate, which only BOINC's transitioner makes."""
    delete_delay: int = 0
    """Seconds to keep files after the last result has come back (``delete_delay_hours``)."""

    def download_path(self, name: str) -> str:
        """Return the path of the input file *name* in the download hierarchy; as text, because a Path is slow."""
        return f"{self.download_dir}/{fanout_directory(name, self.fanout)}/{name}"

    def download_file_url(self, name: str) -> str:
        """Return the URL from which hosts get the input file *name*."""
        return "/".join(filter(None, (self.download_url, fanout_directory(name, self.fanout), name)))

    def upload_path(self, name: str) -> str:
        """Return the path of the output file *name* in the upload hierarchy; as text, too."""
        return f"{self.upload_dir}/{fanout_directory(name, self.fanout)}/{name}"


def fanout_directory(name: str, fanout: int) -> str:
    """Return the subdirectory of a hierarchy that holds the file *name*; empty if *fanout* is 0.

    This is ``filename_hash`` of BOINC's ``sched/sched_util_basic.cpp``.
    """
    if not fanout:
        return ""
    digest = hashlib.md5(name.encode(), usedforsecurity=False).digest()
    return f"{(int.from_bytes(digest[:4]) & 0xFFFFFFF) % fanout:x}"


def read(root: Path | str) -> Project:
    """Read the configuration of the project in the directory *root*.

    Raises `errors.ProjectError` when there is no such directory, no config.xml, or one that lacks something.
    """
    root = Path(os.path.abspath(root))
    path = root / "config.xml"
    if not root.is_dir():
        raise errors.ProjectError(f"{root}: no such project directory")
    try:
        document = xml.etree.ElementTree.parse(path)
    except FileNotFoundError:
        raise errors.ProjectError(f"{root} is not a project: it has no config.xml") from None
    except OSError as error:
        raise errors.ProjectError(errors.describe(path, error)) from None
    except xml.etree.ElementTree.ParseError as error:
        raise errors.ProjectError(f"{path}: not well-formed: {error}") from None
    config = document.find("config")
    if config is None:
        raise errors.ProjectError(f"{path}: has no <config> element")
    values = {element.tag: (element.text or "").strip() for element in config}
    try:
        return _project(root, values)
    except KeyError as missing:
        raise errors.ProjectError(f"{path}: <config> lacks <{missing.args[0]}>") from None
    except ValueError as error:
        raise errors.ProjectError(f"{path}: {error}") from None


def _project(root: Path, values: dict[str, str]) -> Project:
    master_url = values["master_url"]
    return Project(
        root=root,
        name=values.get("long_name") or root.name,
        master_url=master_url if master_url.endswith("/") else master_url + "/",
        download_url=values["download_url"].rstrip("/"),
        upload_url=values["upload_url"],
        download_dir=root / values["download_dir"],
        upload_dir=root / values["upload_dir"],
        key_dir=root / values["key_dir"],
        fanout=_fanout(values.get("uldl_dir_fanout", "0")),
        database_url=_database_url(root, values),
        kind=_kind(values),
        upload_certificates=not _flag(values, "dont_generate_upload_certificates"),
        delete_delay=int(float(values.get("delete_delay_hours") or 0) * 3600),
    )


def _kind(values: dict[str, str]) -> Kind:
    if _flag(values, "served"):
        return Kind.SERVED
    return Kind.EMBEDDED if "database_url" in values else Kind.BOINC


def _fanout(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise ValueError(f"<uldl_dir_fanout> is {text!r}: give a number, 1024 as new projects have it")
    return int(text)


def _flag(values: dict[str, str], name: str) -> bool:
    """Read a boolean as BOINC's XML parser does: ``<name/>`` and any number but 0 are true."""
    return name in values and values[name] not in {"0"}


def _database_url(root: Path, values: dict[str, str]) -> str:
    if "database_url" in values:
        url = values["database_url"]
        if url.startswith("sqlite:") and not url.startswith("sqlite:///"):
            return f"sqlite:///{root / url.removeprefix('sqlite:')}"
        return url
    host, _, port = values.get("db_host", "").partition(":")
    user = urllib.parse.quote(values["db_user"], safe="")
    password = urllib.parse.quote(values.get("db_passwd", ""), safe="")
    query = ""
    if host in {"", "localhost"}:
        # Then MySQL's client library uses the socket, whatever the port.
        sockets = (os.environ.get("MYSQL_UNIX_PORT", ""), *_MYSQL_SOCKETS)
        socket = next((path for path in sockets if path and os.path.exists(path)), "")
        host = "localhost"
        query = f"?unix_socket={urllib.parse.quote(socket, safe='/')}" if socket else ""
    return f"mysql://{user}:{password}@{host}:{port or 3306}/{values['db_name']}{query}"
