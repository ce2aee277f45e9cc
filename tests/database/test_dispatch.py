"""Sending results to hosts, on both databases."""

from pathlib import Path

import pytest

from aioboinc.store import dispatch
from database.daemon_world import World

RECIPIENT = dispatch.Recipient(
    hostid=1,
    userid=1,
    app_version_id=2,  # nothing is known yet of how the host does with it
    flops=1e9,
    memory=1e15,
    disk=1e15,
    active_hosts=2,
    one_per_user=False,
    quota=10_000,
    ncpus=1000,
    held=0,
    newcomers_room=1000,
)


class Host:
    """A host that takes up to *count* candidates, of those that *suit* it; it notes how many it was shown."""

    def __init__(self, world, count, suit=lambda candidate: True):
        self._world = world
        self._count = count
        self._suit = suit
        self.position = dispatch.TOP
        self.shown = 0

    def choose(self, candidates):
        self.shown = len(candidates)
        chosen = [candidate for candidate in candidates if self._suit(candidate)][: self._count]
        return chosen, len(chosen) == self._count

    async def get(self, limit=400, pages=3):
        """Return the numbers of the jobs that it gets, and whether there is nothing more."""
        sent = await self._world.store.dispatch.send(
            RECIPIENT, limit, self.choose, start=self.position, pages=pages, now=self._world.now
        )
        self.position = sent.position
        return [int(assignment.name.split("_")[2]) for assignment in sent.assignments], sent.at_end


@pytest.fixture
async def world(connector, tmp_path: Path):
    world = World(connector, tmp_path / "project")
    await world.set_up()
    return world


async def submit(world, tmp_path, count, **options):
    batch = await world.batch(tmp_path / "batch")
    await world.submit(batch.id, count, **options)


async def test_no_more_is_read_than_a_host_takes(world, tmp_path):
    await submit(world, tmp_path, 100)
    host = Host(world, 2)
    assert await host.get() == ([0, 1], False)
    assert host.shown < 10
    assert await host.get() == ([2, 3], False)
    many = Host(world, 50)
    assert await many.get() == (list(range(4, 54)), False)
    assert many.shown < 100


async def test_what_does_not_suit_is_passed_by(world, tmp_path):
    await submit(world, tmp_path, 1200)
    host = Host(world, 3, lambda candidate: candidate.id > 1190)
    assert await host.get(limit=2) == ([1190, 1191], False)
    # No more is looked at than some pages; what follows comes next time.
    host.position = dispatch.TOP
    assert await host.get(pages=1) == ([], False)
    assert await host.get(pages=1) == ([], False)
    assert host.shown == 500
    assert await host.get(pages=1) == ([1192, 1193, 1194], False)


async def test_there_is_an_end(world, tmp_path):
    assert await Host(world, 1).get() == ([], True)
    await submit(world, tmp_path, 3, quorum=2)
    # One result of each workunit.
    host = Host(world, 10)
    assert await host.get() == ([0, 1, 2], True)
    assert await host.get() == ([], True)


async def test_urgent_ones_come_first_whatever_was_looked_at(world, tmp_path):
    await submit(world, tmp_path, 20)
    host = Host(world, 2)
    assert await host.get() == ([0, 1], False)
    batch = await world.batch(tmp_path / "urgent", token="1" * 32)
    await world.submit(batch.id, 3, priority=5)
    assert await host.get() == ([0, 1], False)
    assert await host.get() == ([2, 2], False)
    assert await host.get() == ([3, 4], False)


async def test_a_failed_job_comes_back_to_its_host_if_no_other_takes_it(world, tmp_path):
    batch = await world.batch(tmp_path / "batch")
    (job,) = await world.submit(batch.id, 1, quorum=1)
    await world.send(f"{job}_0")
    await world.fail(f"{job}_0")
    await world.transition()
    assert await Host(world, 1).get() == ([], True)  # there is another host that calls
    world.now += 898
    assert await Host(world, 1).get() == ([], True)
    world.now += 2
    assert await Host(world, 1).get() == ([0], False)
