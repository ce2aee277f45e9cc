"""An open project of any kind, as a master sees it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from aioboinc import store
from aioboinc.project import config

__all__ = ["Place", "reached"]


@dataclass(frozen=True)
class Place:
    """An open project. Its events only speed things up: both sides also poll the database.

    Daemons in this process set and await them; if the daemons run elsewhere, only polling is left.
    """

    project: config.Project
    store: store.Store
    submitted: asyncio.Event = field(default_factory=asyncio.Event)
    """Set it when jobs have been committed."""
    assimilated: asyncio.Event = field(default_factory=asyncio.Event)
    """Is set when jobs have been published."""


@contextlib.asynccontextmanager
async def reached(project: config.Project) -> AsyncIterator[Place]:
    """Open a project whose hosts and daemons run elsewhere. Raises `errors.DatabaseError`."""
    async with store.open(project) as data:
        yield Place(project, data)
