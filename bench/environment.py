"""The environment of measurements: fresh directories, a private MariaDB, projects in both databases."""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import platform
import socket
import sqlite3
import sys
import tempfile
import urllib.parse
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pymysql

from aioboinc import connectors, errors, sql, store
from aioboinc.batch import directory as batch_directory
from aioboinc.batch import ledger
from aioboinc.project import config, keys, templates
from aioboinc.store import batches

# The server is that of the tests, with other options.
sys.path.append(str(Path(__file__).parents[1] / "tests"))

from database import insertion, mariadb

__all__ = ["Environment", "Opened", "Place", "Settings", "connect", "machine"]

_USER, _PASSWORD = "bench", "bench"
_FANOUT = 1024
"""Directories of a hierarchy, as in ``make_project``; never more than jobs."""

_CONFIG = """\
<?xml version="1.0" ?>
<boinc>
    <config>
        <long_name>Benchmark</long_name>
        {database}
        <shmem_key>0x1111beec</shmem_key>
        <uldl_dir_fanout>{fanout}</uldl_dir_fanout>
        <dont_generate_upload_certificates>1</dont_generate_upload_certificates>
        <ignore_upload_certificates>1</ignore_upload_certificates>
        <master_url>http://127.0.0.1/bench/</master_url>
        <download_url>http://127.0.0.1/bench/download</download_url>
        <upload_url>http://127.0.0.1/bench_cgi/file_upload_handler</upload_url>
        <download_dir>{root}/download</download_dir>
        <upload_dir>{root}/upload</upload_dir>
        <key_dir>{root}/keys</key_dir>
        <app_dir>{root}/apps</app_dir>
        <log_dir>{root}/log</log_dir>
    </config>
    <tasks>
    </tasks>
    <daemons>
    </daemons>
</boinc>
"""
_SLAVE = "pyboinc_return_output(pyboinc_get_input())\n"


@dataclass(frozen=True)
class Settings:
    """What was asked for on the command line."""

    jobs: int
    database: str
    """sqlite or mariadb."""
    rounds: int
    beside: Path | None
    """A BOINC project whose tools are measured too."""
    directory: Path | None = None
    """Where to make the directories, which are then kept; None: temporary ones."""
    older: Path | None = None
    """A checkout of an older version, whose restart is measured too."""


@dataclass(frozen=True)
class Place:
    """A fresh project, with a batch directory and a slave."""

    project: config.Project
    batch_dir: Path

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator[Opened]:
        """Connect to its database."""
        async with connectors.open(self.project.database_url) as connector:
            data = store.Store(connector)
            app = await data.batches.app(config.APP_NAME)
            assert app is not None
            batch = await data.batches.find_or_create(
                "0" * 32, appid=app.id, name="bench", directory=str(self.batch_dir), version=ledger.VERSION
            )
            yield Opened(connector, data, app, batch)


@dataclass(frozen=True)
class Opened:
    """A project's database, and the batch in it."""

    connector: connectors.Connector
    store: store.Store
    app: batches.App
    batch: batches.Progress


class Environment:
    """The directory for everything; it is removed only at the end, because ext4 is slow after a mass deletion."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._stack = contextlib.ExitStack()
        self._numbers = itertools.count(1)

    def __enter__(self) -> Environment:
        if self.settings.directory is None:
            temporary = tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True)
            self.directory = Path(self._stack.enter_context(temporary))
        else:
            self.directory = Path(tempfile.mkdtemp(prefix="bench-", dir=self.settings.directory))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def new_directory(self) -> Path:
        """Return a new, empty directory."""
        path = self.directory / str(next(self._numbers))
        path.mkdir()
        return path

    async def new_place(self) -> Place:
        """Make a project in the chosen database, with the application and one host."""
        directory = self.new_directory()
        root = directory / "project"
        for name in ("download", "upload", "keys", "apps", "log", "templates", "cgi-bin"):
            (root / name).mkdir(parents=True)
        fanout = min(_FANOUT, self.settings.jobs)
        for tree in (root / "download", root / "upload"):
            for number in range(fanout):
                (tree / f"{number:x}").mkdir()
        if self.settings.database == "sqlite":
            database = "<database_url>sqlite:project.sqlite</database_url>\n        <served/>"
        else:
            name = self.new_database()
            database = (
                f"<db_user>{_USER}</db_user>\n        <db_name>{name}</db_name>\n"
                f"        <db_passwd>{_PASSWORD}</db_passwd>\n"
                f"        <db_host>127.0.0.1:{self.server.port}</db_host>"
            )
        (root / "config.xml").write_text(_CONFIG.format(root=root, database=database, fanout=fanout))
        (root / templates.OUTPUT).write_text(templates.OUTPUT_TEXT)
        for path, content in self._keys.items():
            (root / "keys" / path).write_bytes(content)
        batch = batch_directory.BatchDirectory(directory / "batch")
        batch.path.mkdir()
        batch.create()
        (batch.path / "slave.py").write_text(_SLAVE)
        place = Place(config.read(root), batch.path)
        async with connectors.open(place.project.database_url) as connector:
            await connector.script(sql.schema(connector.dialect))
            await connector.run(_populate)
        return place

    def new_database(self) -> str:
        """Make a database with BOINC's tables; return its name."""
        name = self.server.server.new_database(self._schema)
        self.server.server.execute(f"GRANT ALL ON {name}.* TO {_USER}@'127.0.0.1'")
        return name

    @functools.cached_property
    def server(self) -> Server:
        """A private MariaDB."""
        return self._stack.enter_context(Server())

    @functools.cached_property
    def _keys(self) -> Mapping[str, bytes]:
        directory = self.new_directory()
        keys.create(directory / keys.PROGRAM_PRIVATE, directory / keys.PROGRAM_PUBLIC)
        paths = list(directory.iterdir())
        if self.settings.beside is not None:
            paths.append(config.read(self.settings.beside).key_dir / "upload_private")
        return {path.name: path.read_bytes() for path in paths}

    @functools.cached_property
    def _schema(self) -> str:
        """Return the tables of the BOINC project beside, or the relevant ones of a current project."""
        if self.settings.beside is None:
            return mariadb.BOINC_SCHEMA.read_text()
        return _read_schema(self.settings.beside)


class Server:
    """A private MariaDB with its (durable) defaults, on a port of 127.0.0.1."""

    def __init__(self) -> None:
        program = mariadb.find()
        if program is None:
            raise errors.UsageError(
                "mariadbd is missing: install it (Debian: mariadb-server), or use --database sqlite"
            )
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        self.server = mariadb.MariaDB(
            program, (f"--port={self.port}", "--bind-address=127.0.0.1", "--skip-name-resolve")
        )
        self.server.execute(f"CREATE USER {_USER}@'127.0.0.1' IDENTIFIED BY '{_PASSWORD}'")

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.server.close()

    def version(self) -> str:
        """Return the server's version."""
        return str(self.server.execute("SELECT VERSION()")[0][0])


async def _populate(tx: connectors.Transaction) -> None:
    """Insert what a project has before the first job: the application, its version, an account, a host."""
    now = 1_800_000_000
    await insertion.insert(tx, "app", id=1, create_time=now, name=config.APP_NAME, user_friendly_name="PyBOINC")
    await insertion.insert(
        tx, "platform", id=1, create_time=now, name="x86_64-pc-linux-gnu", user_friendly_name="Linux"
    )
    await insertion.insert(
        tx, "app_version", id=1, create_time=now, appid=1, platformid=1, version_num=100, xml_doc=b"<app_version/>"
    )
    await insertion.insert(
        tx, "user", id=1, create_time=now, email_addr="a@example.org", name="a", authenticator="a"
    )
    await insertion.insert(tx, "host", id=1, create_time=now, userid=1, p_fpops=1e9)
    await insertion.insert(tx, "host_app_version", host_id=1, app_version_id=1)


def _read_schema(root: Path) -> str:
    """Return the statements that make the tables of the project in *root*."""
    with connect(config.read(root)) as connection, connection.cursor() as cursor:
        cursor.execute("SHOW TABLES")
        tables = [name for (name,) in cursor.fetchall()]
        statements = ["SET FOREIGN_KEY_CHECKS = 0"]
        for name in tables:
            if name != "pyboinc_batch":
                cursor.execute(f"SHOW CREATE TABLE `{name}`")
                statements.append(cursor.fetchone()[1])
    return "; ".join(statements)


def connect(project: config.Project) -> Any:
    """Return a plain connection of the driver's to the MySQL database of *project*."""
    url = urllib.parse.urlsplit(project.database_url)
    return pymysql.connect(
        host=url.hostname,
        port=url.port or 3306,
        user=urllib.parse.unquote(url.username or ""),
        password=urllib.parse.unquote(url.password or ""),
        database=url.path.lstrip("/"),
        unix_socket=dict(urllib.parse.parse_qsl(url.query)).get("unix_socket"),
        local_infile=True,
        ssl_disabled=True,
        charset="utf8mb4",
    )


def machine(environment: Environment) -> dict[str, str]:
    """Describe the machine that it is measured on."""
    database = (
        f"SQLite {sqlite3.sqlite_version}"
        if environment.settings.database == "sqlite"
        else f"MariaDB {environment.server.version()}, its defaults"
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "processor": f"{len(os.sched_getaffinity(0))} cores of {_processor()}",
        "memory": f"{memory:.0f} GiB",
        "file system": _file_system(environment.directory),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "database": database,
        "load at the start": f"{os.getloadavg()[0]:.1f}",
    }


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _file_system(path: Path) -> str:
    """Return the type of the file system that *path* is on."""
    best, kind = "", "unknown"
    for mount, name in _mounts():
        if os.path.commonpath([mount, path]) == mount and len(mount) > len(best):
            best, kind = mount, name
    return kind


def _mounts() -> Iterator[tuple[str, str]]:
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/mounts").read_text().splitlines():
            _, mount, kind, *_ = line.split(" ")
            yield mount, kind
