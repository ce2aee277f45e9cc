"""BOINC's numbers: hosts have their own copy of some, for they get nothing of `aioboinc.models`."""

from __future__ import annotations

import pytest

from aioboinc import models
from aioboinc.embedded.process import execution
from aioboinc.passes import failures as descriptions
from aioboinc.slave_runtime import failures

CLIENT_STATES = ("COMPUTE_ERROR", "FILES_UPLOADED", "ABORTED", "UPLOAD_FAILED")


def test_exit_statuses_of_hosts_are_those_of_the_project() -> None:
    ours = {name: value for name in failures.__all__ if isinstance(value := getattr(failures, name), int)}
    known = {member.name.removeprefix("EXIT_").removeprefix("ERR_"): member.value for member in models.ExitStatus}
    assert {"SIGNAL", "CHILD_FAILED", "NO_OUTPUT", "FILE_TOO_BIG"} <= ours.keys()
    assert ours == {name: known[name] for name in ours}


@pytest.mark.parametrize("name", CLIENT_STATES)
def test_client_states_of_hosts_are_those_of_the_project(name: str) -> None:
    assert getattr(execution, name) == models.ClientState[name]


@pytest.mark.parametrize("status", models.ExitStatus)
def test_each_exit_status_has_words(status: models.ExitStatus) -> None:
    words = descriptions.describe_exit(status)
    assert words.startswith(f"exit status {status.value} (")
    assert (status.name in words) == (status is not models.ExitStatus.NO_OUTPUT)


def test_others_are_told_as_they_are() -> None:
    assert descriptions.describe_exit(77) == "exit status 77"
