"""Batches that somebody ends with BOINC's own tools while their masters run, and those whose databases are too old."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from test_bad_projects import Place, place  # noqa: F401

pytestmark = pytest.mark.mariadb
PATIENCE = 120


def wait_for(condition: Callable[[], object]) -> None:
    """Wait until *condition* holds: minutes, on a busy machine."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


ABORT = (
    "UPDATE result SET server_state = 5, outcome = 5 WHERE server_state = 2;"
    "UPDATE workunit SET error_mask = error_mask | 16, file_delete_state = 1;"
    "UPDATE batch SET state = 3, completion_time = 1796458049"
)
"""What the web RPC abort_batch does."""


@pytest.mark.parametrize(
    ("act", "how"),
    [
        (ABORT, "aborted on 2026-12-05 at 08:07:29 UTC"),
        ("UPDATE batch SET state = 4", "retired"),
        ("DELETE FROM batch", "deleted"),
    ],
)
async def test_the_master_of_a_batch_that_is_ended_ends(place: Place, act: str, how: str) -> None:  # noqa: F811
    await place.world.setup()
    place.program.prefix = []
    with place.program.running() as process:
        wait_for(lambda: place.world.execute("SELECT 1 FROM pyboinc_batch WHERE state = 1"))
        place.world.execute(act)
        _, said = process.communicate(timeout=PATIENCE)
    line = said.splitlines()[-1]
    assert process.returncode == 2, said
    assert line.startswith(
        f"aioboinc: batch 1 was {how} in the project Test Project, and not by this program: 0 of its"
    )
    assert place.world.execute("SELECT DISTINCT error_mask, assimilate_state, transition_time FROM workunit") == [
        (16, 2, 2147483647)
    ]
    again = place.program.run()
    assert (again.returncode, again.stderr.splitlines()[-1]) == (2, line)

    with place.program.running("--fresh") as process:
        wait_for(lambda: place.world.execute("SELECT 1 FROM pyboinc_batch WHERE id = 2 AND njobs > 0"))
        process.kill()
    assert place.world.execute("SELECT COUNT(*) FROM pyboinc_batch") == [(1,)]


async def test_a_batch_that_is_gone_is_not_made_again(place: Place) -> None:  # noqa: F811
    await place.world.setup()
    with place.program.running() as process:
        wait_for(lambda: place.world.execute("SELECT 1 FROM pyboinc_batch WHERE njobs > 0"))
        process.kill()
    place.world.execute("DELETE FROM pyboinc_batch")
    said = place.program.run()
    assert said.returncode == 2
    assert "does not know the batch 1 any more: restore the database, or start anew with --fresh" in said.stderr
    assert (place.program.folder / "pyboinc_checkpoint").exists()


async def test_a_database_that_is_too_old_is_refused_before_anything_is_changed(place: Place) -> None:  # noqa: F811
    await place.world.setup()
    place.world.execute("ALTER TABLE batch DROP COLUMN expire_time")  # newer than what is needed
    place.world.execute("ALTER TABLE batch DROP COLUMN completion_time")
    before = place.world.state()
    said = "its database is of an old BOINC: it lacks batch.completion_time; upgrade"
    assert said in place.refused()
    with pytest.raises(Exception, match=said):
        await place.world.setup()
    assert place.world.state() == before
