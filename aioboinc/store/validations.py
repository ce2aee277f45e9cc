"""Validations: workunits with new outputs, and what the validator decides on them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from aioboinc import connectors, models
from aioboinc.store import credit, queries

__all__ = ["Decision", "Result", "Validations", "Verdict", "Workunit"]


@dataclass(frozen=True, slots=True)
class Result:
    """A successful result as the validator sees it. Times are seconds since the epoch."""

    id: int
    name: str
    validate_state: int
    file_delete_state: int
    xml_doc_in: bytes
    """The document that names its output files."""
    hostid: int
    app_version_id: int
    sent_time: int
    received_time: int
    elapsed_time: float
    """Seconds that the execution took."""
    flops_estimate: float
    """Speed of the host: floating-point operations a second."""
    xml_doc_out: bytes | None = None
    """What the host reported about its output files."""


@dataclass(frozen=True, slots=True)
class Workunit:
    """A workunit as the validator sees it."""

    id: int
    name: str
    xml_doc: bytes
    min_quorum: int
    target_nresults: int
    max_success_results: int
    canonical_resultid: int
    """0: none yet."""
    canonical_credit: float
    """Credit of the canonical result; before there is one, what the submitter has fixed, or 0."""
    assimilate_state: int
    rsc_fpops_bound: float
    results: tuple[Result, ...]
    """The successful ones, in the order of their IDs."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the validator decides on one result."""

    result: Result
    outcome: models.Outcome
    """SUCCESS, or VALIDATE_ERROR for an output that is missing or malformed."""
    validate_state: models.ValidateState
    credit: float = 0.0
    """Credit to grant."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What the validator decides on a workunit."""

    workunit: Workunit
    verdicts: tuple[Verdict, ...] = ()
    canonical: int = 0
    """The result that becomes canonical; 0: none."""
    error_mask: int = 0
    target_nresults: int = 0
    """Number of results needed, if more than before."""
    postponed: bool = False
    """Whether outputs can't be read now, so that everything stays as it is."""


class Validations:
    """Verbs on validation."""

    def __init__(self, connector: connectors.Connector) -> None:
        self._connector = connector
        self._sql = queries.Queries("validations", connector.dialect)

    async def pending(
        self, appid: int, *, limit: int, after: int = 0, share: tuple[int, int] = (1, 0)
    ) -> list[Workunit]:
        """Return up to *limit* workunits to validate, in the order of their IDs, which are greater than *after*.

        *share* (n, r) restricts the query to workunits with id % n == r.
        """

        async def work(tx: connectors.Transaction) -> list[Workunit]:
            await self._sql.fit(tx)
            rows = await tx.fetch_all(
                self._sql["pending"],
                {
                    "appid": appid,
                    "after": after,
                    "limit": limit,
                    "modulus": share[0],
                    "remainder": share[1],
                },
            )
            if not rows:
                return []
            results: defaultdict[int, list[Result]] = defaultdict(list)
            for row in await tx.fetch_all(
                self._sql["successes"],
                {
                    "workunits": [row["id"] for row in rows],
                    "over": models.ServerState.OVER,
                    "success": models.Outcome.SUCCESS,
                },
            ):
                results[row.pop("workunitid")].append(Result(**row))
            return [Workunit(**row, results=tuple(results[row["id"]])) for row in rows]

        return await self._connector.read(work, brief=True)

    async def record(
        self, decisions: Sequence[Decision], *, now: int, later: int, hosts: bool, quota: int = 0
    ) -> int:
        """Store *decisions*, in one transaction; return how many still held.

        A decision holds unless another validator has decided on the workunit, or it was assimilated or failed in the
        meantime. Undecided workunits are due for the transitioner *now*, postponed ones *later*. With *hosts*, the
        records of hosts, users and teams are kept too, as by BOINC's validator, but without its averages of peak FLOP
        counts, elapsed times and turnaround times by app version. With a *quota*, what a host may get in a day of an
        app version halves with each result that is not valid, and doubles, up to the quota, with each valid one.
        """

        async def work(tx: connectors.Transaction) -> int:
            held = await self._claim(tx, decisions)
            verdicts = [verdict for decision in held for verdict in decision.verdicts]
            await self._judge(tx, verdicts)
            await self._grant(tx, {verdict.result.id: verdict.credit for verdict in verdicts if verdict.credit})
            await self._decide(tx, held)
            await self._leave_open(tx, held, now, later)
            if hosts:
                await self._credit(tx, verdicts, now, quota)
            return len(held)

        return await self._connector.run(work, brief=True)

    async def _claim(self, tx: connectors.Transaction, decisions: Sequence[Decision]) -> Sequence[Decision]:
        """Lock the workunits of *decisions*; return the decisions that hold."""
        ids = [decision.workunit.id for decision in decisions]
        if all(_state(decision.workunit) == _NEW for decision in decisions):
            # Counting them takes a fraction of the time of reading them.
            row = await tx.fetch_one(self._sql["claim_new"], {"ids": ids, "init": models.AssimilateState.INIT})
            if row is not None and row["n"] == len(set(ids)):
                return decisions
        rows = await tx.fetch_all(self._sql["claim"], {"ids": ids})
        claimed = {row["id"]: (row["canonical_resultid"], row["assimilate_state"]) for row in rows}
        return [
            decision for decision in decisions if claimed.get(decision.workunit.id) == _state(decision.workunit)
        ]

    async def _judge(self, tx: connectors.Transaction, verdicts: Iterable[Verdict]) -> None:
        groups: defaultdict[tuple[models.Outcome, models.ValidateState], list[int]] = defaultdict(list)
        for verdict in verdicts:
            groups[verdict.outcome, verdict.validate_state].append(verdict.result.id)
        for (outcome, validate_state), ids in groups.items():
            await tx.execute(
                self._sql["judge"],
                {
                    "ids": ids,
                    "outcome": outcome,
                    "validate_state": validate_state,
                    "success": models.Outcome.SUCCESS,
                },
            )

    async def _grant(self, tx: connectors.Transaction, credits: dict[int, float]) -> None:
        if tx.dialect == "sqlite":
            rows = [{"id": id, "credit": credit} for id, credit in credits.items()]
            await tx.execute_many(self._sql["grant"], rows)
        elif credits:
            amounts = [repr(credit) for credit in credits.values()]
            await tx.execute(self._sql["grant"], {"ids": list(credits), "credits": amounts})

    async def _decide(self, tx: connectors.Transaction, decisions: Sequence[Decision]) -> None:
        found = [decision for decision in decisions if decision.canonical]
        if not found:
            return
        await tx.execute(
            self._sql["dont_need"],
            {
                "workunits": [decision.workunit.id for decision in found],
                "over": models.ServerState.OVER,
                "didnt_need": models.Outcome.DIDNT_NEED,
                "unsent": models.ServerState.UNSENT,
            },
        )
        # BOINC's transitioner may be working on these: don't make them due; the assimilator will do that.
        await tx.execute(
            self._sql["decided"],
            {
                "canonical": [decision.canonical for decision in found],
                "init": models.AssimilateState.INIT,
                "ready": models.AssimilateState.READY,
                "never": models.NEVER,
            },
        )

    async def _leave_open(
        self, tx: connectors.Transaction, decisions: Sequence[Decision], now: int, later: int
    ) -> None:
        postponed = [decision.workunit.id for decision in decisions if decision.postponed]
        if postponed:
            await tx.execute(self._sql["postpone"], {"ids": postponed, "later": later})
        groups: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
        for decision in decisions:
            if not decision.postponed and not decision.canonical:
                groups[decision.error_mask, decision.target_nresults].append(decision.workunit.id)
        for (error_mask, target_nresults), ids in groups.items():
            await tx.execute(
                self._sql["undecided"],
                {"ids": ids, "error_mask": error_mask, "target_nresults": target_nresults, "now": now},
            )

    async def _credit(self, tx: connectors.Transaction, verdicts: Sequence[Verdict], now: int, quota: int) -> None:
        """Update the records of the hosts of *verdicts*, of their users, and of the users' teams."""
        valid: defaultdict[int, list[Verdict]] = defaultdict(list)
        counts: defaultdict[tuple[int, int], list[int]] = defaultdict(lambda: [0, 0])
        for verdict in verdicts:
            key = verdict.result.hostid, verdict.result.app_version_id
            if verdict.validate_state == models.ValidateState.VALID:
                valid[verdict.result.hostid].append(verdict)
                counts[key][0] += 1
            elif verdict.validate_state == models.ValidateState.INVALID:
                counts[key][1] += 1
        await tx.execute_many(
            self._sql["change_quota" if quota else "change_version"],
            [
                {"hostid": hostid, "app_version_id": version, "nvalid": nvalid, "ninvalid": ninvalid}
                | (_steps(nvalid, ninvalid, quota) if quota else {})
                for (hostid, version), (nvalid, ninvalid) in sorted(counts.items())
            ],
        )
        by_user = await self._credit_rows(tx, "host", valid, now, owner="userid")
        by_team = await self._credit_rows(tx, "user", by_user, now, owner="teamid")
        await self._credit_rows(tx, "team", by_team, now, owner="")

    async def _credit_rows(
        self,
        tx: connectors.Transaction,
        noun: str,
        verdicts_of: dict[int, list[Verdict]],
        now: int,
        *,
        owner: str,
    ) -> dict[int, list[Verdict]]:
        """Credit the rows of *noun* for their verdicts; return the verdicts by the rows' *owner*."""
        if not verdicts_of:
            return {}
        changed = []
        owned: defaultdict[int, list[Verdict]] = defaultdict(list)
        for row in await tx.fetch_all(self._sql[f"{noun}s"], {"ids": list(verdicts_of)}):
            verdicts = verdicts_of[row["id"]]
            owner_id = row.pop(owner) if owner else 0
            if owner_id:
                owned[owner_id] += [verdict for verdict in verdicts if verdict.credit]
            changed.append(_credited(row, verdicts, now))
        await tx.execute_many(self._sql[f"change_{noun}"], changed)
        return {id: verdicts for id, verdicts in owned.items() if verdicts}


_NEW = 0, models.AssimilateState.INIT


def _state(workunit: Workunit) -> tuple[int, int]:
    """Return what decisions on *workunit* depend on."""
    return workunit.canonical_resultid, workunit.assimilate_state


def _steps(nvalid: int, ninvalid: int, quota: int) -> dict[str, int]:
    """Return the factors by which a host's quota is divided and then multiplied."""
    return {"divisor": 2 ** min(ninvalid, 30), "factor": 2 ** min(nvalid, 30), "quota": quota}


def _credited(row: connectors.Row, verdicts: Sequence[Verdict], now: int) -> connectors.Row:
    """Return the averages of *row*, and the credit it gets, after *verdicts*."""
    changed = {**row, "credit": sum(verdict.credit for verdict in verdicts)}
    for verdict in verdicts:
        if verdict.credit:
            changed["expavg_credit"] = credit.recent_average(
                changed["expavg_credit"], changed["expavg_time"], verdict.credit, verdict.result.sent_time, now
            )
            changed["expavg_time"] = now
        if "avg_turnaround" in changed:
            turnaround = verdict.result.received_time - verdict.result.sent_time
            changed["avg_turnaround"] = credit.recent_turnaround(changed["avg_turnaround"], turnaround)
    return changed
