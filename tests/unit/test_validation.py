"""What the validator decides, and credit."""

import math

import pytest

from aioboinc import models
from aioboinc.passes import comparators, validation
from aioboinc.passes.validation import Output, State
from aioboinc.store import credit
from aioboinc.store.validations import Decision, Result, Workunit

INIT, VALID, INVALID, NO_CHECK, INCONCLUSIVE, TOO_LATE = models.ValidateState
SUCCESS, ERROR = models.Outcome.SUCCESS, models.Outcome.VALIDATE_ERROR


def result(number, **values):
    defaults = {
        "validate_state": 0,
        "file_delete_state": 0,
        "xml_doc_in": b"",
        "hostid": 1,
        "app_version_id": 1,
        "sent_time": 0,
        "received_time": 0,
        "elapsed_time": 86400.0,
        "flops_estimate": 2e9,
    }
    return Result(id=number, name=f"job_{number}", **{**defaults, **values})


def workunit(results, **values):
    defaults = {
        "min_quorum": 2,
        "target_nresults": 2,
        "max_success_results": 4,
        "canonical_resultid": 0,
        "canonical_credit": 0.0,
        "assimilate_state": 0,
        "rsc_fpops_bound": 1e18,
    }
    return Workunit(id=1, name="job", xml_doc=b"", results=tuple(results), **{**defaults, **values})


def output(value):
    """``a`` to ``z`` are contents, ``-`` is a bad file, ``?`` one that can't be read."""
    state = {"-": State.BAD, "?": State.UNREADABLE}.get(value, State.GOOD)
    return Output(state, value if state is State.GOOD else None)


class Equal:
    def prepare(self, data):
        return data

    def agree(self, one, other):
        return one == other


EQUAL = validation.Policy(comparator=Equal())


def decide(values, policy=EQUAL, states=(), **fields):
    results = [
        result(number, validate_state=states[number - 1] if states else INIT)
        for number, _ in enumerate(values, start=1)
    ]
    item = workunit(results, **fields)
    outputs = {row.id: output(values[row.id - 1]) for row in validation.needed(item)}
    return validation.decide(item, outputs, policy)


def judged(decision):
    return {
        verdict.result.id: verdict.validate_state if verdict.outcome == SUCCESS else "bad"
        for verdict in decision.verdicts
    }


@pytest.mark.parametrize(
    ("values", "quorum", "canonical", "verdicts"),
    [
        ("a", 1, 1, [VALID]),
        ("ab", 1, 1, [VALID, INVALID]),
        ("aa", 1, 1, [VALID, VALID]),
        ("abb", 1, 2, [INVALID, VALID, VALID]),
        ("-a", 1, 2, ["bad", VALID]),
        ("aa", 2, 1, [VALID, VALID]),
        ("ab", 2, 0, [INCONCLUSIVE, INCONCLUSIVE]),
        ("bab", 2, 1, [VALID, INVALID, VALID]),
        ("aab", 3, 1, [VALID, VALID, INVALID]),
        ("abc", 3, 0, [INCONCLUSIVE] * 3),
        ("aabb", 2, 0, [INCONCLUSIVE] * 4),
        ("aabbb", 3, 3, [INVALID, INVALID, VALID, VALID, VALID]),
        ("aabb", 3, 0, [INCONCLUSIVE] * 4),
        ("aabb", 4, 0, [INCONCLUSIVE] * 4),
        ("aaab", 4, 1, [VALID, VALID, VALID, INVALID]),
        ("a-a", 2, 1, [VALID, "bad", VALID]),
        ("a-", 2, 0, [None, "bad"]),
        ("--", 2, 0, ["bad", "bad"]),
    ],
)
def test_quorum(values, quorum, canonical, verdicts):
    decision = decide(values, min_quorum=quorum, target_nresults=9, max_success_results=9)
    assert decision.canonical == canonical
    assert judged(decision) == {
        number: verdict for number, verdict in enumerate(verdicts, start=1) if verdict is not None
    }
    assert not decision.postponed
    assert (decision.error_mask, decision.target_nresults) == (0, 0)


def test_too_few_results_are_left_alone():
    assert validation.needed(workunit([result(1)])) == []
    decision = decide("a")
    assert decision == Decision(decision.workunit)


def test_invalid_results_count_no_more():
    assert decide("aab", states=[INVALID, INIT, INIT]).canonical == 0
    assert decide("aaa", states=[INVALID, INCONCLUSIVE, INIT]).canonical == 2


def test_disagreement_raises_the_target():
    assert decide("ab").target_nresults == 3
    assert decide("abc", target_nresults=5).target_nresults == 0
    assert decide("abc-", target_nresults=3).target_nresults == 4


def test_too_many_successes():
    assert decide("abcd").error_mask == 0
    assert decide("abcde").error_mask == models.ErrorMask.TOO_MANY_SUCCESS_RESULTS
    assert decide("abcda").error_mask == 0


@pytest.mark.parametrize("values", ["?", "a?", "a?a", "-?"])
def test_what_cannot_be_read_postpones_everything(values):
    decision = decide(values, min_quorum=1)
    assert decision == Decision(decision.workunit, postponed=True)


@pytest.mark.parametrize("state", [models.AssimilateState.READY, models.AssimilateState.DONE])
def test_what_has_failed_stays_failed(state):
    decision = decide("aa", assimilate_state=state)
    assert decision == Decision(decision.workunit)


@pytest.mark.parametrize(
    ("values", "verdicts"),
    [
        ("aab", {2: VALID, 3: INVALID}),
        ("a-", {2: "bad"}),
        ("-a", {2: TOO_LATE}),
        ("a", {}),
        ("-", {}),
    ],
)
def test_later_results(values, verdicts):
    states = [VALID] + [INIT] * (len(values) - 1)
    decision = decide(values, states=states, canonical_resultid=1, canonical_credit=7.0, assimilate_state=2)
    assert judged(decision) == verdicts
    assert decision.canonical == 0
    assert {v.credit for v in decision.verdicts if v.validate_state == VALID} <= {7.0}


class Prefix(Equal):
    """Several calls, a letter each."""

    def agree(self, one, other):
        return all(map(str.__eq__, one, other))


@pytest.mark.parametrize(
    ("values", "quorum", "canonical", "verdicts"),
    [
        (["abc", "abc"], 2, 1, [VALID, VALID]),
        (["abc", "a"], 2, 2, [VALID, VALID]),  # nobody has confirmed what the first one says of the others
        (["a", "abc"], 2, 1, [VALID, VALID]),
        (["abc", "ab", "a"], 2, 2, [VALID, VALID, VALID]),
        (["a", "abc", "abc"], 2, 2, [VALID, VALID, VALID]),
        (["a", "abc", "abx"], 2, 1, [VALID, VALID, VALID]),
        (["abc", "abx"], 2, 0, [INCONCLUSIVE, INCONCLUSIVE]),
        (["abx", "abc", "abc"], 2, 2, [INVALID, VALID, VALID]),
        (["abc", "a"], 1, 1, [VALID, VALID]),
        (["a", "abc", "abc", "abc"], 4, 2, [VALID, VALID, VALID, VALID]),
        (["a", "ab", "abc", "abc"], 4, 2, [VALID, VALID, VALID, VALID]),
    ],
)
def test_of_several_calls_no_more_are_taken_than_a_quorum_has_confirmed(values, quorum, canonical, verdicts):
    results = [result(number) for number, _ in enumerate(values, start=1)]
    item = workunit(results, min_quorum=quorum, target_nresults=9, max_success_results=9)
    outputs = {row.id: Output(State.GOOD, values[row.id - 1], ncalls=len(values[row.id - 1])) for row in results}
    decision = validation.decide(item, outputs, validation.Policy(comparator=Prefix()))
    assert decision.canonical == canonical
    assert list(judged(decision).values()) == verdicts


def test_later_results_after_the_deletion():
    results = [result(1, validate_state=VALID, file_delete_state=2), result(2), result(3, validate_state=INVALID)]
    item = workunit(results, canonical_resultid=1, assimilate_state=2)
    assert validation.needed(item) == []
    assert judged(validation.decide(item, {}, EQUAL)) == {2: TOO_LATE}


def test_later_results_without_a_canonical_row():
    item = workunit([result(2)], canonical_resultid=1, assimilate_state=2)
    assert judged(validation.decide(item, {}, EQUAL)) == {2: TOO_LATE}


def test_a_comparator_that_raises_disagrees(caplog):
    class Broken(Equal):
        def agree(self, one, other):
            raise ZeroDivisionError

    assert decide("aa", policy=validation.Policy(comparator=Broken())).canonical == 0
    assert "comparator failed" in caplog.text


def test_agreement_need_not_be_transitive():
    class Near(Equal):
        def agree(self, one, other):
            return abs(ord(one) - ord(other)) <= 1

    near = validation.Policy(comparator=Near())
    assert decide("abc", policy=near, min_quorum=3, target_nresults=3).canonical == 2
    assert judged(decide("bd", policy=near)) == {1: INCONCLUSIVE, 2: INCONCLUSIVE}


def test_credit():
    decision = decide("aab", validation.Policy(Equal(), credit=validation.Credit.RUN_TIME), min_quorum=3)
    assert [verdict.credit for verdict in decision.verdicts] == [400, 400, 0]
    decision = decide("aa", validation.Policy(Equal(), credit=validation.Credit.WORKUNIT), canonical_credit=12.5)
    assert [verdict.credit for verdict in decision.verdicts] == [12.5, 12.5]
    decision = decide(
        "a",
        validation.Policy(Equal(), 10.0, validation.Credit.WORKUNIT),
        min_quorum=1,
        canonical_credit=12.5,
    )
    assert [verdict.credit for verdict in decision.verdicts] == [10]
    assert [verdict.credit for verdict in decide("aa").verdicts] == [0, 0]


def test_credit_from_run_time():
    day = 86400
    assert credit.from_run_time([(day, 1e9)], 1e30) == pytest.approx(860)  # a failed benchmark
    assert credit.from_run_time([(day, 2e9)], 1e30) == pytest.approx(400)
    assert credit.from_run_time([(day, 2e9), (day, 6e9)], 1e30) == pytest.approx(600)
    assert credit.from_run_time([(day, 2e9)] * 3 + [(day, 200e9)], 1e30) < 4000
    assert credit.from_run_time([(day, 2e9), (0, 2e9), (-5, 2e9)], 1e30) == pytest.approx(400)
    assert credit.from_run_time([(day * 9, 2e9)], day * 2e9) == pytest.approx(400)
    assert credit.from_run_time([(day, 2e9)], 1e30, maximum=399) == 0
    assert credit.from_run_time([], 1e30) == 0


def test_recent_average():
    week = 7 * 86400
    assert credit.recent_average(0, 0, 10, started=0, now=86400) == 10
    assert credit.recent_average(0, 0, 10, started=0, now=0) > 0
    assert credit.recent_average(10, 1000, 0, started=0, now=1000 + week) == pytest.approx(5)
    assert credit.recent_average(10, 1000, 70, started=0, now=1000 + week) == pytest.approx(5 + 0.5 * 10)
    now = credit.recent_average(10, 1000, 7, started=0, now=1000)
    assert now == pytest.approx(10 + math.log(2))
    assert credit.recent_average(10, 1000, 7, started=0, now=1001) == pytest.approx(now, rel=1e-4)
    assert credit.recent_average(10, 1000, 7, started=0, now=900) == pytest.approx(now)


def test_recent_turnaround():
    assert credit.recent_turnaround(0, 50) == 50
    assert credit.recent_turnaround(100, 50) == pytest.approx(85)


def test_the_bitwise_comparator_is_the_default():
    assert validation.Policy().comparator is comparators.BITWISE
