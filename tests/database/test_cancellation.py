"""Batches that are abandoned, or ended by somebody else, on both databases."""

from pathlib import Path

import pytest

from aioboinc import errors, models
from aioboinc.batch import directory as batch_directory
from aioboinc.batch import ending, patrol
from aioboinc.passes import cancellation
from aioboinc.store import applications
from aioboinc.wire import codec
from database.daemon_world import APPID, input_sha256

NEVER = models.NEVER
TOKEN = "0" * 32
DONE = models.AssimilateState.DONE
CANCELLED = models.ErrorMask.CANCELLED
SETTLED = {"error_mask": CANCELLED, "assimilate_state": DONE, "file_delete_state": 1, "transition_time": NEVER}
"""What BOINC's transitioner makes of a workunit that is cancelled when nothing of it is at a host."""


async def abandon(world, **options):
    await cancellation.abandon(world.store, TOKEN, clock=lambda: world.now, **options)


async def states(world, name):
    workunit = await world.workunit(name)
    return {column: workunit[column] for column in SETTLED}


async def outcomes(world, name):
    return [(row["server_state"], row["outcome"], row["file_delete_state"]) for row in await world.results(name)]


def published(directory):
    return {path.name for path in (directory / "new").iterdir()}


async def test_an_abandoned_workunit_is_as_the_transitioner_would_leave_it(world, batch):
    unsent, sent, half, failed, unborn, done = await world.submit(batch, 6, quorum=2)
    await world.execute("DELETE FROM result WHERE name LIKE :name", name=f"{unborn}_%")
    await world.send(f"{sent}_0")
    await world.compute(f"{half}_0", 1)
    await world.fail(f"{failed}_0")
    for number in (0, 1):
        await world.compute(f"{done}_{number}", 1, host=1 + number)
    await world.transition()
    await world.validate()
    told = []
    await abandon(world, progressed=lambda *progress: told.append(progress))

    over, didnt_need = models.ServerState.OVER, models.Outcome.DIDNT_NEED
    for name in (unsent, half, failed, unborn, done):
        assert await states(world, name) == {**SETTLED, "error_mask": (await world.workunit(name))["error_mask"]}
        assert (await world.workunit(name))["error_mask"] & CANCELLED
    assert await outcomes(world, unsent) == [(over, didnt_need, 0)] * 2
    assert await outcomes(world, half) == [(over, models.Outcome.SUCCESS, 1), (over, didnt_need, 0)]
    assert (await world.results(half))[0]["validate_state"] == models.ValidateState.NO_CHECK
    assert (await outcomes(world, failed))[0] == (over, models.Outcome.CLIENT_ERROR, 1)
    assert await outcomes(world, unborn) == []
    deadline = world.now + 86400
    assert await states(world, sent) == {**SETTLED, "file_delete_state": 0, "transition_time": deadline}
    assert await outcomes(world, sent) == [(models.ServerState.IN_PROGRESS, 0, 0), (over, didnt_need, 0)]
    assert told[-1] == (6, 6)
    assert await world.store.batches.progress(batch) is None
    (row,) = await world.rows("SELECT state FROM batch")
    assert row["state"] == models.BatchState.ABORTED
    world.now += 1
    assert await world.transition() == 0  # there is nothing left for it to do now


@pytest.mark.parametrize("how", ["reported", "late", "lost"])
async def test_files_of_an_abandoned_job_at_a_host_go_when_it_is_over(world, batch, how):
    (job,) = await world.submit(batch, 1)
    name = f"{job}_{input_sha256(job).hex()}"
    inputs = Path(world.project.download_path(name))
    inputs.parent.mkdir(exist_ok=True)
    inputs.write_bytes(b"")
    await world.send(f"{job}_0")
    await abandon(world)
    await world.settle()
    assert inputs.exists()
    output = await world.output_path(f"{job}_0")
    output.parent.mkdir(exist_ok=True)
    if how == "reported":  # the host has aborted it
        await world.report(f"{job}_0", outcome=models.Outcome.CLIENT_ERROR, exit_status=202, validate_state=2)
    elif how == "late":  # it was done all the same
        output.write_bytes(b"output")
        await world.report(f"{job}_0")
    else:
        world.now += 86401
    await world.settle()
    assert not inputs.exists()
    assert not output.exists()
    assert (await world.workunit(job))["file_delete_state"] == models.FileDeleteState.DONE
    assert (await world.workunit(job))["transition_time"] == NEVER


async def test_files_are_kept_as_long_as_the_project_says(world, batch):
    (job,) = await world.submit(batch, 1, quorum=2)
    await world.compute(f"{job}_0", 1)
    await abandon(world, delete_delay=3600)
    assert await states(world, job) == {**SETTLED, "file_delete_state": 0, "transition_time": world.now + 3600}
    world.now += 3601
    await world.settle()
    assert (await world.workunit(job))["file_delete_state"] == models.FileDeleteState.DONE


async def test_abandoning_goes_on_after_an_interruption(world, batch, monkeypatch):
    monkeypatch.setattr(cancellation, "_PIECE", 3)
    jobs = await world.submit(batch, 10)

    class Killed(BaseException):
        pass

    def kill(done, total):
        if done > 5:
            raise Killed

    with pytest.raises(Killed):
        await abandon(world, progressed=kill)
    cancelled = [job for job in jobs if (await states(world, job)) == SETTLED]
    assert cancelled == jobs[:6]
    assert (await world.store.batches.find(TOKEN)).end == (await world.store.batches.progress(batch)).end
    assert (await world.store.batches.find(TOKEN)).end.how == "aborted"
    told = []
    await abandon(world, progressed=lambda *progress: told.append(progress))
    assert told == [(3, 4), (4, 4), (4, 4)]
    assert [await states(world, job) for job in jobs] == [SETTLED] * 10


async def test_a_batch_that_is_complete_stays_so_when_it_is_abandoned(world, batch):
    (job,) = await world.submit(batch, 1)
    await world.compute(f"{job}_0", 1)
    await world.settle()
    await abandon(world)
    (row,) = await world.rows("SELECT state FROM batch")
    assert row["state"] == models.BatchState.COMPLETE
    assert not (await world.workunit(job))["error_mask"]


async def boinc_aborts(world, batch, *, state=models.BatchState.ABORTED):
    """Abort a batch as the web RPC of BOINC does."""
    await world.execute("UPDATE result SET server_state = 5, outcome = 5 WHERE server_state = 2")
    await world.execute("UPDATE workunit SET error_mask = error_mask | 16, file_delete_state = 1")
    await world.execute("UPDATE batch SET state = :state, completion_time = 1800000000", state=state)


async def test_what_is_done_of_an_aborted_batch_is_published_and_nothing_else(world, batch, tmp_path):
    assimilated, done, half, sent, unsent = await world.submit(batch, 5, quorum=2)
    for job in (assimilated, done):
        for number in (0, 1):
            await world.compute(f"{job}_{number}", 1, host=1 + number)
        await world.transition()
        await world.validate()
        if job == assimilated:
            await world.assimilate()
    await world.compute(f"{half}_0", 1)
    await world.send(f"{sent}_0")
    assert (await world.store.batches.progress(batch)).end is None
    await boinc_aborts(world, batch)
    progress = await world.store.batches.progress(batch)
    assert (progress.end.how, progress.end.when) == ("aborted", 1800000000)
    end = ending.Ending(world.store, world.project, APPID, clock=lambda: world.now)
    await end.look(progress)
    assert not end.published  # one output is still on its way
    await world.settle()
    await end.look(await world.store.batches.progress(batch))
    assert end.published
    assert published(tmp_path / "batch") == {assimilated, done}
    for job in (half, unsent):
        assert (await states(world, job))["transition_time"] == NEVER
        assert (await states(world, job))["assimilate_state"] == DONE
    assert (await states(world, sent))["transition_time"] < NEVER
    assert str(end.error(7, handled=2, submitted=5)) == (
        "batch 7 was aborted on 2027-01-15 at 08:00:00 UTC in the project test, and not by this program: 2 of its 5 "
        "jobs were done, and have been handled; the others are cancelled. To compute them, start anew with --fresh"
    )


async def test_an_ended_batch_takes_no_more_jobs(world, batch):
    await world.submit(batch, 2, last=False)
    for state in models.ENDED:
        await boinc_aborts(world, batch, state=state)
        with pytest.raises(errors.BatchAborted):
            await world.submit(batch, 1, first=2, last=False)
    assert len(await world.rows("SELECT id FROM workunit")) == 2
    assert (await world.store.batches.progress(batch)).end.how == "retired"
    await world.execute("DELETE FROM batch")
    assert (await world.store.batches.progress(batch)).end.how == "deleted"
    with pytest.raises(errors.BatchAborted):
        await world.submit(batch, 1, first=2, last=False)


async def test_a_complete_batch_that_is_retired_is_complete(world, batch):
    (job,) = await world.submit(batch, 1)
    await world.compute(f"{job}_0", 1)
    await world.settle()
    await boinc_aborts(world, batch, state=models.BatchState.RETIRED)
    assert (await world.store.batches.progress(batch)).end is None


class Unhandled:
    """A master that has handled some jobs."""

    def __init__(self, *handled):
        self.handled = set(handled)

    def unhandled(self, first, end, limit):
        return [number for number in range(first, end) if number not in self.handled][:limit]

    def workunit_name(self, number):
        return f"pyboinc_{self.batch}_{number}"


def patrolling(world, batch, tmp_path, jobs):
    directory = batch_directory.BatchDirectory(tmp_path / "batch")
    jobs.batch = batch
    return patrol.Patrol(world.store, directory, batch, jobs, clock=lambda: world.now)


async def test_a_job_that_somebody_has_cancelled_fails_now_and_not_in_ten_days(world, batch, tmp_path):
    cancelled, sent, good = await world.submit(batch, 3)
    await world.send(f"{sent}_0")
    for job in (cancelled, sent):
        await world.execute("UPDATE workunit SET error_mask = 16 WHERE name = :job", job=job)
    await world.settle()
    assert published(tmp_path / "batch") == set()
    watch = patrolling(world, batch, tmp_path, Unhandled())
    world.store.cancellations._clock = lambda: world.now
    assert await watch.one_pass(3) == 2
    assert await watch.one_pass(3) == 0
    await world.settle()
    assert published(tmp_path / "batch") == {f"{cancelled}.error", f"{sent}.error"}
    report = codec.decode((tmp_path / "batch" / "new" / f"{cancelled}.error").read_bytes(), None)
    assert report["reason"] == "cancelled"
    assert await world.counts(batch) == (2, 2)
    assert not (await world.workunit(good))["error_mask"]


async def test_a_job_whose_workunit_was_deleted_fails(world, batch, tmp_path):
    handled, unhandled, gone, good = await world.submit(batch, 4)
    for job in (handled, unhandled):
        await world.compute(f"{job}_0", 1)
    await world.settle()
    for job in (handled, unhandled, gone):  # db_purge, and somebody
        await world.execute("DELETE FROM workunit WHERE name = :job", job=job)
    watch = patrolling(world, batch, tmp_path, Unhandled(0))
    assert await watch.one_pass(4) == 1
    assert await watch.one_pass(4) == 0
    assert published(tmp_path / "batch") == {handled, unhandled, f"{gone}.error"}
    report = codec.decode((tmp_path / "batch" / "new" / f"{gone}.error").read_bytes(), None)
    assert report["reason"] == (
        "its workunit is not in the project's database any more: somebody has deleted it before it was done"
    )
    await world.store.batches.settle(batch, APPID)
    assert await world.counts(batch) == (2, 0)  # one may still come
    await world.compute(f"{good}_0", 1)
    await world.settle()
    await world.store.batches.settle(batch, APPID)
    assert await world.counts(batch) == (4, 1)
    (row,) = await world.rows("SELECT state FROM batch")
    assert row["state"] == models.BatchState.COMPLETE


async def test_a_patrol_looks_at_some_jobs_at_a_time(world, batch, tmp_path, monkeypatch):
    monkeypatch.setattr(patrol, "_SLICE", 2)
    await world.submit(batch, 5)
    asked = []
    jobs = world.store.batches.jobs

    async def note(names):
        asked.append([int(name.rpartition("_")[2]) for name in names])
        return await jobs(names)

    world.store.batches.jobs = note
    watch = patrolling(world, batch, tmp_path, Unhandled(1))
    for _ in range(4):
        await watch.one_pass(5)
    assert asked == [[0, 2], [3, 4], [0, 2]]


async def test_a_patrol_says_once_that_the_application_is_out_of_use(world, batch, tmp_path, caplog):
    watch = patrolling(world, batch, tmp_path, Unhandled())
    apps = applications.Applications(world.connector)
    await apps.add_platform("x86_64-pc-linux-gnu", "Linux")
    await apps.add_version(APPID, 1, 101, "")
    await watch.check_application("pyboinc")
    assert not caplog.messages
    await world.execute("UPDATE app_version SET deprecated = 1")
    await watch.check_application("pyboinc")
    await watch.check_application("pyboinc")
    assert caplog.messages == [
        "the application pyboinc has no version in use any more: hosts get no jobs until setup is run"
    ]


async def test_other_batches_go_on_between_two_pieces(world, batch, tmp_path, monkeypatch):
    """All that is done by then is committed, and nothing is locked or left for the transitioner."""
    monkeypatch.setattr(cancellation, "_PIECE", 10)
    other = (await world.batch(tmp_path / "other", token="1" * 32)).id
    (job,) = await world.submit(other, 1)
    await world.submit(batch, 30)
    await world.compute(f"{job}_0", 1)
    cancel = world.store.cancellations.cancel

    async def one_piece_and_then_others(*arguments, **options):
        piece = await cancel(*arguments, **options)
        if piece and job not in published(tmp_path / "other"):
            assert await world.transition() == 1
            assert await world.validate() == 1
            assert await world.assimilate() == 1
        return piece

    world.store.cancellations.cancel = one_piece_and_then_others
    await abandon(world)
    assert published(tmp_path / "other") == {job}
    assert len(await world.rows("SELECT id FROM workunit WHERE error_mask = 16")) == 30
