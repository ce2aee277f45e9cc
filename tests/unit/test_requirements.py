"""What is asked of other packages: bounds where parts of them are used that they do not promise."""

from __future__ import annotations

import configparser
import importlib.metadata
from pathlib import Path

import aiomysql
from packaging import requirements

CONFIGURATION = Path(__file__).parents[2] / "setup.cfg"


async def test_private_parts_of_aiomysql() -> None:
    """`connectors.mysql` takes the streams of a connection, and keeps a cursor from asking for warnings.

    Before the bound is raised, somebody looks whether the new version still has these parts and uses them so.
    """
    parser = configparser.ConfigParser()
    assert parser.read(CONFIGURATION), "the tests run from a checkout"
    (line,) = [line for line in parser["options"]["install_requires"].splitlines() if line.startswith("aiomysql")]
    asked = requirements.Requirement(line).specifier
    assert asked.contains(importlib.metadata.version("aiomysql"))
    assert not asked.contains("0.4.0")
    connection = aiomysql.Connection()
    assert {"_reader", "_writer"} <= vars(connection).keys()
    assert callable(aiomysql.Cursor._show_warnings)


def test_nothing_else_uses_them() -> None:
    users = [
        path.name
        for folder in ("aioboinc", "daemons")
        for path in (CONFIGURATION.parent / folder).rglob("*.py")
        if "connection._writer" in path.read_text(encoding="utf-8")
    ]
    assert users == ["mysql.py"]
