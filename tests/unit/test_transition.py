"""What the transitioner decides."""

import dataclasses

import pytest

from aioboinc import models
from aioboinc.passes import transition
from aioboinc.project import templates
from aioboinc.store import results
from aioboinc.store.transitions import Decision, Result, Workunit
from aioboinc.wire import documents

NOW = 1_800_000_000
DAY = 86400
NEVER = models.NEVER

UNSENT = {"server_state": 2}
RUNNING = {"server_state": 4, "report_deadline": NOW + DAY}
LATE = {"server_state": 4, "report_deadline": NOW - 1}
OVER = {"server_state": 5, "received_time": NOW - 60}
SUCCESS = {**OVER, "outcome": models.Outcome.SUCCESS}
VALID = {**SUCCESS, "validate_state": models.ValidateState.VALID}
INVALID = {**SUCCESS, "validate_state": models.ValidateState.INVALID}
INCONCLUSIVE = {**SUCCESS, "validate_state": models.ValidateState.INCONCLUSIVE}
ERROR = {**OVER, "outcome": models.Outcome.CLIENT_ERROR, "exit_status": 1}
ABORTED = {**ERROR, "exit_status": 203}
BAD = {**OVER, "outcome": models.Outcome.VALIDATE_ERROR, "validate_state": models.ValidateState.INVALID}
LOST = {**OVER, "outcome": models.Outcome.NO_REPLY, "report_deadline": NOW - 10}
DETACHED = {**OVER, "outcome": models.Outcome.CLIENT_DETACHED}
NOT_SENDABLE = {**OVER, "outcome": models.Outcome.COULDNT_SEND}


def workunit(**values):
    defaults = {
        "id": 1,
        "name": "pyboinc_1_0",
        "appid": 1,
        "batch": 1,
        "priority": 3,
        "size_class": -1,
        "min_quorum": 2,
        "target_nresults": 2,
        "max_error_results": 2,
        "max_total_results": 5,
        "delay_bound": DAY,
        "need_validate": 0,
        "canonical_resultid": 0,
        "transition_time": NOW - 1,
        "error_mask": 0,
        "file_delete_state": 0,
        "assimilate_state": 0,
        "result_template_file": templates.OUTPUT,
        "transitioner_flags": 0,
        "hr_class": 0,
        "app_version_id": 0,
    }
    return Workunit(**{**defaults, **values})


def result(number, values):
    defaults = {
        "server_state": 2,
        "outcome": 0,
        "validate_state": 0,
        "file_delete_state": 0,
        "report_deadline": 0,
        "received_time": 0,
        "exit_status": 0,
    }
    return Result(id=10 + number, name=f"pyboinc_1_0_{number}", **{**defaults, **values})


def decide(states, delete_delay=0, **values):
    rows = [result(number, state) for number, state in enumerate(states)]
    decision = transition.decide(workunit(**values), rows, NOW, delete_delay=delete_delay)
    check_settled(decision, rows, delete_delay)
    return decision


def check_settled(decision, rows, delete_delay):
    """Deciding once more, with nothing having happened, changes nothing."""
    changed = {after.id: after for _, after in decision.results}
    rows = [changed.get(row.id, row) for row in rows]
    rows += [
        result(int(new.name.rpartition("_")[2]), UNSENT if new.size_class < 0 else {"server_state": 1})
        for new in decision.new_results
    ]
    again = transition.decide(decision.after, rows, NOW, delete_delay=delete_delay)
    assert again == Decision(decision.after, decision.after)


def after(decision, **values):
    """Tell whether the workunit has become what *values* say, apart from its transition time."""
    expected = dataclasses.replace(
        decision.before, **{"transition_time": decision.after.transition_time, **values}
    )
    return decision.after == expected


def states(decision):
    return {later.id - 10: later for _, later in decision.results}


@pytest.mark.parametrize(
    ("present", "expected"),
    [
        ([], 2),
        ([UNSENT], 1),
        ([UNSENT, RUNNING], 0),
        ([SUCCESS], 1),
        ([SUCCESS, ERROR], 1),
        ([ERROR, ERROR], 2),
        ([LATE, UNSENT], 1),
        ([LOST, DETACHED, ABORTED], 2),
        ([BAD, SUCCESS], 1),
        ([INVALID, INCONCLUSIVE, INCONCLUSIVE], 0),
        ([LOST, LOST, LOST], 2),
        ([LOST, LOST, LOST, INCONCLUSIVE], 1),
        ([UNSENT, UNSENT, UNSENT], 0),
    ],
)
def test_new_results(present, expected):
    decision = decide(present)
    assert [new.name for new in decision.new_results] == [
        f"pyboinc_1_0_{len(present) + number}" for number in range(expected)
    ]
    assert after(decision)
    assert decision.after.transition_time in {NOW + 10 * DAY, NOW + DAY}


def test_a_new_result():
    (new, _) = decide([]).new_results
    assert new == results.New(1, "pyboinc_1_0_0", 1, 1, 3, -1)


def test_numbers_go_on_after_the_highest():
    rows = [result(7, ERROR), result(3, SUCCESS)]
    decision = transition.decide(workunit(), rows, NOW)
    assert [new.name for new in decision.new_results] == ["pyboinc_1_0_8"]


def test_no_new_results_by_flag():
    assert decide([], transitioner_flags=models.TransitionerFlags.NO_NEW_RESULTS).new_results == ()


def test_the_safety_net_is_long_for_long_jobs():
    assert decide([UNSENT, UNSENT], delay_bound=20 * DAY).after.transition_time == NOW + 30 * DAY


def test_the_earliest_deadline_is_next():
    decision = decide([RUNNING, {**RUNNING, "report_deadline": NOW + 5}])
    assert decision.after.transition_time == NOW + 5


def test_late_results_are_given_up():
    decision = decide([LATE, {**LATE, "report_deadline": NOW}])
    assert {number: (row.server_state, row.outcome) for number, row in states(decision).items()} == {
        0: (5, models.Outcome.NO_REPLY)
    }
    assert decision.timed_out == [10]


@pytest.mark.parametrize(
    ("present", "expected"),
    [
        ([SUCCESS], 0),
        ([SUCCESS, SUCCESS], 1),
        ([SUCCESS, INCONCLUSIVE], 1),
        ([SUCCESS, INVALID], 0),
        ([INCONCLUSIVE, INCONCLUSIVE], 0),
        ([SUCCESS, SUCCESS, RUNNING], 1),
    ],
)
def test_validation_is_triggered(present, expected):
    assert decide(present).after.need_validate == expected


@pytest.mark.parametrize(
    ("present", "bits"),
    [
        ([ERROR, BAD], 0),
        ([ERROR, BAD, ERROR], 2),
        ([ERROR, ABORTED, ABORTED], 0),
        ([NOT_SENDABLE], 1),
        ([LOST] * 5, 8),
        ([LOST] * 4, 8),
        ([LOST] * 4 + [RUNNING], 8),
        ([LOST] * 3 + [RUNNING] * 2, 0),
        ([LOST] * 3 + [INCONCLUSIVE, RUNNING], 0),
        ([LOST] * 3 + [INCONCLUSIVE] * 2, 0),
        ([ERROR] * 5, 10),
        ([LOST] * 6, 8),
        ([LOST] * 6 + [UNSENT] * 2, 0),
        ([ERROR, ERROR, ERROR, SUCCESS, SUCCESS], 0),
    ],
)
def test_limits(present, bits):
    decision = decide(present)
    assert decision.after.error_mask == bits
    assert decision.after.assimilate_state == (1 if bits else 0)
    if bits:
        assert decision.new_results == ()


def test_no_agreement_and_no_more_results():
    decision = decide([INCONCLUSIVE, INCONCLUSIVE], target_nresults=3, max_total_results=2)
    assert decision.after.error_mask == models.ErrorMask.TOO_MANY_TOTAL_RESULTS


def test_results_that_are_out_are_waited_for():
    decision = decide([SUCCESS, LOST, RUNNING], target_nresults=3, max_total_results=3)
    assert after(decision)


def test_what_is_left_of_a_failed_workunit():
    decision = decide([ERROR, ERROR, ERROR, UNSENT, RUNNING, SUCCESS, INCONCLUSIVE], min_quorum=3)
    assert {
        number: (row.server_state, row.outcome, row.validate_state) for number, row in states(decision).items()
    } == {
        3: (5, models.Outcome.DIDNT_NEED, 0),
        5: (5, models.Outcome.SUCCESS, models.ValidateState.NO_CHECK),
        6: (5, models.Outcome.SUCCESS, models.ValidateState.NO_CHECK),
    }
    assert decision.after.transition_time == NOW + DAY


def test_cancelled():
    decision = decide([UNSENT, SUCCESS, SUCCESS], error_mask=16)
    assert after(decision, assimilate_state=1)
    assert states(decision)[0].outcome == models.Outcome.DIDNT_NEED
    assert decision.after.transition_time == NEVER


def test_hosts_of_other_kinds_get_a_try():
    assert after(decide([ERROR], hr_class=3, app_version_id=4), hr_class=0, app_version_id=0)
    assert after(decide([ERROR, RUNNING], hr_class=3, app_version_id=4))


def test_a_canonical_result_ends_the_need_for_others():
    decision = decide([VALID, ERROR, ERROR, ERROR, LOST, LOST, LOST], canonical_resultid=10, assimilate_state=1)
    assert after(decision)
    assert decision.new_results == decision.results == ()
    assert decision.after.transition_time == NEVER


def test_a_result_after_the_canonical_one_is_validated():
    decision = decide([VALID, SUCCESS], canonical_resultid=10, assimilate_state=1)
    assert after(decision, need_validate=1)


def test_deferred_assimilation():
    assert after(decide([VALID, RUNNING], canonical_resultid=10))
    assert after(decide([VALID, INVALID], canonical_resultid=10), assimilate_state=1)


DONE = {"canonical_resultid": 10, "assimilate_state": 2}


def test_files_go_after_assimilation():
    decision = decide([VALID, INVALID, ERROR, BAD, LOST], **DONE)
    assert after(decision, file_delete_state=1)
    assert states(decision).keys() == {0, 1, 2, 3}
    assert {row.file_delete_state for row in states(decision).values()} == {1}


@pytest.mark.parametrize("other", [RUNNING, SUCCESS, {**LOST, "report_deadline": NOW + 1}])
def test_the_canonical_file_and_the_inputs_go_last(other):
    decision = decide([VALID, INVALID, other], **DONE)
    assert decision.after.file_delete_state == 0
    assert states(decision).keys() == {1}


def test_deletion_can_be_delayed():
    decision = decide([VALID, INVALID], delete_delay=100, **DONE)
    assert decision.results == ()
    assert decision.after.transition_time == NOW - 60 + 100
    assert decide([VALID, INVALID], delete_delay=60, **DONE).after.file_delete_state == 1


def test_after_the_deletion_successes_are_too_late():
    decision = decide([{**VALID, "file_delete_state": 2}, SUCCESS], **DONE)
    assert states(decision)[1].validate_state == models.ValidateState.TOO_LATE
    assert states(decision)[1].file_delete_state == 1
    assert decision.after.need_validate == 0


def test_files_of_a_failed_workunit_go_too():
    no_check = {**SUCCESS, "validate_state": models.ValidateState.NO_CHECK}
    decision = decide([ERROR, no_check], error_mask=2, assimilate_state=2)
    assert after(decision, file_delete_state=1)
    assert states(decision).keys() == {0, 1}


def test_a_missing_canonical_result_stops_nothing():
    assert after(decide([INVALID], canonical_resultid=99, assimilate_state=2), file_delete_state=1)


def test_templates():
    template = documents.parse_template(
        " <output_template>\n<file_info><name><OUTFILE_0/></name><url><UPLOAD_URL/></url></file_info>"
        "<file_ref><file_name><OUTFILE_0/></file_name><x><OUTFILE_1/></x></file_ref>\n</output_template>\n",
        "http://u/?a",
    )
    assert template.document("w_0_r5_") == (
        b"<file_info><name>w_0_r5_0</name><url>http://u/?a</url></file_info>"
        b"<file_ref><file_name>w_0_r5_0</file_name><x>w_0_r5_1</x></file_ref>"
    )
