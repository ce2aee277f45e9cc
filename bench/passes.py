"""The daemons: transition, validation, assimilation, each on jobs in the state for it."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aioboinc.passes import assimilation, output_process, transition, validation
from aioboinc.project import config
from bench import beside, jobs, measuring, stand_in
from bench.environment import Environment, Opened, Place

__all__ = ["assimilate", "run_assimilation", "run_transition", "run_validation", "transit", "validate"]

Work = Callable[[Place, Opened], Awaitable[None]]


@dataclass(frozen=True)
class _Case:
    """What daemons have to do."""

    name: str
    prepare: Work
    ours: Work
    tool: str
    """BOINC's tool, with its options."""
    unfinished: str
    """A condition on workunits for which the work is not done."""


async def run_transition(environment: Environment) -> measuring.Stage:
    """Measure the transitioner on fresh workunits, which get their results, and on executed ones."""
    count = environment.settings.jobs

    async def fresh(place: Place, opened: Opened) -> None:
        await jobs.submit(place, opened, count, results=False)
        await opened.connector.run(lambda tx: tx.execute("UPDATE workunit SET transition_time = 1"))

    async def executed(place: Place, opened: Opened) -> None:
        await jobs.submit(place, opened, count)
        await stand_in.execute(place, opened)

    due = "transition_time < 1796000000"
    cases = [
        _Case("fresh workunits", fresh, transit, "transitioner -d 1", due),
        _Case("executed jobs", executed, transit, "transitioner -d 1", due),
    ]
    return await _run(environment, "transition", cases)


async def run_validation(environment: Environment) -> measuring.Stage:
    """Measure the validator: quorum 1, no credit, with a BOINC project's records of hosts."""
    count = environment.settings.jobs

    async def prepare(place: Place, opened: Opened) -> None:
        await jobs.submit(place, opened, count)
        await stand_in.execute(place, opened)
        await stand_in.validate(opened, done=False)

    tool = "sample_bitwise_validator --app pyboinc --no_credit -d 1"
    unfinished = "appid = 1 AND need_validate = 1"
    case = _Case("quorum 1, no credit", prepare, validate, tool, unfinished)
    return await _run(environment, "validation", [case])


async def run_assimilation(environment: Environment) -> measuring.Stage:
    """Measure the assimilator: outputs into ``new/``; for BOINC's a directory a job, as that needs it."""
    count = environment.settings.jobs

    async def prepare(place: Place, opened: Opened) -> None:
        await jobs.submit(place, opened, count)
        await stand_in.execute(place, opened)
        await stand_in.validate(opened, done=True)
        if environment.settings.beside is not None:
            rows = await opened.connector.read(lambda tx: tx.fetch_all("SELECT id FROM workunit"))
            beside.job_directories(place, (row["id"] for row in rows))

    tool = "single_job_assimilator --app pyboinc -d 1"
    unfinished = "appid = 1 AND assimilate_state = 1"
    case = _Case("outputs to new/", prepare, assimilate, tool, unfinished)
    return await _run(environment, "assimilation", [case])


async def transit(place: Place, opened: Opened) -> None:
    """Run the transitioner until there is nothing more to do."""
    while await transition.one_pass(opened.store, place.project, appid=opened.app.id, now=int(time.time())):
        pass


async def validate(place: Place, opened: Opened) -> None:
    """Run the validator, as it is by default on such a project."""
    policy = validation.Policy(hosts=place.project.kind is not config.Kind.EMBEDDED)
    process = output_process.OutputProcess(policy.comparator)
    try:
        await validation.one_pass(opened.store, place.project, appid=opened.app.id, policy=policy, process=process)
    finally:
        process.close()


async def assimilate(place: Place, opened: Opened) -> None:
    """Run the assimilator."""
    await assimilation.one_pass(opened.store, place.project, assimilation.HeldBatches(), appid=opened.app.id)


async def _run(environment: Environment, stage: str, cases: list[_Case]) -> measuring.Stage:
    settings = environment.settings
    contenders = []
    for case in cases:
        contenders.append(_contender(environment, f"aioboinc, {case.name}", measuring.Kind.OURS, case, case.ours))
        if settings.beside is not None:
            tools = beside.Tools(settings.beside)
            name = case.tool.partition(" ")[0]
            tool = tools.daemon(case.tool, case.unfinished)
            contenders.append(_contender(environment, f"{name}, {case.name}", measuring.Kind.BESIDE, case, tool))
    series = await measuring.compete(contenders, settings.jobs, settings.rounds)
    return measuring.Stage(stage, settings.jobs, settings.database, series)


def _contender(
    environment: Environment, name: str, kind: measuring.Kind, case: _Case, work: Work
) -> measuring.Contender:
    async def measure() -> float:
        place = await environment.new_place()
        async with place.opened() as opened:
            await case.prepare(place, opened)
            measuring.settle()
            start = time.perf_counter()
            await work(place, opened)
            seconds = time.perf_counter() - start
            query = f"SELECT COUNT(*) AS n FROM workunit WHERE {case.unfinished}"
            row = await opened.connector.read(lambda tx: tx.fetch_one(query))
            assert row == {"n": 0}, f"{name} has left {row}"
        return seconds

    return measuring.Contender(name, kind, measure, case.name)
