"""A private MariaDB server: own data directory, own socket, no network; gone at the end."""

from __future__ import annotations

import itertools
import os
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.parse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pymysql
from patience import PATIENCE
from pymysql.constants import CLIENT

__all__ = ["BOINC_SCHEMA", "MariaDB", "find"]

BOINC_SCHEMA = Path(__file__).with_name("boinc_schema.sql")
_OPTIONS = (
    "--skip-networking",
    "--skip-name-resolve",
    "--skip-log-bin",
    "--innodb-buffer-pool-size=64M",
    "--innodb-log-file-size=32M",
    "--max-allowed-packet=16M",
    # Nothing here has to survive a power cut, and a new database for every test has to be cheap.
    "--innodb-flush-log-at-trx-commit=0",
    "--innodb-flush-method=nosync",
    "--skip-innodb-doublewrite",
    "--debug-no-sync",
    "--skip-innodb-file-per-table",
)


def find() -> str | None:
    """Return the path of ``mariadbd``, None if it is not installed."""
    return shutil.which(
        "mariadbd", path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/libexec"))
    )


class MariaDB:
    """A server in a temporary directory; ``close`` stops it and removes that.

    *options* are the server's, by default such that tests are fast.
    """

    def __init__(self, program: str, options: Sequence[str] = _OPTIONS) -> None:
        self._program = program
        self._options = options
        # Not pytest's directory: a socket's path has at most 107 characters.
        self.directory = Path(tempfile.mkdtemp(prefix="mariadb-"))
        self.socket = self.directory / "socket"
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = itertools.count(1)
        # A server that starts removes all temporary tables in its directory for them, those of another server too.
        self._environment = {**os.environ, "TMPDIR": str(self.directory)}
        self._as_root = ["--user=root"] if os.geteuid() == 0 else []
        try:
            self._install()
            self.start()
        except BaseException:
            self.close()
            raise

    def _install(self) -> None:
        process = subprocess.run(
            [
                "mariadb-install-db",
                "--no-defaults",
                f"--datadir={self.directory / 'data'}",
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
                *(option for option in self._options if "innodb" in option or "sync" in option),
                *self._as_root,
            ],
            check=False,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if process.returncode != 0:
            raise RuntimeError(f"mariadb-install-db fails:\n{process.stdout}")

    def start(self) -> None:
        """Start the server, unless it runs, and wait until it answers."""
        if self._process is not None:
            return
        log = self.directory / "log"
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [
                    self._program,
                    "--no-defaults",
                    f"--datadir={self.directory / 'data'}",
                    f"--socket={self.socket}",
                    f"--pid-file={self.directory / 'pid'}",
                    *self._options,
                    *self._as_root,
                ],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        deadline = time.monotonic() + PATIENCE
        while not self._listens():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"mariadbd does not start:\n{log.read_text()}")
            time.sleep(0.02)  # the server has no other way to tell

    def _listens(self) -> bool:
        with socket.socket(socket.AF_UNIX) as client:
            return client.connect_ex(str(self.socket)) == 0

    def stop(self) -> None:
        """Stop the server as its administrator would; return when it is down."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            self._process = None

    def close(self) -> None:
        """End the server for good."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        shutil.rmtree(self.directory, ignore_errors=True)

    def execute(self, sql: str, *, database: str | None = None) -> list[tuple[Any, ...]]:
        """Execute *sql*, several statements if need be, as root; return the rows of the first."""
        connection = pymysql.connect(
            unix_socket=str(self.socket),
            user="root",
            database=database,
            ssl_disabled=True,
            charset="utf8mb4",
            autocommit=True,
            client_flag=CLIENT.MULTI_STATEMENTS,
        )
        with connection, connection.cursor() as cursor:
            cursor.execute(sql)
            rows = list(cursor.fetchall())
            while cursor.nextset():
                pass
            return rows

    def new_database(self, schema: str = "") -> str:
        """Create a database with the tables of *schema*; return its name. It stays until ``close``."""
        name = f"test{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name} CHARACTER SET utf8mb4; USE {name}; {schema}")
        return name

    def url(self, database: str, *, user: str = "root", password: str = "") -> str:
        """Return the URL of *database* for ``connectors.open``."""
        path = urllib.parse.quote(str(self.socket))
        return f"mysql://{user}:{urllib.parse.quote(password, safe='')}@localhost/{database}?unix_socket={path}"
