"""The daemons' passes on both databases."""

import asyncio
import os
from pathlib import Path

import pytest

from aioboinc import errors, models
from aioboinc.passes import cancellation, comparators, publishing, validation
from aioboinc.wire import codec, envelope
from database.daemon_world import APPID, NOW, PROGRAM, input_sha256, output, published

NEVER = models.NEVER
FIRST = "pyboinc_1_0"


async def test_a_job_passes_through(world, batch, directory):
    (job,) = await world.submit(batch, 1)
    inputs = [f"{job}_{input_sha256(job).hex()}", f"pyboinc_program_{'0' * 64}.zip"]
    for name in inputs:
        path = Path(world.project.download_path(name))
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"")
    await world.compute(f"{job}_0", 49)
    path = await world.output_path(f"{job}_0")

    assert await world.transition() == 1
    assert (await world.workunit(job))["need_validate"] == 1
    assert await world.validate() == 1
    workunit, (result,) = await world.workunit(job), await world.results(job)
    assert (workunit["need_validate"], workunit["canonical_resultid"]) == (0, result["id"])
    assert (workunit["assimilate_state"], workunit["transition_time"]) == (1, NEVER)
    assert result["validate_state"] == models.ValidateState.VALID
    assert await world.assimilate() == 1
    assert published(directory) == {job: output(job, 49)}
    assert path.stat().st_ino == (directory / "new" / job).stat().st_ino
    assert await world.counts(batch) == (1, 0)
    (row,) = await world.rows("SELECT fraction_done, nerror_jobs, state, completion_time FROM batch")
    assert (row["fraction_done"], row["nerror_jobs"]) == (1, 0)
    assert (row["state"], row["completion_time"]) == (models.BatchState.COMPLETE, NOW)
    assert (await world.workunit(job))["transition_time"] == NOW

    world.now += 1
    assert await world.transition() == 1
    workunit = await world.workunit(job)
    assert (workunit["file_delete_state"], workunit["transition_time"]) == (1, NEVER)
    assert await world.delete() == 2
    assert not path.exists()
    assert not Path(world.project.download_path(inputs[0])).exists()
    assert Path(world.project.download_path(inputs[1])).exists()
    assert published(directory) == {job: output(job, 49)}
    workunit, (result,) = await world.workunit(job), await world.results(job)
    assert (workunit["file_delete_state"], result["file_delete_state"]) == (2, 2)
    assert [await world.transition(), await world.validate(), await world.assimilate(), await world.delete()] == [
        0
    ] * 4


async def test_the_transitioner_makes_the_first_results(world, batch):
    jobs = await world.submit(batch, 3, quorum=2, made=False)
    world.now += 1
    assert await world.transition() == 3
    for job in jobs:
        first, second = await world.results(job)
        assert (first["name"], second["name"]) == (f"{job}_0", f"{job}_1")
        assert first["server_state"] == models.ServerState.UNSENT
        document = first["xml_doc_in"].decode()
        assert document.startswith(f"<file_info>\n        <name>{job}_0_r")
        assert document.endswith("</result>")
        assert f"<url>{world.project.upload_url}</url>" in document
        assert first["xml_doc_in"] != second["xml_doc_in"]
        assert (await world.workunit(job))["transition_time"] == world.now + 7 * 86400 * 3 // 2
    assert await world.transition() == 0


async def test_a_missing_template_is_an_error_in_one_line(world, batch):
    await world.submit(batch, 1, made=False)
    world.now += 1
    (world.project.root / "templates" / "pyboinc_out").unlink()
    with pytest.raises(errors.ProjectError, match=r"output template .*pyboinc_out: No such file"):
        await world.transition()


async def test_a_lost_result_is_replaced_until_there_are_too_many(world, batch, directory):
    (job,) = await world.submit(batch, 1, max_total_results=2, max_success_results=2)
    await world.send(f"{job}_0", deadline=100)
    assert (await world.workunit(job))["transition_time"] == NOW + 100
    world.now += 102
    assert await world.transition() == 1
    lost, second = await world.results(job)
    assert (lost["outcome"], second["server_state"]) == (models.Outcome.NO_REPLY, models.ServerState.UNSENT)
    await world.send(f"{job}_1", deadline=100)
    world.now += 102
    assert await world.transition() == 1
    workunit = await world.workunit(job)
    assert workunit["error_mask"] == models.ErrorMask.TOO_MANY_TOTAL_RESULTS
    assert workunit["assimilate_state"] == 1
    (version,) = await world.rows("SELECT * FROM host_app_version WHERE host_id = 1")
    assert version["max_jobs_per_day"] == 8
    await world.assimilate()
    report = codec.decode((directory / "new" / f"{job}.error").read_bytes(), None)
    assert report["job"] == job
    assert report["error_mask"] == models.ErrorMask.TOO_MANY_TOTAL_RESULTS
    assert report["reason"] == ("too many results without a quorum: no reply from the host before the deadline")
    assert await world.counts(batch) == (1, 1)


async def test_a_failed_job_is_reported_with_its_reasons(world, batch, directory):
    (job,) = await world.submit(batch, 1, max_error_results=1)
    await world.fail(f"{job}_0", exit_status=195, stderr="x" * 9000 + "\npyboinc: a package is missing: scipy")
    world.now += 1
    await world.transition()
    await world.fail(f"{job}_1", exit_status=-226)
    await world.settle()
    report = codec.decode(published(directory)[f"{job}.error"], None)
    assert report["reason"] == (
        "too many of its results failed: exit status 195 (EXIT_CHILD_FAILED: the slave's process failed): "
        "a package is missing: scipy; exit status -226 (ERR_TOO_MANY_EXITS: ended too often without having "
        "finished): process exited"
    )
    first, second = report["results"]
    assert (first["name"], first["exit_status"], len(first["stderr"])) == (f"{job}_0", 195, 4096)
    assert first["stderr"].endswith("pyboinc: a package is missing: scipy")
    assert (second["exit_status"], second["stderr"]) == (-226, "")
    (row,) = await world.rows("SELECT nerror_jobs, state FROM batch")
    assert (row["nerror_jobs"], row["state"]) == (1, models.BatchState.COMPLETE)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
async def test_the_order_of_arrival_does_not_matter(world, batch, directory, order):
    (job,) = await world.submit(batch, 1, quorum=3)
    values = ["right", "right", "wrong"]
    for number in order:
        await world.compute(f"{job}_{number}", values[number])
        world.now += 1
        await world.transition()
        await world.validate()
    states = [row["validate_state"] for row in await world.results(job)]
    assert states == [models.ValidateState.VALID] * 2 + [models.ValidateState.INVALID]
    await world.settle()
    assert published(directory) == {job: output(job, "right")}


async def test_disagreement_asks_for_more_results(world, batch, directory):
    (job,) = await world.submit(batch, 1, quorum=2)
    await world.compute(f"{job}_0", 1)
    await world.compute(f"{job}_1", 2)
    await world.transition()
    await world.validate()
    assert {row["validate_state"] for row in await world.results(job)} == {models.ValidateState.INCONCLUSIVE}
    workunit = await world.workunit(job)
    assert (workunit["target_nresults"], workunit["transition_time"]) == (3, world.now)
    world.now += 1
    await world.transition()
    await world.compute(f"{job}_2", 2)
    await world.settle()
    assert [row["validate_state"] for row in await world.results(job)] == [
        models.ValidateState.INVALID,
        models.ValidateState.VALID,
        models.ValidateState.VALID,
    ]
    assert published(directory) == {job: output(job, 2)}


async def test_without_agreement_the_job_fails(world, batch, directory):
    (job,) = await world.submit(batch, 1, quorum=2, max_success_results=3)
    for number in range(4):
        await world.compute(f"{job}_{number}", number)
        await world.settle()
    report = codec.decode(published(directory)[f"{job}.error"], None)
    assert report["reason"] == "its outputs do not agree: not compared with others"
    assert report["error_mask"] == models.ErrorMask.TOO_MANY_SUCCESS_RESULTS
    assert len(await world.results(job)) == 4


@pytest.mark.parametrize("damage", ["missing", "empty", "other job", "cut off"])
async def test_a_bad_output_is_retried_elsewhere(world, batch, directory, damage):
    (job,) = await world.submit(batch, 1)
    data = {"other job": output("pyboinc_1_7", 1), "cut off": output(job, 1)[:-1]}.get(damage, b"")
    await world.compute(f"{job}_0", data)
    if damage == "missing":
        (await world.output_path(f"{job}_0")).unlink()
    await world.transition()
    await world.validate()
    (first,) = await world.results(job)
    assert (first["outcome"], first["validate_state"]) == (
        models.Outcome.VALIDATE_ERROR,
        models.ValidateState.INVALID,
    )
    world.now += 1
    await world.transition()
    await world.compute(f"{job}_1", 1)
    await world.settle()
    assert published(directory) == {job: output(job, 1)}


async def test_why_outputs_were_refused_is_told_to_the_master(world, batch, directory):
    """By BOINC's own validators too, which note nothing: the files say it again."""
    (job,) = await world.submit(batch, 1, max_error_results=1, max_total_results=2)
    await world.compute(f"{job}_0", output("pyboinc_1_7", 1))
    await world.transition()
    await world.validate()
    world.now += 1
    await world.transition()
    await world.compute(f"{job}_1", output(job, 1)[:-1])
    (await world.output_path(f"{job}_1")).unlink()
    await world.settle()
    report = codec.decode(published(directory)[f"{job}.error"], None)
    reasons = [result["reason"] for result in report["results"]]
    assert reasons == [
        f"malformed output: is not an output of {job} with its input and program",
        "no output file",
    ]
    assert all(reason in report["reason"] for reason in reasons)


async def test_a_refused_output_in_which_nothing_is_wrong(world, batch, directory):
    """A validator of the project's may have reasons of its own."""
    (job,) = await world.submit(batch, 1, max_error_results=1, max_total_results=1)
    await world.compute(f"{job}_0", 1)
    await world.execute(
        "UPDATE result SET outcome = :outcome, validate_state = :state",
        outcome=models.Outcome.VALIDATE_ERROR,
        state=models.ValidateState.INVALID,
    )
    await world.settle()
    report = codec.decode(published(directory)[f"{job}.error"], None)
    assert [result["reason"] for result in report["results"]] == ["the validator has refused its output"]


async def test_errors_are_data_and_reach_quorum(world, batch, directory, tmp_path):
    (job,) = await world.submit(batch, 1, quorum=2)
    data = envelope.encode_error(job, input_sha256(job), PROGRAM, ValueError("no"), tmp_path)
    await world.compute(f"{job}_0", data)
    await world.compute(f"{job}_1", data)
    await world.settle()
    assert published(directory) == {job: data}


async def test_unneeded_results_are_not_sent(world, batch):
    (job,) = await world.submit(batch, 1, quorum=1, target_nresults=3)
    await world.compute(f"{job}_1", 1)
    await world.transition()
    await world.validate()
    states = [(row["server_state"], row["outcome"]) for row in await world.results(job)]
    assert states == [(5, models.Outcome.DIDNT_NEED), (5, models.Outcome.SUCCESS), (5, models.Outcome.DIDNT_NEED)]


@pytest.mark.parametrize(
    ("value", "state"),
    [
        (1, models.ValidateState.VALID),
        (2, models.ValidateState.INVALID),
        (b"", models.ValidateState.INVALID),
    ],
)
async def test_later_results_are_compared_with_the_canonical_one(world, batch, directory, value, state):
    (job,) = await world.submit(batch, 1, quorum=1, target_nresults=2)
    await world.send(f"{job}_1")
    await world.compute(f"{job}_0", 1)
    await world.settle()
    assert (await world.workunit(job))["file_delete_state"] == 0
    assert (await world.output_path(f"{job}_0")).exists()
    await world.compute(f"{job}_1", value)
    await world.settle()
    assert (await world.result(f"{job}_1"))["validate_state"] == state
    assert published(directory) == {job: output(job, 1)}
    assert await world.counts(batch) == (1, 0)
    assert (await world.workunit(job))["file_delete_state"] == 2


async def test_a_result_after_the_deletion_is_too_late(world, batch):
    (job,) = await world.submit(batch, 1, quorum=1, target_nresults=2)
    await world.send(f"{job}_1", deadline=100)
    await world.compute(f"{job}_0", 1)
    world.now += 102
    await world.settle()
    assert (await world.result(f"{job}_0"))["file_delete_state"] == 2
    await world.report(f"{job}_1")
    await world.settle()
    assert (await world.result(f"{job}_1"))["validate_state"] == models.ValidateState.TOO_LATE


async def test_an_unreadable_output_is_left_for_later(world, batch, directory):
    first, second = await world.submit(batch, 2)
    await world.compute(f"{first}_0", 1)
    await world.compute(f"{second}_0", 2)
    path = await world.output_path(f"{first}_0")
    data = path.read_bytes()
    path.unlink()
    path.symlink_to(path)  # ELOOP: for the superuser too
    await world.settle()
    assert published(directory) == {second: output(second, 2)}
    (result,) = await world.results(first)
    assert (result["outcome"], result["validate_state"]) == (1, 0)
    path.unlink()
    path.write_bytes(data)
    world.now += 6 * 3600
    await world.settle()
    assert published(directory).keys() == {first, second}


async def test_no_upload_directory_fails_nothing(world, batch):
    (job,) = await world.submit(batch, 1)
    await world.compute(f"{job}_0", 1)
    world.project.upload_dir.rename(world.project.root / "unmounted")
    await world.settle()
    (result,) = await world.results(job)
    assert (result["outcome"], result["validate_state"]) == (1, 0)


async def test_a_foreign_workunit_stops_nothing(world, batch, directory, caplog):
    first, second = await world.submit(batch, 2)
    await world.execute("UPDATE workunit SET xml_doc = :doc WHERE name = :name", doc=b"<workunit/>", name=first)
    await world.compute(f"{first}_0", 1)
    await world.compute(f"{second}_0", 2)
    await world.settle()
    assert published(directory).keys() == {second}
    assert caplog.text.count("not a workunit of pyboinc") == 1


async def test_a_broken_comparator_postpones_one_workunit(world, batch, directory):
    class Broken:
        def prepare(self, data):
            if b"\x8c\x03bad" in data:
                raise RuntimeError("broken")
            return data

        def agree(self, one, other):
            return one == other

    jobs = await world.submit(batch, 2, quorum=2)
    for job, value in zip(jobs, ("bad", "good"), strict=True):
        for number in range(2):
            await world.compute(f"{job}_{number}", value)
    await world.settle(comparator=Broken())
    assert published(directory).keys() == {jobs[1]}
    assert (await world.workunit(jobs[0]))["transition_time"] > world.now


async def test_numeric_comparison(world, batch, directory):
    (job,) = await world.submit(batch, 1, quorum=2)
    await world.compute(f"{job}_0", [1.0, {"x": 2.0}])
    await world.compute(f"{job}_1", [1.0 + 1e-12, {"x": 2.0}])
    await world.settle(comparator=comparators.parse("numeric:relative=1e-9"))
    assert published(directory) == {job: output(job, [1.0, {"x": 2.0}])}


async def test_credit_from_run_time(world, batch):
    (job,) = await world.submit(batch, 1, quorum=2)
    await world.compute(f"{job}_0", 1, host=1, seconds=86400)
    await world.compute(f"{job}_1", 1, host=2, seconds=86400)
    world.now += 3600
    await world.execute("UPDATE result SET received_time = :t", t=world.now)
    await world.transition()
    await world.validate(policy=validation.Policy(credit=validation.Credit.RUN_TIME, hosts=True))
    assert [row["granted_credit"] for row in await world.results(job)] == [pytest.approx(400)] * 2
    assert (await world.workunit(job))["canonical_credit"] == pytest.approx(400)
    for table, credit in (("host", 400), ("user", 800), ("team", 800)):
        row, *_ = await world.rows(f"SELECT * FROM {table} ORDER BY id")
        assert row["total_credit"] == pytest.approx(credit)
        assert row["expavg_credit"] > 0
        assert row["expavg_time"] == world.now
    host, _ = await world.rows("SELECT * FROM host ORDER BY id")
    assert host["avg_turnaround"] == 3600
    versions = await world.rows("SELECT * FROM host_app_version")
    assert [(row["consecutive_valid"], row["max_jobs_per_day"]) for row in versions] == [(1, 11)] * 2


async def test_credit_from_the_workunit(world, batch):
    first, second = await world.submit(batch, 2)
    await world.execute("UPDATE workunit SET canonical_credit = 1.25 WHERE name = :name", name=first)
    await world.execute("UPDATE workunit SET canonical_credit = 0.1 WHERE name = :name", name=second)
    for job in (first, second):
        await world.compute(f"{job}_0", 1)
    await world.transition()
    await world.validate(policy=validation.Policy(credit=validation.Credit.WORKUNIT, hosts=True))
    assert [(await world.workunit(job))["canonical_credit"] for job in (first, second)] == [1.25, 0.1]
    assert [(await world.result(f"{job}_0"))["granted_credit"] for job in (first, second)] == [1.25, 0.1]


async def test_an_invalid_result_costs_the_host_its_reputation(world, batch):
    (job,) = await world.submit(batch, 1, quorum=3)
    for number, (value, host) in enumerate([(1, 1), (1, 1), (2, 2)]):
        await world.compute(f"{job}_{number}", value, host=host)
    await world.execute("UPDATE host_app_version SET consecutive_valid = 7")
    await world.transition()
    await world.validate(policy=validation.Policy(hosts=True))
    versions = await world.rows("SELECT consecutive_valid FROM host_app_version ORDER BY host_id")
    assert [row["consecutive_valid"] for row in versions] == [9, 0]


async def test_the_quota_of_a_day_falls_with_invalid_results_and_doubles_back(world, batch):
    jobs = await world.submit(batch, 5, quorum=1)
    policy = validation.Policy(hosts=True, daily_result_quota=6)

    async def quota_after(job, damaged):
        await world.compute(f"{job}_0", 1, host=1)
        if damaged:
            (await world.output_path(f"{job}_0")).unlink()
        await world.transition()
        await world.validate(policy=policy)
        (row,) = await world.rows("SELECT max_jobs_per_day AS n FROM host_app_version WHERE host_id = 1")
        return row["n"]

    # It was 10; 6 is the most that there is.
    found = [await quota_after(job, damaged) for job, damaged in zip(jobs, (1, 1, 0, 0, 0), strict=True)]
    assert found == [3, 1, 2, 4, 6]


class Crash(Exception):
    pass


def crash_once(monkeypatch, owner, name, *, after):
    """Let the method *name* of *owner* crash at its first call, *after* or before it has done its work."""
    original = getattr(owner, name)
    crashed = False

    async def crashing(*args, **kwargs):
        nonlocal crashed
        if crashed:
            return await original(*args, **kwargs)
        crashed = True
        if after:
            await original(*args, **kwargs)
        raise Crash

    monkeypatch.setattr(owner, name, crashing)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize(
    ("noun", "verb"),
    [
        ("transitions", "advance"),
        ("validations", "record"),
        ("assimilations", "finish"),
        ("deletions", "record"),
    ],
)
async def test_a_crash_between_steps_does_no_harm(world, batch, directory, monkeypatch, noun, verb, after):
    jobs = await world.submit(batch, 7, quorum=2)
    for number, job in enumerate(jobs):
        for replica in range(2):
            await world.compute(f"{job}_{replica}", number)
    crash_once(monkeypatch, getattr(world.store, noun), verb, after=after)
    with pytest.raises(Crash):
        await world.settle()
    await world.settle()
    assert published(directory) == {job: output(job, number) for number, job in enumerate(jobs)}
    assert await world.counts(batch) == (7, 0)
    assert all([len(await world.results(job)) == 2 for job in jobs])
    (row,) = await world.rows("SELECT state FROM batch")
    assert row["state"] == models.BatchState.COMPLETE


@pytest.mark.parametrize("statement", ["finish", "count", "progress", "complete"])
async def test_counting_is_all_or_nothing(world, batch, directory, monkeypatch, statement):
    (job,) = await world.submit(batch, 1)
    await world.compute(f"{job}_0", 1)
    await world.transition()
    await world.validate()
    queries = world.store.assimilations._sql
    with monkeypatch.context() as context:
        context.setattr(world.store.assimilations, "_sql", {**queries, statement: "SELECT nonsense FROM nowhere"})
        with pytest.raises(errors.DatabaseError):
            await world.assimilate()
    assert await world.counts(batch) == (0, 0)
    assert (await world.workunit(job))["assimilate_state"] == 1
    await world.assimilate()
    assert await world.counts(batch) == (1, 0)


async def test_what_the_master_has_handled_is_not_published_again(world, batch, directory):
    (job,) = await world.submit(batch, 1)
    await world.compute(f"{job}_0", 1)
    await world.transition()
    await world.validate()
    os.link(await world.output_path(f"{job}_0"), directory / "old" / job)
    assert await world.assimilate() == 1
    assert published(directory) == {}
    assert await world.counts(batch) == (1, 0)


@pytest.mark.parametrize("share", [True, False])
async def test_two_instances_of_each_daemon(world, batch, directory, share):
    jobs = await world.submit(batch, 20, quorum=2, made=False)
    world.now += 1
    shares = [(2, 0), (2, 1)] if share else [(1, 0), (1, 0)]
    counts = await asyncio.gather(*(world.transition(share=own) for own in shares))
    assert sum(counts) == 20
    assert all([len(await world.results(job)) == 2 for job in jobs])
    for number, job in enumerate(jobs):
        for replica in range(2):
            await world.compute(f"{job}_{replica}", number)
    counts = await asyncio.gather(*(world.transition(share=own) for own in shares))
    assert sum(counts) == 20
    counts = await asyncio.gather(
        *(world.validate(share=own, limit=7, policy=validation.Policy(hosts=True)) for own in shares)
    )
    assert sum(counts) == 20
    (version,) = await world.rows("SELECT consecutive_valid FROM host_app_version WHERE host_id = 1")
    assert version["consecutive_valid"] == 40
    counts = await asyncio.gather(*(world.assimilate(share=own, limit=7) for own in shares))
    assert sum(counts) == 20
    if share:
        assert counts == [10, 10]
    assert await world.counts(batch) == (20, 0)
    assert published(directory) == {job: output(job, number) for number, job in enumerate(jobs)}


async def test_what_another_validator_has_decided_stays(world, batch, monkeypatch):
    (job,) = await world.submit(batch, 1, quorum=1, target_nresults=2)
    await world.compute(f"{job}_0", 1)
    await world.compute(f"{job}_1", 2)
    await world.transition()
    (stale,) = await world.store.validations.pending(APPID, limit=10)
    await world.validate()
    reversed_results = tuple(reversed(stale.results))
    (decision,) = validation.examine(
        world.project,
        [type(stale)(**{name: getattr(stale, name) for name in stale.__slots__} | {"results": reversed_results})],
        validation.Policy(),
    )
    assert decision.canonical == stale.results[1].id
    count = await world.store.validations.record([decision], now=world.now, later=world.now, hosts=False)
    assert count == 0
    assert (await world.workunit(job))["canonical_resultid"] == stale.results[0].id
    await world.execute("UPDATE workunit SET need_validate = 1")
    assert await world.store.validations.record([decision], now=world.now, later=world.now, hosts=False) == 0


async def test_a_failed_workunit_stays_failed(world, batch, directory):
    (job,) = await world.submit(batch, 1, max_error_results=1, max_total_results=5, target_nresults=3)
    await world.fail(f"{job}_0")
    await world.fail(f"{job}_1")
    await world.send(f"{job}_2")
    await world.settle()
    assert published(directory).keys() == {f"{job}.error"}
    await world.compute(f"{job}_2", 1)
    await world.execute("UPDATE workunit SET need_validate = 1")
    await world.settle()
    assert published(directory).keys() == {f"{job}.error"}
    assert await world.counts(batch) == (1, 1)
    assert (await world.workunit(job))["canonical_resultid"] == 0


async def test_a_batch_directory_that_is_gone_is_held(world, batch, directory, tmp_path, caplog):
    other = (await world.batch(tmp_path / "other", token="1" * 32)).id
    first = await world.submit(batch, 3)
    second = await world.submit(other, 3)
    for job in first + second:
        await world.compute(f"{job}_0", 1)
    directory.rename(tmp_path / "away")
    await world.transition()
    await world.validate()
    assert await world.assimilate(limit=2) == 3
    assert await world.counts(other) == (3, 0)
    assert await world.assimilate() == 0
    assert not directory.exists()
    for _ in range(3):
        world.now += 1
        await world.assimilate()
    assert caplog.text.count("can't publish, will try again") == 1
    (tmp_path / "away").rename(directory)
    assert await world.assimilate() == 0
    world.now += 600
    assert await world.assimilate() == 3
    assert await world.counts(batch) == (3, 0)


async def test_workunits_of_others_are_left_alone(world, batch, directory, caplog):
    first, second = await world.submit(batch, 2)
    await world.execute("UPDATE workunit SET batch = 77 WHERE name = :name", name=first)
    for job in (first, second):
        await world.compute(f"{job}_0", 1)
    await world.settle()
    await world.settle()
    assert published(directory).keys() == {second}
    assert (await world.workunit(first))["assimilate_state"] == 1
    assert caplog.text.count("aioboinc did not submit its workunits") == 1


@pytest.mark.parametrize("made", [True, False])
async def test_a_project_of_some_years_ago(world, batch, directory, connector, made):
    """Its tables lack columns; the whole life of jobs, with all daemons."""
    if connector.dialect != "mysql":
        pytest.skip("BOINC's own databases only")
    for table, columns in (
        ("workunit", ("keywords", "size_class", "app_version_num")),
        (
            "result",
            ("peak_working_set_size", "peak_swap_size", "peak_disk_usage", "size_class", "app_version_num"),
        ),
    ):
        present = {row["Field"] for row in await world.rows(f"SHOW COLUMNS FROM {table}")}
        await connector.script(
            [f"ALTER TABLE {table} {', '.join(f'DROP COLUMN {name}' for name in columns if name in present)}"]
        )
    good, bad = await world.submit(batch, 2, quorum=2, max_error_results=2, made=made)
    world.now += 1
    await world.transition()
    await world.compute(f"{good}_0", "right", host=1)
    await world.compute(f"{good}_1", "wrong", host=2)
    for number in range(3):
        await world.fail(f"{bad}_{number}")
        await world.settle()
    await world.compute(f"{good}_2", "right", host=2)
    await world.settle()
    assert published(directory).keys() == {good, f"{bad}.error"}
    assert published(directory)[good] == output(good, "right")
    assert [row["validate_state"] for row in await world.results(good)] == [
        models.ValidateState.VALID,
        models.ValidateState.INVALID,
        models.ValidateState.VALID,
    ]
    assert await world.counts(batch) == (2, 1)
    await cancellation.abandon(world.store, "0" * 32)


async def test_without_hard_links_outputs_are_copied(world, batch, directory, monkeypatch):
    def no_link(source, target):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(publishing.os, "link", no_link)
    jobs = await world.submit(batch, 3)
    for job in jobs:
        await world.compute(f"{job}_0", job)
    (directory / "new" / jobs[1]).write_bytes(b"half")
    (directory / "tmp").rmdir()
    await world.settle()
    assert published(directory) == {job: output(job, job) for job in jobs}
    assert list((directory / "tmp").iterdir()) == []


async def test_a_batch_is_complete_when_all_calls_are_known(world, batch):
    await world.submit(batch, 1, last=False)
    await world.compute(f"{FIRST}_0", 1)
    await world.settle()
    (row,) = await world.rows("SELECT state, fraction_done FROM batch")
    assert (row["state"], row["fraction_done"]) == (models.BatchState.IN_PROGRESS, 1)
    await world.store.batches.submitted(batch, 1)
    (row,) = await world.rows("SELECT state FROM batch")
    assert row["state"] == models.BatchState.COMPLETE


async def test_files_that_cannot_be_deleted_are_retried(world, batch):
    (job,) = await world.submit(batch, 1)
    await world.compute(f"{job}_0", 1)
    path = await world.output_path(f"{job}_0")
    for _ in range(3):
        world.now += 1
        await world.transition()
        await world.validate()
        await world.assimilate()
    path.unlink()
    path.mkdir()
    await world.delete()
    assert (await world.result(f"{job}_0"))["file_delete_state"] == models.FileDeleteState.ERROR
    path.rmdir()
    assert await world.delete() == 0
    assert await world.delete(retry=True) == 1
    assert (await world.result(f"{job}_0"))["file_delete_state"] == models.FileDeleteState.DONE


async def test_stopping_keeps_what_was_done(world, batch, directory):
    jobs = await world.submit(batch, 10)
    for job in jobs:
        await world.compute(f"{job}_0", 1)
    await world.transition()

    def after(n):
        calls = iter(range(n))
        return lambda: next(calls, None) is None

    validated = await world.validate(stop=after(5))
    assert 0 < validated < 10
    await world.validate()
    assimilated = await world.assimilate(stop=after(5))
    assert 0 < assimilated < 10
    assert await world.counts(batch) == (assimilated, 0)
    await world.settle()
    assert await world.counts(batch) == (10, 0)
