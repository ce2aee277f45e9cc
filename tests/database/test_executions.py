"""What people are told of a job while it is on its way and when it is over; on both databases."""

from aioboinc.batch import info


async def look(world, name, *, done=False, failed=False):
    return info.described(await world.store.executions.of_workunit(name), done=done, failed=failed)


def stderr(text):
    return (
        f"<core_client_version>7.20.5</core_client_version>\n<![CDATA[\n<stderr_txt>\n{text}\n</stderr_txt>\n]]>"
    )


async def test_a_job_on_its_way(world, batch):
    (name,) = await world.submit(batch, 1, quorum=2)
    assert await look(world, name) == info.JobInfo("waiting", 0.0, 0, 0.0, "")
    await world.send(f"{name}_0")
    assert await look(world, name) == info.JobInfo("running", 0.0, 1, 0.0, "")
    await world.report(f"{name}_0", seconds=7, stderr_out=stderr("one").encode())
    assert await look(world, name) == info.JobInfo("validating", 0.5, 1, 7.0, "one")
    await world.send(f"{name}_1", host=2)
    assert await look(world, name) == info.JobInfo("running", 0.5, 2, 7.0, "one")


async def test_the_execution_that_counts(world, batch):
    """It is the canonical one, whichever is reported last."""
    (name,) = await world.submit(batch, 1, quorum=2)
    await world.compute(f"{name}_0", 1, seconds=3)
    world.now += 10
    await world.compute(f"{name}_1", 1, host=2, seconds=50)
    await world.settle()
    await world.execute(
        "UPDATE result SET stderr_out = :text WHERE name = :n", text=stderr("x").encode(), n=f"{name}_0"
    )
    assert await look(world, name, done=True) == info.JobInfo("done", 1.0, 2, 3.0, "x")
    assert await look(world, name) == await look(world, name, done=True)
    assert (await look(world, name, done=True, failed=True)).state == "failed"  # its output says that it raised


async def test_a_job_that_fails_once_and_waits_again(world, batch):
    (name,) = await world.submit(batch, 1)
    await world.fail(f"{name}_0", stderr=stderr("bad"))
    await world.transition()
    found = await look(world, name)
    assert (found.state, found.fraction_done, found.host_count, found.stdout) == ("waiting", 0.0, 1, "bad")


async def test_a_job_that_has_failed(world, batch):
    (name,) = await world.submit(batch, 1, max_error_results=1, max_total_results=1)
    await world.fail(f"{name}_0", stderr=stderr("bad"))
    await world.settle()
    found = await look(world, name, done=True, failed=True)
    assert (found.state, found.fraction_done, found.host_count, found.stdout) == ("failed", 1.0, 1, "bad")
    assert (await look(world, name)).state == "failed"


async def test_a_job_that_is_cancelled(world, batch):
    (name,) = await world.submit(batch, 1)
    await world.execute("UPDATE workunit SET error_mask = 16 WHERE name = :n", n=name)
    assert (await look(world, name)).state == "cancelled"


async def test_what_is_printed_is_bounded_and_safe(world, batch):
    (name,) = await world.submit(batch, 1)
    await world.compute(f"{name}_0", 1)
    text = stderr("\x1b[2J\u202e" + "é" * 20_000 + "\nend\x07")
    await world.execute("UPDATE result SET stderr_out = :text WHERE name = :n", text=text.encode(), n=f"{name}_0")
    found = await look(world, name)
    assert len(found.stdout.encode()) <= 4100
    assert found.stdout.endswith("é\nend\\x07")
    short = stderr("a\x1b[2J\u202eb")
    await world.execute("UPDATE result SET stderr_out = :text WHERE name = :n", text=short.encode(), n=f"{name}_0")
    assert (await look(world, name)).stdout == "a\\x1b[2J\\u202eb"


async def test_a_job_without_rows(world, batch):
    """Before they are committed, and when the project has deleted them."""
    assert await look(world, f"pyboinc_{batch}_7") == info.JobInfo("submitting", 0.0, 0, 0.0, "")
    assert await look(world, f"pyboinc_{batch}_7", done=True) == info.JobInfo("done", 1.0, 0, 0.0, "")
    (name,) = await world.submit(batch, 1, made=False)
    assert await look(world, name) == info.JobInfo("waiting", 0.0, 0, 0.0, "")
