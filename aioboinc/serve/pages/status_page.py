"""The status page: batches with their progress, hosts, recent errors, and how to attach a host.

Everybody who reaches the project sees its progress. Names of hosts, what slaves wrote to stderr, directories and the
account key are shown only with the project's status key.
"""

from __future__ import annotations

import hmac
import importlib.resources
import string
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from aioboinc import printable
from aioboinc.passes import failures
from aioboinc.serve import reluctance, scheduler
from aioboinc.serve.protocol import reply
from aioboinc.store import status as statuses
from aioboinc.store import validations

__all__ = ["StatusPage"]

_SHOWN = 50
"""Maximum of batches, and of hosts, on the page."""
_FAILURES = 10
"""Errors kept."""
_FAILURES_OF_HOST = 3
"""Maximum of failures of one host, so that others' are seen."""
_STDERR = 2000
"""Characters of stderr to show."""
_FRESH = 2.0
"""Seconds for which the page's data are reused, however many people look."""


class StatusPage:
    """The page, and the data that it shows."""

    def __init__(
        self,
        status: statuses.Status,
        site: reply.Site,
        *,
        account_key: str,
        status_key: str,
        too_long: reluctance.Reluctance | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._status = status
        self._site = site
        self._account_key = account_key
        self._status_key = status_key
        self._clock = clock
        self._template = string.Template(
            importlib.resources.files(__package__).joinpath("status.html").read_text(encoding="utf-8")
        )
        self._too_long = too_long or reluctance.Reluctance(clock)
        self._failures: Sequence[scheduler.Failure] = ()
        self._adding = threading.Lock()
        self._overview: statuses.Overview | None = None
        self._seen = 0.0

    def add_failure(self, failure: scheduler.Failure) -> None:
        """Show a result that has failed. May be called in any thread."""
        with self._adding:
            own = [other for other in self._failures if other.hostid == failure.hostid]
            superfluous = own[_FAILURES_OF_HOST - 1 :]
            kept = [other for other in self._failures if other not in superfluous]
            self._failures = (failure, *kept[: _FAILURES - 1])

    def add_bad(self, result: validations.Result, reason: str) -> None:
        """Show a result that succeeded without a usable output. May be called in any thread."""
        self.add_failure(scheduler.Failure(int(self._clock()), result.name, result.hostid, 0, "", reason))

    def html(self, scheduler_url: str) -> str:
        """Return the page, from which clients read the scheduler's URL."""
        return self._template.substitute(name=reply.escape(self._site.name), scheduler_url=scheduler_url)

    async def status(self, key: str) -> dict[str, Any]:
        """Return what the page shows with *key*."""
        full = hmac.compare_digest(key.encode(), self._status_key.encode())
        now = self._clock()
        if self._overview is None or not 0 <= now - self._seen < _FRESH:
            self._overview = await self._status.overview(limit=_SHOWN, now=int(now))
            self._seen = now
        overview = self._overview
        page = {
            "name": self._site.name,
            "url": self._site.master_url,
            "key": self._account_key if full else None,
            "now": now,
            "hosts_total": overview.nhosts,
            "hosts_active": overview.nactive,
            "cores_active": overview.ncores,
            "batches": [
                _batch(batch, full) | {"too_long": batch.id in self._too_long.batches}
                for batch in overview.batches
            ],
            "hosts": [_host(host, full) for host in overview.hosts],
            "errors": [_failure(failure, full) for failure in self._failures],
        }
        return {name: _printable(value) for name, value in page.items()}


def _printable(value: Any) -> Any:
    """Return *value* with all its texts safe to show: most come from hosts or accounts."""
    if isinstance(value, str):
        return printable.lines(value)
    if isinstance(value, list):
        return [_printable(item) for item in value]
    if isinstance(value, dict):
        return {name: _printable(item) for name, item in value.items()}
    return value


def _batch(batch: statuses.Batch, full: bool) -> dict[str, Any]:
    return {
        "id": batch.id,
        "name": batch.name,
        "directory": batch.directory if full else None,
        "jobs": batch.njobs,
        "complete": batch.complete,
        "done": batch.done,
        "failed": batch.failed,
        "running": batch.in_progress,
        "created": batch.create_time,
        "completed": batch.completion_time,
    }


def _host(host: statuses.Host, full: bool) -> dict[str, Any]:
    return {
        "id": host.id,
        "name": host.domain_name if full else None,
        "account": host.account if full else None,
        "cores": host.ncpus,
        "cpu": host.cpu,
        "system": host.system,
        "seen": host.rpc_time,
        "credit": host.total_credit,
        "running": host.in_progress,
    }


def _failure(failure: scheduler.Failure, full: bool) -> dict[str, Any]:
    return {
        "time": failure.time,
        "result": failure.result,
        "host": failure.hostid,
        "reason": _reason(failure, full),
        "stderr": failures.written(failure.stderr)[-_STDERR:] if full else None,
    }


def _reason(failure: scheduler.Failure, full: bool) -> str:
    if failure.reason:
        return failure.reason if full else "no output, or not a good one"
    if full:
        return failures.describe_error(failure.exit_status, failure.stderr)
    return failures.describe_exit(failure.exit_status)
