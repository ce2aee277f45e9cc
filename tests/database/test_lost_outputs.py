"""Valid outputs that are gone or damaged before they are published."""

import os
import shutil

import pytest

from aioboinc import models
from aioboinc.passes import comparators, publishing, validation
from aioboinc.wire import codec
from database.daemon_world import output, published

DAMAGES = ["gone", "emptied", "truncated", "changed", "of the same size", "a directory"]


def damage(path, how):
    data = path.read_bytes()
    if how == "emptied":
        path.write_bytes(b"")
    elif how == "truncated":
        path.write_bytes(data[:-1])
    elif how == "changed":
        path.write_bytes(output(path.name.partition("_r")[0], "other"))
    elif how == "of the same size":
        path.write_bytes(bytes(len(data)))
    else:
        path.unlink()
        if how == "a directory":
            path.mkdir()


async def validated(world, batch, values, **options):
    """Let hosts compute a job: *values*, the first ones of which agree; return the job and the paths of its outputs."""
    (job,) = await world.submit(batch, 1, quorum=len(values), **options)
    for number, value in enumerate(values):
        await world.compute(f"{job}_{number}", value, host=1 + number % 2)
    await world.transition()
    await world.validate()
    workunit = await world.workunit(job)
    assert (workunit["canonical_resultid"] > 0, workunit["assimilate_state"]) == (True, 1)
    return job, [await world.output_path(f"{job}_{number}") for number in range(len(values))]


@pytest.mark.parametrize("how", DAMAGES)
async def test_a_lost_output_is_computed_again(world, batch, directory, caplog, how):
    job, (path,) = await validated(world, batch, [7])
    damage(path, how)
    assert await world.assimilate() == 1
    assert published(directory) == {}
    assert await world.counts(batch) == (0, 0)
    workunit, (result,) = await world.workunit(job), await world.results(job)
    assert (workunit["canonical_resultid"], workunit["assimilate_state"], workunit["need_validate"]) == (0, 0, 0)
    assert (workunit["error_mask"], workunit["transition_time"]) == (0, world.now)
    assert (result["outcome"], result["validate_state"]) == (
        models.Outcome.VALIDATE_ERROR,
        models.ValidateState.INVALID,
    )
    assert caplog.text.count(f"computed again: [WU#{workunit['id']} {job}] its valid output") == 1

    world.now += 1
    await world.transition()
    await world.compute(f"{job}_1", 7)
    await world.settle()
    assert published(directory) == {job: output(job, 7)}
    assert await world.counts(batch) == (1, 0)


@pytest.mark.parametrize("how", DAMAGES)
async def test_another_valid_result_stands_for_it(world, batch, directory, caplog, how):
    job, (first, _) = await validated(world, batch, [7, 7])
    damage(first, how)
    await world.settle()
    assert published(directory) == {job: output(job, 7)}
    assert await world.counts(batch) == (1, 0)
    workunit, (lost, taken) = await world.workunit(job), await world.results(job)
    assert workunit["canonical_resultid"] == taken["id"]
    assert lost["outcome"] == models.Outcome.SUCCESS  # no error: BOINC's transitioner counts these at any time
    assert caplog.text.count("another valid result stands for it") == 1


async def test_within_tolerances_another_valid_result_stands_for_it_too(world, batch, directory):
    (job,) = await world.submit(batch, 1, quorum=2)
    values = [1.0, 1.0 + 1e-12]
    for number, value in enumerate(values):
        await world.compute(f"{job}_{number}", value, host=1 + number)
    await world.transition()
    policy = validation.Policy(comparator=comparators.parse("numeric:relative=1e-9"))
    await world.validate(policy=policy)
    first, _ = await world.results(job)
    assert (await world.workunit(job))["canonical_resultid"] == first["id"]
    (await world.output_path(first["name"])).unlink()
    await world.settle(comparator=policy.comparator)
    assert published(directory) == {job: output(job, values[1])}


async def test_with_all_of_them_lost_the_job_is_computed_again(world, batch, directory):
    job, paths = await validated(world, batch, [7, 7, 8])
    for path in paths[:2]:
        damage(path, "emptied")
    assert await world.assimilate() == 1
    assert [row["validate_state"] for row in await world.results(job)] == [models.ValidateState.INVALID] * 3
    world.now += 1
    await world.transition()
    new = [row["name"] for row in await world.results(job)][3:]
    assert len(new) == 3
    for number, name in enumerate(new):
        await world.compute(name, 7, host=1 + number % 2)
    await world.settle()
    assert published(directory) == {job: output(job, 7)}
    assert await world.counts(batch) == (1, 0)


async def test_a_host_that_lied_is_not_taken_for_the_lost_ones(world, batch, directory):
    job, paths = await validated(world, batch, [7, 7, 8])
    damage(paths[0], "gone")
    await world.settle()
    assert published(directory) == {job: output(job, 7)}


async def test_limits_of_error_results_hold(world, batch, directory):
    job, (path,) = await validated(world, batch, [7], max_error_results=1)
    damage(path, "gone")
    await world.settle()
    await world.compute(f"{job}_1", 7)
    await world.transition()
    await world.validate()
    damage(await world.output_path(f"{job}_1"), "gone")
    await world.settle()
    report = codec.decode(published(directory)[f"{job}.error"], None)
    assert report["reason"] == "too many of its results failed: no output file"
    assert await world.counts(batch) == (1, 1)


async def test_what_came_too_late_gets_another_chance(world, batch, directory):
    (job,) = await world.submit(batch, 1, quorum=1, target_nresults=2)
    await world.send(f"{job}_1")
    await world.compute(f"{job}_0", 7)
    await world.transition()
    await world.validate()
    damage(await world.output_path(f"{job}_0"), "truncated")
    await world.compute(f"{job}_1", 7)
    await world.transition()
    await world.validate()
    assert (await world.result(f"{job}_1"))["validate_state"] == models.ValidateState.TOO_LATE
    await world.settle()
    assert published(directory) == {job: output(job, 7)}
    assert (await world.result(f"{job}_1"))["id"] == (await world.workunit(job))["canonical_resultid"]


async def test_without_a_report_of_it_an_output_must_be_whole(world, batch, directory):
    whole, cut = await world.submit(batch, 2)
    for job in (whole, cut):
        await world.compute(f"{job}_0", 7)
    await world.execute("UPDATE result SET xml_doc_out = :none", none=b"")
    await world.transition()
    await world.validate()
    damage(await world.output_path(f"{cut}_0"), "truncated")
    await world.assimilate()
    assert published(directory) == {whole: output(whole, 7)}
    assert (await world.workunit(cut))["canonical_resultid"] == 0


@pytest.mark.parametrize("how", ["nbytes", "md5"])
async def test_an_output_that_is_not_the_reported_one_is_not_valid(world, batch, directory, how):
    (job,) = await world.submit(batch, 1)
    await world.compute(f"{job}_0", 7)
    data = output(job, 8) if how == "md5" else output(job, 7777)
    (await world.output_path(f"{job}_0")).write_bytes(data)
    await world.settle()
    (first, second) = await world.results(job)
    assert first["outcome"] == models.Outcome.VALIDATE_ERROR
    await world.compute(second["name"], 7)
    await world.settle()
    assert published(directory) == {job: output(job, 7)}


@pytest.mark.parametrize("copied", [True, False])
async def test_what_is_published_counts_whatever_becomes_of_its_source(world, batch, directory, copied):
    job, (path,) = await validated(world, batch, [7])
    (shutil.copyfile if copied else os.link)(path, directory / "new" / job)
    damage(path, "emptied" if copied else "gone")
    await world.settle()
    assert published(directory) == {job: output(job, 7)}
    assert len(await world.results(job)) == 1


async def test_what_was_linked_to_a_damaged_output_goes_with_it(world, batch, directory):
    job, (path,) = await validated(world, batch, [7])
    os.link(path, directory / "new" / job)
    damage(path, "truncated")
    await world.assimilate()
    assert published(directory) == {}
    world.now += 1
    await world.transition()
    await world.compute(f"{job}_1", 7)
    await world.settle()
    assert published(directory) == {job: output(job, 7)}


async def test_an_upload_hierarchy_that_is_not_there_loses_nothing(world, batch, directory, caplog):
    job, _ = await validated(world, batch, [7])
    away = world.project.root / "away"
    world.project.upload_dir.rename(away)
    for _ in range(5):
        world.now += 1
        await world.assimilate()
    assert caplog.text.count("can't publish, will try again") == 1
    assert (await world.workunit(job))["canonical_resultid"] > 0
    away.rename(world.project.upload_dir)
    world.now += 600
    await world.settle()
    assert published(directory) == {job: output(job, 7)}


async def test_all_outputs_of_a_batch_are_lost(world, batch, directory, caplog):
    jobs = await world.submit(batch, 30)
    for number, job in enumerate(jobs):
        await world.compute(f"{job}_0", number)
    await world.transition(limit=100)
    await world.validate()
    shutil.rmtree(world.project.upload_dir)
    world.project.upload_dir.mkdir()
    assert await world.assimilate() == 30
    assert caplog.text.count("computed again") == 1
    assert "; and 20 others" in caplog.text
    await world.settle()
    for number, job in enumerate(jobs):
        await world.compute(f"{job}_1", number)
    await world.settle()
    assert published(directory) == {job: output(job, number) for number, job in enumerate(jobs)}


async def test_two_assimilators_reopen_a_workunit_once(world, batch, directory):
    _, (path,) = await validated(world, batch, [7])
    (stale,) = await world.store.assimilations.ready(1, limit=10)
    damage(path, "gone")
    assert await world.assimilate() == 1
    assert await world.store.assimilations.reopen([stale], now=world.now) == []
    assert await world.store.assimilations.replace({stale: 77}) == 0
    assert await world.assimilate() == 0


async def test_outputs_of_others_are_durable_before_a_master_sees_them(world, batch, directory, monkeypatch):
    """BOINC's upload handler syncs nothing: what is linked before it is durable may be empty after a power cut."""
    await validated(world, batch, [7])
    steps = []
    link, sync = os.link, publishing.durable.sync
    monkeypatch.setattr(publishing.os, "link", lambda *paths: (steps.append("link"), link(*paths)))
    monkeypatch.setattr(publishing.durable, "sync", lambda path: (steps.append(path), sync(path)))
    await world.assimilate()
    assert steps == [world.project.upload_dir, "link", directory / "new"]
