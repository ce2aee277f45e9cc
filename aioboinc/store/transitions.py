"""Transitions: workunits that are due, with their results, and what the transitioner decides on them."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aioboinc import connectors, models
from aioboinc.store import queries
from aioboinc.store import results as result_rows
from aioboinc.wire import documents

__all__ = ["Decision", "Result", "Transitions", "Workunit"]


@dataclass(frozen=True, slots=True)
class Workunit:
    """A workunit as the transitioner sees it. Times are seconds since the epoch."""

    id: int
    name: str
    appid: int
    batch: int
    priority: int
    size_class: int
    min_quorum: int
    target_nresults: int
    max_error_results: int
    max_total_results: int
    delay_bound: int
    """Seconds that a host gets for a result."""
    need_validate: int
    canonical_resultid: int
    """0: none yet."""
    transition_time: int
    error_mask: int
    file_delete_state: int
    assimilate_state: int
    result_template_file: str
    transitioner_flags: int
    hr_class: int
    """Class of hosts that the workunit is bound to; 0: none."""
    app_version_id: int
    """App version that the workunit is bound to; 0: none."""


@dataclass(frozen=True, slots=True)
class Result:
    """A result as the transitioner sees it. Times are seconds since the epoch."""

    id: int
    name: str
    server_state: int
    outcome: int
    validate_state: int
    file_delete_state: int
    report_deadline: int
    received_time: int
    exit_status: int


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of a workunit and its results."""

    before: Workunit
    after: Workunit
    results: tuple[tuple[Result, Result], ...] = ()
    """The results that change, before and after."""
    new_results: tuple[result_rows.New, ...] = ()

    @property
    def timed_out(self) -> list[int]:
        """Return the IDs of results that are given up now."""
        return [
            after.id
            for before, after in self.results
            if after.outcome == models.Outcome.NO_REPLY != before.outcome
        ]


class Transitions:
    """Verbs on transitions."""

    def __init__(self, connector: connectors.Connector) -> None:
        self._connector = connector
        self._sql = queries.Queries("transitions", connector.dialect)

    async def due(self, appid: int, *, now: int, limit: int, share: tuple[int, int] = (1, 0)) -> dict[int, str]:
        """Return up to *limit* workunits whose transition time has come, the longest overdue first.

        Returns their IDs, and the files of their output templates. *share* (n, r) restricts the query to workunits with
        id % n == r.
        """

        async def work(tx: connectors.Transaction) -> dict[int, str]:
            await self._sql.fit(tx)
            rows = await tx.fetch_all(
                self._sql["due"],
                {
                    "appid": appid,
                    "now": now,
                    "limit": limit,
                    "modulus": share[0],
                    "remainder": share[1],
                    "none": models.TransitionerFlags.NONE,
                },
            )
            return {row["id"]: row["result_template_file"] for row in rows}

        return await self._connector.read(work, brief=True)

    async def advance(
        self,
        ids: Collection[int],
        decide: Callable[[Workunit, Sequence[Result]], Decision],
        templates: Mapping[str, documents.Template],
        *,
        now: int,
    ) -> int:
        """Let *decide* decide on those of the workunits *ids* that are due, and store the decisions.

        All in one transaction, in which the workunits are locked, so that several transitioners don't conflict.
        *templates* are the workunits' output templates by their file names. Returns the number of workunits that were
        due.
        """

        async def work(tx: connectors.Transaction) -> int:
            await self._sql.fit(tx)
            due = {"ids": list(ids), "now": now, "none": models.TransitionerFlags.NONE}
            rows = await tx.fetch_all(self._sql["workunits"], due)
            decisions = await self.write(tx, rows, decide)
            await self._insert_results(tx, decisions, templates, now)
            return len(decisions)

        return await self._connector.run(work, brief=True)

    async def write(
        self,
        tx: connectors.Transaction,
        rows: Sequence[connectors.Row],
        decide: Callable[[Workunit, Sequence[Result]], Decision],
    ) -> Sequence[Decision]:
        """Let *decide* decide on locked workunits, given their *rows*; store the decisions and return them.

        New results are left to the caller.
        """
        await self._sql.fit(tx)
        results_of: defaultdict[int, list[Result]] = defaultdict(list)
        if rows:
            for row in await tx.fetch_all(self._sql["results"], {"workunits": [row["id"] for row in rows]}):
                results_of[row.pop("workunitid")].append(Result(**row))
        decisions = [decide(Workunit(**row), results_of[row["id"]]) for row in rows]
        await self._change_results(tx, decisions)
        await self._change_workunits(tx, decisions)
        return decisions

    async def _insert_results(
        self,
        tx: connectors.Transaction,
        decisions: Sequence[Decision],
        templates: Mapping[str, documents.Template],
        now: int,
    ) -> None:
        groups: defaultdict[str, list[result_rows.New]] = defaultdict(list)
        for decision in decisions:
            if decision.new_results:
                groups[decision.before.result_template_file] += decision.new_results
        for file, new in groups.items():
            await result_rows.insert(tx, new, templates[file], now=now)

    async def _change_results(self, tx: connectors.Transaction, decisions: Sequence[Decision]) -> None:
        timed_out = [id for decision in decisions for id in decision.timed_out]
        if timed_out and "app_version_id" in await tx.columns("result"):
            await tx.execute(self._sql["penalize"], {"ids": timed_out})
        groups: defaultdict[tuple[tuple[str, int], ...], list[int]] = defaultdict(list)
        for before, after in itertools.chain.from_iterable(decision.results for decision in decisions):
            old = {f"old_{name}": value for name, value in _states(before).items()}
            groups[tuple({**_states(after), **old}.items())].append(after.id)
        for states, ids in groups.items():
            await tx.execute(self._sql["change_results"], {"ids": ids, **dict(states)})

    async def _change_workunits(self, tx: connectors.Transaction, decisions: Sequence[Decision]) -> None:
        groups: defaultdict[tuple[tuple[str, Any], ...], list[int]] = defaultdict(list)
        times: dict[int, int] = {}
        for decision in decisions:
            before, after = _fields(decision.before), _fields(decision.after)
            if before != after:
                groups[tuple(after.items())].append(decision.after.id)
            if decision.after.transition_time != decision.before.transition_time:
                times[decision.after.id] = decision.after.transition_time
        for fields, ids in groups.items():
            await tx.execute(self._sql["change_workunits"], {"ids": ids, **dict(fields)})
        await self._set_times(tx, times)

    async def _set_times(self, tx: connectors.Transaction, times: dict[int, int]) -> None:
        if len(set(times.values())) == 1:
            time = next(iter(times.values()))
            await tx.execute(self._sql["next_transition"], {"ids": list(times), "transition_time": time})
        elif tx.dialect == "sqlite":
            await tx.execute_many(
                self._sql["next_transitions"],
                [{"id": id, "transition_time": time} for id, time in times.items()],
            )
        elif times:
            await tx.execute(self._sql["next_transitions"], {"ids": list(times), "times": list(times.values())})


def _states(result: Result) -> dict[str, int]:
    return {
        "server_state": result.server_state,
        "outcome": result.outcome,
        "validate_state": result.validate_state,
        "file_delete_state": result.file_delete_state,
    }


def _fields(workunit: Workunit) -> dict[str, int]:
    return {
        "need_validate": workunit.need_validate,
        "error_mask": workunit.error_mask,
        "assimilate_state": workunit.assimilate_state,
        "file_delete_state": workunit.file_delete_state,
        "hr_class": workunit.hr_class,
        "app_version_id": workunit.app_version_id,
    }
