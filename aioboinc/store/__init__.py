"""Every verb on the database, in the domain's words; nothing else issues SQL."""

from __future__ import annotations

import time
from collections.abc import Callable

from aioboinc import connectors
from aioboinc.store import (
    assimilations,
    batches,
    calls,
    cancellations,
    clients,
    deletions,
    dispatch,
    reports,
    schema,
    status,
    submissions,
    transitions,
    validations,
)

__all__ = ["Store"]


class Store:
    """The verbs of one database, by the noun they are about."""

    def __init__(self, connector: connectors.Connector, clock: Callable[[], float] = time.time) -> None:
        self.batches = batches.Batches(connector, clock)
        self.calls = calls.Calls(connector, clock)
        self.cancellations = cancellations.Cancellations(connector)
        self.submissions = submissions.Submissions(connector, clock)
        self.schema = schema.Schema(connector)
        self.clients = clients.Clients(connector)
        self.dispatch = dispatch.Dispatch(connector)
        self.reports = reports.Reports(connector)
        self.status = status.Status(connector)
        self.transitions = transitions.Transitions(connector)
        self.validations = validations.Validations(connector)
        self.assimilations = assimilations.Assimilations(connector)
        self.deletions = deletions.Deletions(connector)
