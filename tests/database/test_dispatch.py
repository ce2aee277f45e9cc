"""Sending results to hosts, on both databases."""

import asyncio
from pathlib import Path

import pytest

from aioboinc import models
from aioboinc.embedded import hosts as local_hosts
from aioboinc.store import applications, candidates, recipients
from database.daemon_world import World

LIMITS = recipients.Limits(
    memory=1e15,
    disk=1e15,
    active_hosts=2,
    one_per_user=False,
    quota=10_000,
    ncpus=1000,
    held=0,
    newcomers_room=1000,
)
# Nothing is known yet of how the host does with the app version.
RECIPIENT = recipients.Recipient(hostid=1, userid=1, app_version_id=2, flops=1e9, limits=LIMITS)


class Host:
    """A host that takes up to *count* candidates, of those that *suit* it; it notes how many it was shown."""

    def __init__(self, world, count, suit=lambda candidate: True):
        self._world = world
        self._count = count
        self._suit = suit
        self.position = candidates.TOP
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
    host.position = candidates.TOP
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


UNLIMITED = recipients.Recipient(hostid=1, userid=1, app_version_id=2, flops=1e9)


async def given(world, limit):
    """Return the numbers of the jobs that a host without limits gets, and the deadlines of its results."""
    sent = await world.store.dispatch.send(UNLIMITED, limit, now=world.now)
    numbers = [int(assignment.name.split("_")[2]) for assignment in sent.assignments]
    return numbers, {assignment.report_deadline for assignment in sent.assignments}


async def test_without_limits_a_host_gets_all_that_it_asks_for(world, tmp_path):
    await submit(world, tmp_path, 600, rsc_memory_bound=10**18, rsc_disk_bound=10**18, quorum=2)
    urgent = await world.batch(tmp_path / "urgent", token="1" * 32)
    await world.submit(urgent.id, 2, priority=5)
    assert await given(world, 3) == ([0, 1, 0], {models.NEVER})  # the urgent ones first
    numbers, _ = await given(world, 10_000)
    assert numbers == list(range(1, 600))  # one of each workunit, over all pages
    assert await given(world, 10_000) == ([], set())
    assert await world.store.dispatch.count_unsent(10_000) == 600


async def test_without_limits_a_host_gets_again_at_once_what_has_failed_on_it(world, tmp_path):
    batch = await world.batch(tmp_path / "batch")
    (job,) = await world.submit(batch.id, 1)
    assert await given(world, 1) == ([0], {models.NEVER})
    await world.fail(f"{job}_0")
    await world.transition()
    assert await given(world, 1) == ([0], {models.NEVER})


async def test_nobody_gets_what_is_cancelled(world, tmp_path):
    """A local host is not registered over and over for it either."""
    batch = await world.batch(tmp_path / "batch")
    await world.submit(batch.id, 2)
    hosts = local_hosts.LocalHosts(
        world.project, tmp_path, 1, checkpoints={}, on_reported=asyncio.Event(), clock=lambda: world.now
    )
    await hosts.register(world.store, applications.Version(2, 1, "", deprecated=False, xml_doc=""))
    (host,) = hosts._hosts
    host.is_ready = True
    assert await hosts.dispatch() == 1
    assert await hosts.dispatch() == 1  # it has no process: the one has come back
    before = await rows(world, "host")

    async def cancel(tx):
        await tx.execute("UPDATE workunit SET error_mask = :cancelled", {"cancelled": models.ErrorMask.CANCELLED})

    await world.connector.run(cancel)
    for _ in range(3):
        assert await hosts.dispatch() == 0
    assert await rows(world, "host") == before + 1


async def rows(world, table):
    async def work(tx):
        return (await tx.fetch_one(f"SELECT COUNT(*) AS n FROM {table}", {}))["n"]

    return await world.connector.read(work)
