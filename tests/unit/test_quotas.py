"""How many results a host may get: plain functions of what is known of it."""

from __future__ import annotations

import dataclasses

import pytest

from aioboinc.store.recipients import Limits, Quota

LIMITS = Limits(
    memory=1e9, disk=1e9, active_hosts=2, one_per_user=False, quota=100, ncpus=4, held=0, newcomers_room=1000
)


@pytest.mark.parametrize(
    ("before", "failures", "after"),
    [
        (0, 0, 100),  # nothing has failed yet
        (0, 1, 50),
        (50, 2, 12),
        (2, 1, 1),
        (1, 5, 1),  # one a day is always a try
        (1000, 1, 50),  # as it was before the administrator has lowered it
        (1000, 0, 1000),
    ],
)
def test_a_failure_halves_what_a_host_may_get_in_a_day(before: int, failures: int, after: int) -> None:
    assert Quota(max_jobs_per_day=before).after_failures(failures, 100) == after


@pytest.mark.parametrize(
    ("quota", "left"),
    [
        (Quota(is_new=True), 400),
        (Quota(n_jobs_today=399), 1),
        (Quota(max_jobs_per_day=50, n_jobs_today=10), 190),
        (Quota(max_jobs_per_day=1), 1),  # however many cores there are
        (Quota(max_jobs_per_day=1, n_jobs_today=1), 0),
        (Quota(max_jobs_per_day=1000), 400),
    ],
)
def test_what_is_left_of_a_day(quota: Quota, left: int) -> None:
    assert quota.left(LIMITS) == left


def test_room_grows_with_what_was_found_valid() -> None:
    assert Quota().room(LIMITS) == 16
    assert Quota(consecutive_valid=3).room(LIMITS) == 64
    assert Quota(consecutive_valid=3).room(dataclasses.replace(LIMITS, held=60)) == 4


def test_newcomers_share_what_room_there_is() -> None:
    crowded = dataclasses.replace(LIMITS, newcomers_room=2)
    assert Quota().room(crowded) == 2
    assert Quota(consecutive_valid=1).room(crowded) == 32
