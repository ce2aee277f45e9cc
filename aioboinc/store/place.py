"""A project of whatever kind, reached: what a master knows of it."""

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
    """A project that is reached. What its events tell, a database would tell later: both sides poll as well.

    Daemons in this process set and await them; where the daemons run elsewhere nothing but the poll does.
    """

    project: config.Project
    store: store.Store
    submitted: asyncio.Event = field(default_factory=asyncio.Event)
    """To be set when jobs have been committed."""
    assimilated: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when jobs have been published."""


@contextlib.asynccontextmanager
async def reached(project: config.Project) -> AsyncIterator[Place]:
    """Reach a project whose hosts and daemons run elsewhere. Raises `errors.DatabaseError`."""
    async with store.open(project) as data:
        yield Place(project, data)
