"""The scheduler: answers clients' requests."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from aioboinc import models
from aioboinc.serve import addresses, allowance, durations, newcomers, reluctance, remote_hosts, wishes
from aioboinc.serve.protocol import reply as scheduler_reply
from aioboinc.serve.protocol.reply import Message, Reply
from aioboinc.serve.protocol.request import Request
from aioboinc.store import Store, candidates, clients, dispatch, recipients, reports

__all__ = ["CodeSignKeys", "Failure", "Policy", "Scheduler"]

_DAY = 86400
_HOUR = 3600
_PAGES = 2
"""Pages of unsent results to search for one request."""
_RESTART = 300
"""Seconds after which the search for a host starts from the top: it may now get what it could not get."""
_MIN_AVAILABILITY = 0.1
_BURST = 20
"""Requests of a host that may come faster than they should, because people press *Update*."""

_log = logging.getLogger(__name__)


_FULL = Message("This computer has reached a limit on tasks in progress")


@dataclass(frozen=True)
class Policy:
    """The rules; the names are those of elements of BOINC's config.xml."""

    min_sendwork_interval: float = 6.0
    """Seconds between two requests of a host."""
    next_rpc_delay: float = 0.0
    """Seconds after which an idle host asks again; 0: half a minute to an hour, depending on the number of hosts."""
    max_wus_to_send: int = 50
    """Maximum of results that a host gets at a time, for each of its cores."""
    max_wus_in_progress: int = 100
    """Maximum of results that a host has at a time, for each of its cores."""
    daily_result_quota: int = 100_000
    """Maximum of results that a host gets in a day, for each of its cores; less after failures."""
    max_ncpus: int = 64
    """Cores of a host that count for these limits."""
    one_result_per_user_per_wu: bool = False
    """A workunit's results go to different accounts, not just to different hosts."""


@dataclass(frozen=True)
class CodeSignKeys:
    """The keys that clients check application files with."""

    current: str
    """The text of the public key, without white space around it."""
    signatures: Mapping[str, str]
    """Signatures of that text, by the older keys that made them."""


@dataclass(frozen=True)
class Failure:
    """A result that has failed on a host, for people."""

    time: int
    result: str
    hostid: int
    exit_status: int
    stderr: str
    reason: str = ""
    """What is wrong with its output, if its execution succeeded."""


class Scheduler:
    """Answers requests. *on_report* is called when there is something for the transitioner to do."""

    def __init__(
        self,
        store: Store,
        app: scheduler_reply.App,
        versions: Mapping[str, scheduler_reply.AppVersion],
        keys: CodeSignKeys,
        policy: Policy,
        *,
        on_report: Callable[[], None] = lambda: None,
        on_failure: Callable[[Failure], None] = lambda failure: None,
        too_long: reluctance.Reluctance | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._app = app
        self._versions = versions
        self._keys = keys
        self._policy = policy
        self._on_report = on_report
        self._on_failure = on_failure
        self._clock = clock
        self._durations = durations.Durations(store.reports, clock)
        self._too_long = too_long or reluctance.Reluctance(clock)
        self._sending = asyncio.Lock()
        self._held: dict[int, set[str]] | None = None
        self._newcomers = newcomers.Newcomers(lambda hostid: len((self._held or {}).get(hostid, ())))
        self._searches: dict[int, _Search] = {}
        self._hosts = remote_hosts.RemoteHosts(store.clients, store.reports, clock)
        self._requests = allowance.Allowance(_BURST, _BURST * max(policy.min_sendwork_interval, 1e-3), clock=clock)

    async def handle(self, request: Request, address: str) -> Reply:
        """Answer the request of a client at *address*."""
        now = int(self._clock())
        reply = Reply(now=now, request_delay=self._request_delay())
        account, host = await self._store.clients.caller(request.account_key, request.hostid)
        if account is None:
            return _refuse(
                reply, "Invalid or missing account key.  To fix, remove and add this project.", _HOUR, notice=True
            )
        try:
            identified = await self._hosts.identify(account, host, request, address, now=now)
        except remote_hosts.TooMany as error:
            return _refuse(reply, "Too many new computers of this account, or from this address", error.seconds)
        hostid = identified.id
        if wait := self._requests.take(str(hostid)):
            return _refuse(reply, "This computer's requests come too often", wait)
        if identified.host is not None and identified.host.banned:
            return _refuse(reply, "Not accepting requests from this host", _DAY)
        reply.account, reply.host = account, identified.host
        if identified.is_news:
            reply.new_hostid = hostid
        if identified.has_nothing:
            (await self._held_by(hostid)).clear()
        await self._contact(reply, request, identified)
        await self._answer(reply, request, account, hostid, address)
        return reply

    async def _answer(
        self, reply: Reply, request: Request, account: clients.Account, hostid: int, address: str
    ) -> None:
        """Give the host work, and tell it what to do with what it has."""
        version = next((self._versions[name] for name in request.platforms if name in self._versions), None)
        if version is None:
            name = request.platforms[0] if request.platforms else "unknown"
            reply.messages.append(Message(f"This project doesn't support computers of type {name}", notice=True))
            reply.request_delay = max(reply.request_delay, _DAY)
            return
        if request.in_progress is not None:
            await self._abort_excess(reply, hostid, request.in_progress)
        if request.cpu_seconds > 0 or request.cpu_instances > 0:
            held = await self._held_by(hostid)
            if request.in_progress is not None:
                await self._resend(reply, hostid, held.difference(request.in_progress), version, request)
            if self._settle_keys(reply, request) and not reply.assignments:
                await self._send(reply, hostid, account, request, version, held, address)
        reply.next_rpc_delay = await self._next_rpc_delay(reply.now)

    def forget_held(self) -> None:
        """Read again from the database what hosts have: an aborted request may have changed it."""
        self._held = None

    async def _contact(self, reply: Reply, request: Request, identified: remote_hosts.Identified) -> None:
        """Store what the host says about itself, and what it reports."""
        reported = await self._store.clients.contact(
            identified.id,
            0 if identified.is_news else request.rpc_seqno,
            identified.values,
            request.reports,
            quota=self._policy.daily_result_quota,
            new_day=identified.host is not None and identified.host.rpc_time // _DAY != reply.now // _DAY,
            now=reply.now,
        )
        # Unknown results are acknowledged too: the client can do nothing with them.
        reply.acknowledged = [report.name for report in request.reports]
        reply.message_ack = request.has_messages
        self._note_reports(identified.id, reported, reply.now)

    def _note_reports(self, hostid: int, reported: Sequence[reports.Reported], now: int) -> None:
        for result in reported:
            report = result.report
            if report.outcome == models.Outcome.SUCCESS:
                self._durations.add(result.batch, hostid, result.elapsed_time)
            else:
                self._on_failure(Failure(now, report.name, hostid, report.exit_status, report.stderr_out))
        if self._held is not None and hostid in self._held:
            self._held[hostid].difference_update(result.report.name for result in reported)
        if reported:
            self._on_report()

    async def _held_by(self, hostid: int) -> set[str]:
        """Return the names of the results that the host has, as far as we know; not only those in progress."""
        if self._held is None:
            async with self._sending:
                if self._held is None:
                    self._held = dict(await self._store.dispatch.in_progress())
        return self._held.setdefault(hostid, set())

    async def _abort_excess(self, reply: Reply, hostid: int, names: Collection[str]) -> None:
        if not names:
            return
        excess = await self._store.dispatch.excess(hostid, names)
        reply.aborts = excess.unusable
        reply.aborts_if_not_started = excess.dispensable
        reply.messages += [Message(f"Result {name} is no longer usable") for name in excess.unusable]

    async def _resend(
        self,
        reply: Reply,
        hostid: int,
        lost: Collection[str],
        version: scheduler_reply.AppVersion,
        request: Request,
    ) -> None:
        if not lost:
            return
        limit = self._policy.max_wus_to_send * self._ncpus(request)
        names = sorted(lost)[:limit]
        assignments, in_progress = await self._store.dispatch.resend(hostid, names, now=reply.now)
        (await self._held_by(hostid)).difference_update(
            set(names) - {assignment.name for assignment in assignments}
        )
        sent = {assignment.name for assignment in assignments}
        for name in names:
            if name in sent:
                reply.messages.append(Message(f"Resent lost task {name}"))
            elif name in in_progress:
                reply.messages.append(Message(f"Didn't resend lost task {name} (expired)"))
        if not sent.issuperset(in_progress):
            self._on_report()
        await self._give(reply, hostid, assignments, version, request)

    def _settle_keys(self, reply: Reply, request: Request) -> bool:
        """Send the client our key if needed; tell whether it may get work."""
        if request.code_sign_key == self._keys.current:
            return True
        signature = self._keys.signatures.get(request.code_sign_key, "")
        if request.code_sign_key and not signature:
            text = "The project has changed its security key.  Please remove and add this project."
            reply.messages.append(Message(text, notice=True))
            return False
        reply.code_sign_key = self._keys.current
        reply.code_sign_key_signature = signature
        return True

    async def _send(
        self,
        reply: Reply,
        hostid: int,
        account: clients.Account,
        request: Request,
        version: scheduler_reply.AppVersion,
        held: set[str],
        address: str,
    ) -> None:
        ncpus = self._ncpus(request)
        room = self._policy.max_wus_in_progress * ncpus - len(held)
        limit = min(self._policy.max_wus_to_send * ncpus, room)
        if limit <= 0:
            reply.messages.append(_FULL)
            return
        now = reply.now
        flops = _flops(request)
        # An account without a password: the project's owner gave away its key.
        groups = (f"account {account.id}", addresses.network(address)) if account.passwd_hash else ()
        limits = recipients.Limits(
            memory=float(request.host["m_nbytes"]) * request.memory_fraction,
            disk=request.disk_share or float(request.host["d_free"]),
            active_hosts=await self._hosts.active(now),
            one_per_user=self._policy.one_result_per_user_per_wu,
            quota=self._policy.daily_result_quota,
            ncpus=ncpus,
            held=len(held),
            newcomers_room=self._newcomers.room(hostid, *groups) if groups else limit,
        )
        wish = wishes.Wish(request.cpu_seconds, request.cpu_instances, flops * _availability(request))
        sizes = self._durations.on(hostid, flops)
        search = self._searches.setdefault(hostid, _Search(now))
        async with self._sending:
            sent = await self._store.dispatch.send(
                recipients.Recipient(hostid, account.id, version.id, flops, limits),
                limit,
                lambda found: wishes.choose(found, wish, sizes, self._too_long.is_over),
                start=search.position,
                pages=_PAGES,
                now=now,
            )
        search.went_on(sent, now)
        if sent.is_proven:
            self._newcomers.leave(hostid, *groups)
        self._too_long.clear(
            {
                assignment.batch
                for assignment in sent.assignments
                if sizes.least(assignment.batch, assignment.rsc_fpops_est) / wish.flops
                <= assignment.report_deadline - now
            }
        )
        held.update(assignment.name for assignment in sent.assignments)
        await self._give(reply, hostid, sent.assignments, version, request)
        _explain(reply, sent)

    async def _give(
        self,
        reply: Reply,
        hostid: int,
        assignments: Sequence[dispatch.Assignment],
        version: scheduler_reply.AppVersion,
        request: Request,
    ) -> None:
        flops = _flops(request)
        await self._durations.learn(assignment.batch for assignment in assignments)
        sizes = self._durations.on(hostid, flops)
        reply.app, reply.version, reply.flops = self._app, version, flops
        reply.assignments = [
            dataclasses.replace(
                assignment,
                rsc_fpops_est=sizes.operations(assignment.batch, assignment.rsc_fpops_est),
            )
            for assignment in assignments
        ]

    def _ncpus(self, request: Request) -> int:
        cores = int(int(request.host["p_ncpus"]) * request.ncpus_fraction)
        return max(1, min(cores, self._policy.max_ncpus))

    def _request_delay(self) -> float:
        # A little more than the interval, as in BOINC, because the client's clock may be fast.
        interval = self._policy.min_sendwork_interval
        return max(1.01 * interval, interval + 1)

    async def _next_rpc_delay(self, now: int) -> float:
        hosts = await self._hosts.active(now)
        return self._policy.next_rpc_delay or min(max(30.0, hosts / 5), _HOUR)


class _Search:
    """Where the search for a host's next work continues."""

    def __init__(self, now: int) -> None:
        self.position = candidates.TOP
        self._began = now

    def went_on(self, sent: dispatch.Sent, now: int) -> None:
        self.position = sent.position
        if sent.at_end and now - self._began >= _RESTART:
            self.position = candidates.TOP
            self._began = now


def _refuse(reply: Reply, text: str, delay: float, *, notice: bool = False) -> Reply:
    reply.messages.append(Message(text, notice=notice))
    reply.request_delay = max(reply.request_delay, delay)
    return reply


def _explain(reply: Reply, sent: dispatch.Sent) -> None:
    """Tell the client why it gets no work, or not more."""
    if sent.quota_exhausted:
        reply.messages.append(Message("This computer has finished its daily quota of tasks"))
        reply.request_delay = max(reply.request_delay, _HOUR)
    elif sent.is_full:
        reply.messages.append(_FULL)
    elif not sent.assignments:
        text = "Project has no tasks available" if sent.at_end else "No tasks sent: looking for one"
        reply.messages.append(Message(text))


def _flops(request: Request) -> float:
    return float(request.host["p_fpops"])


def _availability(request: Request) -> float:
    """Return the fraction of time in which the host computes."""
    fraction = float(request.host["on_frac"]) * float(request.host["active_frac"])
    return min(max(fraction, _MIN_AVAILABILITY), 1.0)
