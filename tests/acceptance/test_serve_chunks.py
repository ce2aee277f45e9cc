"""Several calls in a workunit, on hosts that are not this machine's."""

from __future__ import annotations

from pathlib import Path

import served
from served import Site, compute_all, eventually
from simulated_client import Client, Finished

from aioboinc.wire import names

COUNT = 30


async def _rounds(clients: list[Client], mosts: list[int], is_done: object) -> None:
    """Let each of *clients* do of each workunit as many calls as its number in *mosts* says, until all is done."""

    async def round_() -> None:
        for client, most in zip(clients, mosts, strict=True):
            tasks = list(client.tasks.values())
            reports = [await client.compute(task, served.double, most) for task in tasks]
            await client.call(1e9, 1, reports)

    await eventually(round_, lambda _: is_done())  # type: ignore[operator]


async def test_two_hosts(site: Site, tmp_path: Path) -> None:
    async with site.batch(tmp_path / "batch", COUNT, chunk=10) as batch:
        one, other = site.client("one"), site.client("other")
        tasks = (await one.call(1e9, 1)).tasks
        assert sum(names.count_of(task.workunit) for task in tasks) == COUNT
        assert len(tasks) < COUNT / 2
        await compute_all([one, other])
        await batch.done()
    assert sorted(batch.outputs) == [2 * number for number in range(COUNT)]  # type: ignore[type-var]


async def test_hosts_that_do_not_get_to_the_end(site: Site, tmp_path: Path) -> None:
    """Of each workunit only those calls count that both hosts have done; the others go into new ones."""
    async with site.batch(tmp_path / "batch", COUNT, chunk=10) as batch:
        clients = [site.client("one"), site.client("other")]
        await _rounds(clients, [7, 3], batch.task.done)
        batch.task.result()
    assert sorted(batch.outputs) == [2 * number for number in range(COUNT)]  # type: ignore[type-var]
    with_quorum = await site.get_json(f"status.json?key={site.status_key}")
    assert with_quorum["batches"]


async def test_a_liar_among_three(site: Site, tmp_path: Path) -> None:
    def lie(value: object) -> object:
        return -1 if value == 4 else served.double(value)

    async with site.batch(tmp_path / "batch", COUNT, chunk=10) as batch:
        honest = [site.client("one"), site.client("other")]
        liar = site.client("liar")
        tasks = (await liar.call(1e9, 1)).tasks
        await liar.call(0, 0, [await liar.compute(task, lie) for task in tasks])
        await _rounds(honest, [100, 100], batch.task.done)
        batch.task.result()
    assert sorted(batch.outputs) == [2 * number for number in range(COUNT)]  # type: ignore[type-var]


async def test_hosts_on_which_a_call_crashes(site: Site, tmp_path: Path) -> None:
    """The workunit with it is divided until it is alone; then it fails, and nothing else does."""
    batch_dir = tmp_path / "batch"
    async with site.batch(batch_dir, 8, chunk=8, quorum=1, max_error_results=1) as batch:
        clients = [site.client("one"), site.client("other")]

        async def round_() -> None:
            for client in clients:
                reports = []
                for task in list(client.tasks.values()):
                    calls = names.calls_of(task.workunit)
                    if calls.first <= 5 < calls.first + calls.count:
                        reports.append(Finished(task.name, exit_status=193, state=3, stderr="crashed"))
                    else:
                        reports.append(await client.compute(task, served.double))
                await client.call(1e9, 1, reports)

        await eventually(round_, lambda _: batch.task.done())
        batch.task.result()
    assert sorted(batch.outputs) == [2 * number for number in range(8) if number != 5]  # type: ignore[type-var]
    (failed,) = batch.errors
    assert failed.job.endswith("_5")
    assert not list((batch_dir / "new").iterdir())
