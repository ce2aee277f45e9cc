"""A project's directory, the least that it has, and a database with BOINC's tables: for setup."""

from __future__ import annotations

import functools
import subprocess
import sys
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from aioboinc.project import keys
from aioboinc.setup import daemons, steps, undo
from database import mariadb as mariadb_module

__all__ = ["World", "command", "make", "prepare"]

CONFIG = """<?xml version="1.0" ?>
<boinc>
    <config>
        <long_name>Test Project</long_name>
        <db_user>root</db_user>
        <db_name>{database}</db_name>
        <db_passwd></db_passwd>
        <db_host></db_host>
        <uldl_dir_fanout>1024</uldl_dir_fanout>
        <one_result_per_host_per_wu>1</one_result_per_host_per_wu>
        <dont_generate_upload_certificates>1</dont_generate_upload_certificates>
        <master_url>http://127.0.0.1/test/</master_url>
        <download_url>http://127.0.0.1/test/download</download_url>
        <upload_url>http://127.0.0.1/test_cgi/file_upload_handler</upload_url>
        <download_dir>{root}/download</download_dir>
        <upload_dir>{root}/upload</upload_dir>
        <key_dir>{root}/keys/</key_dir>
    </config>
    <!-- edited by hand -->
    <daemons>
        <daemon>
            <cmd>feeder -d 3 </cmd>
        </daemon>
    </daemons>
</boinc>
"""
PROJECT = """<boinc>
    <platform>
        <name>x86_64-pc-linux-gnu</name>
        <user_friendly_name>Linux</user_friendly_name>
    </platform>
</boinc>
"""


class World:
    """A project, and what becomes of it."""

    def __init__(self, root: Path, execute: Callable[[str], list[tuple[Any, ...]]]) -> None:
        self.root = root
        self.execute = execute
        self.said: list[str] = []

    async def setup(self, *, dry_run: bool = False, **options: Any) -> str:
        return await self._call(
            steps.setup(self.root, steps.Options(**options), dry_run=dry_run, say=self.said.append)
        )

    async def undo(self, **options: bool) -> str:
        return await self._call(undo.undo(self.root, say=self.said.append, **options))

    async def _call(self, work: Coroutine[Any, Any, None]) -> str:
        self.said.clear()
        await work
        return "\n".join(self.said)

    def files(self) -> dict[str, tuple[int, bytes]]:
        return {
            str(path.relative_to(self.root)): (path.stat().st_mode, path.read_bytes() if path.is_file() else b"")
            for path in sorted(self.root.rglob("*"))
        }

    def rows(self) -> list[tuple[Any, ...]]:
        """Return the database's tables, and a checksum of the rows of each."""
        tables = [name for (name,) in self.execute("SHOW TABLES")]
        return self.execute(f"CHECKSUM TABLE {', '.join(tables)}")

    def state(self) -> tuple[Any, ...]:
        return self.files(), self.rows()

    def versions(self) -> list[tuple[int, int]]:
        return self.execute(
            "SELECT version_num, COUNT(*) FROM app_version WHERE deprecated = 0 GROUP BY 1 ORDER BY 1"
        )

    def tool(self, name: str, commands: str) -> None:
        """Write a program into ``bin/`` that stands in for one of the project's."""
        path = self.root / "bin" / name
        path.write_text(f"#!/bin/sh\n{commands}\n")
        path.chmod(0o755)

    def batch(self, number: int, *, njobs: int, assimilated: int, state: int = 1) -> None:
        """Insert a batch of so many jobs; they are assimilated in turn."""
        app = self.execute("SELECT id FROM app WHERE name = 'pyboinc'")[0][0]
        values = {
            "id": number,
            "appid": app,
            "token": f"{number:032}",
            "directory": f"/b/{number}",
            "njobs": njobs,
        }
        values.update(state=state, nassimilated=assimilated)
        self.insert("pyboinc_batch", values)
        for job in range(njobs):
            values = {"appid": app, "name": f"pyboinc_{number}_{job}", "batch": number}
            self.insert("workunit", {**values, "assimilate_state": 2 if job < assimilated else 0})

    def insert(self, table: str, values: dict[str, int | str]) -> None:
        """Insert a row; other columns without default are zero or empty."""
        names = ", ".join(values)
        row = ", ".join(str(value) if isinstance(value, int) else f"'{value}'" for value in values.values())
        self.execute(f"SET sql_mode = ''; INSERT INTO {table} ({names}) VALUES ({row})")


_check_interpreter = functools.cache(daemons.check_interpreter)


def prepare(monkeypatch: pytest.MonkeyPatch, mariadb: mariadb_module.MariaDB) -> None:
    """Let projects find the server. The daemons' interpreter, which is always the same, is looked at once."""
    monkeypatch.setenv("MYSQL_UNIX_PORT", str(mariadb.socket))
    monkeypatch.setattr(daemons, "check_interpreter", _check_interpreter)


@functools.cache
def _code_sign_keys() -> dict[str, bytes]:
    """Return the files of a project's keys, which take their time to make."""
    with tempfile.TemporaryDirectory() as directory:
        keys.create_code_sign_keys(Path(directory))
        return {path.name: path.read_bytes() for path in Path(directory).iterdir()}


def make(root: Path, mariadb: mariadb_module.MariaDB) -> World:
    """Make a project in the new directory *root*, with two accounts, ada and bob."""
    database = mariadb.new_database(mariadb_module.BOINC_SCHEMA.read_text())
    for name in ("apps", "bin", "download", "keys", "templates"):
        (root / name).mkdir(parents=True)
    (root / "config.xml").write_text(CONFIG.format(root=root, database=database))
    (root / "project.xml").write_text(PROJECT)
    for name, content in _code_sign_keys().items():
        (root / "keys" / name).write_bytes(content)
        (root / "keys" / name).chmod(0o600 if "private" in name else 0o644)
    world = World(root, lambda sql: mariadb.execute(sql, database=database))
    world.insert("platform", {"name": "x86_64-pc-linux-gnu"})
    for name in ("ada", "bob"):
        world.insert("user", {"email_addr": f"{name}@example.org", "name": name, "authenticator": name})
    return world


def command(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run ``aioboinc setup`` to its end."""
    return subprocess.run(
        [sys.executable, "-m", "aioboinc", "setup", *arguments], capture_output=True, text=True, check=False
    )
