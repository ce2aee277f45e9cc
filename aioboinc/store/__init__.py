"""Every verb on the database, in the domain's words; nothing else issues SQL."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from aioboinc import connectors
from aioboinc.project import config
from aioboinc.store import (
    applications,
    assimilations,
    batches,
    calls,
    cancellations,
    clients,
    deletions,
    dispatch,
    executions,
    reports,
    schema,
    status,
    submissions,
    transitions,
    validations,
)

__all__ = ["Store", "open"]


class Store:
    """The verbs of one database, by the noun they are about. They work while it is entered with ``async with``."""

    def __init__(self, connector: connectors.Connector, clock: Callable[[], float] = time.time) -> None:
        self._connector = connector
        self.applications = applications.Applications(connector, clock)
        self.batches = batches.Batches(connector, clock)
        self.calls = calls.Calls(connector, clock)
        self.cancellations = cancellations.Cancellations(connector)
        self.submissions = submissions.Submissions(connector, clock)
        self.schema = schema.Schema(connector)
        self.clients = clients.Clients(connector)
        self.dispatch = dispatch.Dispatch(connector)
        self.executions = executions.Executions(connector)
        self.reports = reports.Reports(connector)
        self.status = status.Status(connector)
        self.transitions = transitions.Transitions(connector)
        self.validations = validations.Validations(connector)
        self.assimilations = assimilations.Assimilations(connector)
        self.deletions = deletions.Deletions(connector)

    async def __aenter__(self) -> Self:
        await self._connector.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._connector.__aexit__(exc_type, exc, traceback)


def open(project: config.Project, *, clock: Callable[[], float] = time.time, pool_size: int = 4) -> Store:
    """Return the store of *project*, whatever its kind; nothing is connected before it is entered.

    *clock* returns the project's time, *pool_size* is that of `connectors.open`, whose error is raised.
    """
    return Store(connectors.open(project.database_url, pool_size=pool_size), clock)
