"""A database for each test, of both kinds."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from aioboinc import connectors, sql
from database import mariadb as mariadb_module
from database.daemon_world import World


@pytest.fixture(params=["sqlite", pytest.param("mysql", marks=pytest.mark.mariadb)])
async def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a new database with BOINC's tables and ours, in SQLite and in MariaDB."""
    if request.param == "sqlite":
        url = f"sqlite://{tmp_path / 'project.sqlite'}"
    else:
        server: mariadb_module.MariaDB = request.getfixturevalue("mariadb")
        url = server.url(server.new_database(mariadb_module.BOINC_SCHEMA.read_text()))
    async with connectors.open(url) as connector:
        await connector.script(sql.schema(connector.dialect))
    return url


@pytest.fixture
async def connector(database_url: str) -> AsyncIterator[connectors.Connector]:
    """A connector to such a database; the test must leave none of its connections in use."""
    async with connectors.open(database_url) as connector:
        yield connector
        assert connector.checked_out == 0


@pytest.fixture
async def world(connector: connectors.Connector, tmp_path: Path) -> World:
    """A project on such a database, with its application."""
    world = World(connector, tmp_path / "project")
    await world.set_up()
    return world


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """The directory of `batch`."""
    return tmp_path / "batch"


@pytest.fixture
async def batch(world: World, directory: Path) -> int:
    """The ID of a batch of `world`."""
    return (await world.batch(directory)).id
