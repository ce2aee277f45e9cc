"""A workunit's life: any events in any order, the daemons' decisions between them, and what always holds."""

import collections
import dataclasses

import hypothesis
from hypothesis import stateful
from hypothesis import strategies as st

from aioboinc import models
from aioboinc.passes import transition, validation
from aioboinc.store import transitions, validations

NOW = 1_800_000_000
BOUND = 1000
UNSENT, IN_PROGRESS, OVER = 2, 4, 5
SUCCESS, CLIENT_ERROR, NO_REPLY = models.Outcome.SUCCESS, models.Outcome.CLIENT_ERROR, models.Outcome.NO_REPLY


class Equal:
    def prepare(self, data):
        return data

    def agree(self, one, other):
        return one == other


POLICY = validation.Policy(comparator=Equal())


@dataclasses.dataclass
class Row:
    """A result's row, and its output file."""

    id: int
    name: str
    server_state: int = UNSENT
    outcome: int = 0
    validate_state: int = 0
    file_delete_state: int = 0
    report_deadline: int = 0
    received_time: int = 0
    exit_status: int = 0
    value: str = ""
    """What the file says; ``-`` is no output."""


class Life(stateful.RuleBasedStateMachine):
    """The database's part is played here, with the guards that the SQL has."""

    @stateful.initialize(
        quorum=st.integers(1, 3),
        surplus=st.integers(0, 2),
        errors=st.sampled_from([1, 3]),
        total=st.sampled_from([9, 5, 3, 1]),
        successes=st.sampled_from([5, 2]),
    )
    def begin(self, quorum, surplus, errors, total, successes):
        self.now = NOW
        self.max_success_results = successes
        self.results = {}
        self.published = []
        self.canonical_value = None
        self.inconclusive = collections.Counter()
        self.workunit = transitions.Workunit(
            id=1,
            name="job",
            appid=1,
            batch=1,
            priority=0,
            size_class=-1,
            min_quorum=quorum,
            target_nresults=quorum + surplus,
            max_error_results=errors,
            max_total_results=total,
            delay_bound=BOUND,
            need_validate=0,
            canonical_resultid=0,
            transition_time=NOW,
            error_mask=0,
            file_delete_state=0,
            assimilate_state=0,
            result_template_file="",
            transitioner_flags=0,
            hr_class=0,
            app_version_id=0,
        )
        self.transition()
        self.send()

    def change(self, **fields):
        self.workunit = dataclasses.replace(self.workunit, **fields)

    def sent(self):
        return [row for row in self.results.values() if row.server_state == IN_PROGRESS]

    def send(self):
        for row in self.results.values():
            if row.server_state == UNSENT:
                row.server_state, row.report_deadline = IN_PROGRESS, self.now + BOUND
                self.change(transition_time=min(self.workunit.transition_time, row.report_deadline))

    @stateful.precondition(lambda self: any(row.server_state == UNSENT for row in self.results.values()))
    @stateful.rule()
    def send_all(self):
        self.send()

    @stateful.precondition(lambda self: self.sent())
    @stateful.rule(data=st.data(), value=st.sampled_from("aab-"), daemons=st.booleans())
    def report(self, data, value, daemons):
        self.succeed(data.draw(st.sampled_from(self.sent())), value)
        if daemons:
            self.let_daemons_work()

    @stateful.precondition(lambda self: any(row.outcome == NO_REPLY for row in self.results.values()))
    @stateful.rule(data=st.data(), value=st.sampled_from("ab"))
    def report_late(self, data, value):
        late = [row for row in self.results.values() if row.outcome == NO_REPLY]
        self.succeed(data.draw(st.sampled_from(late)), value)

    def succeed(self, row, value):
        row.server_state, row.outcome, row.value, row.received_time = OVER, int(SUCCESS), value, self.now
        self.change(transition_time=self.now)

    @stateful.precondition(lambda self: self.sent())
    @stateful.rule(data=st.data(), exit_status=st.sampled_from([1, 203]))
    def fail(self, data, exit_status):
        row = data.draw(st.sampled_from(self.sent()))
        row.server_state, row.outcome, row.exit_status = OVER, int(CLIENT_ERROR), exit_status
        row.received_time = self.now
        self.change(transition_time=self.now)

    @stateful.precondition(lambda self: self.sent())
    @stateful.rule()
    def wait_too_long(self):
        self.now += BOUND + 1

    @stateful.precondition(lambda self: not self.workunit.error_mask)
    @stateful.rule(ripe=st.sampled_from([False] * 4 + [True]))
    def cancel(self, ripe):
        if ripe:
            self.change(error_mask=self.workunit.error_mask | 16, transition_time=self.now)
            self.transition()

    @stateful.rule()
    def let_daemons_work(self):
        self.now += 1
        self.transition()
        self.validate(unreadable=False, twice=False)
        self.assimilate(twice=False)
        self.delete()

    @stateful.rule()
    def transition(self):
        rows = [
            transitions.Result(**{name: getattr(row, name) for name in transitions.Result.__slots__})
            for row in self.results.values()
        ]
        decision = transition.decide(self.workunit, rows, self.now)
        assert decision.before == self.workunit
        self.workunit = decision.after
        for before, after in decision.results:
            row = self.results[after.id]
            for name in transitions.Result.__slots__:
                assert getattr(row, name) == getattr(before, name)
                setattr(row, name, getattr(after, name))
        for new in decision.new_results:
            assert new.name not in {row.name for row in self.results.values()}
            number = len(self.results) + 1
            self.results[number] = Row(number, new.name)

    def pending(self):
        """What the validator's query returns."""
        results = tuple(
            validations.Result(
                row.id, row.name, row.validate_state, row.file_delete_state, b"", 1, 1, 0, 0, 0.0, 0.0
            )
            for row in self.results.values()
            if (row.server_state, row.outcome) == (OVER, SUCCESS)
        )
        workunit = self.workunit
        return validations.Workunit(
            workunit.id,
            workunit.name,
            b"",
            workunit.min_quorum,
            workunit.target_nresults,
            self.max_success_results,
            workunit.canonical_resultid,
            0.0,
            workunit.assimilate_state,
            1e15,
            results,
        )

    @stateful.precondition(lambda self: self.workunit.need_validate)
    @stateful.rule(unreadable=st.sampled_from([False] * 5 + [True]), twice=st.booleans())
    def validate(self, unreadable, twice):
        if not self.workunit.need_validate:
            return
        item = self.pending()
        outputs = {row.id: self.output(row.id, unreadable) for row in validation.needed(item)}
        decision = validation.decide(item, outputs, POLICY)
        self.record(decision)
        if twice:
            self.record(decision)

    def output(self, id, unreadable):
        if unreadable:
            return validation.Output(validation.State.UNREADABLE)
        value = self.results[id].value
        assert self.results[id].file_delete_state != models.FileDeleteState.DONE
        if value == "-":
            return validation.Output(validation.State.BAD)
        return validation.Output(validation.State.GOOD, value)

    def record(self, decision):
        """What the store does with a decision that holds."""
        workunit = self.workunit
        decided_on = decision.workunit.canonical_resultid, decision.workunit.assimilate_state
        if not workunit.need_validate or decided_on != (workunit.canonical_resultid, workunit.assimilate_state):
            return
        if decision.postponed:
            self.change(need_validate=0, transition_time=min(workunit.transition_time, self.now + 21600))
            return
        for verdict in decision.verdicts:
            row = self.results[verdict.result.id]
            if row.outcome == SUCCESS:
                row.outcome, row.validate_state = int(verdict.outcome), int(verdict.validate_state)
        if not decision.canonical:
            self.change(
                need_validate=0,
                error_mask=workunit.error_mask | decision.error_mask,
                target_nresults=max(workunit.target_nresults, decision.target_nresults),
                transition_time=self.now,
            )
            return
        assert workunit.canonical_resultid == 0
        assert workunit.assimilate_state == models.AssimilateState.INIT
        self.check_majority(decision)
        self.canonical_value = self.results[decision.canonical].value
        for row in self.results.values():
            if row.server_state == UNSENT:
                row.server_state, row.outcome = OVER, int(models.Outcome.DIDNT_NEED)
        self.change(
            need_validate=0,
            canonical_resultid=decision.canonical,
            assimilate_state=1,
            transition_time=models.NEVER,
        )

    def check_majority(self, decision):
        votes = collections.Counter(
            self.results[verdict.result.id].value for verdict in decision.verdicts if verdict.outcome == SUCCESS
        )
        winner = votes[self.results[decision.canonical].value]
        assert winner == max(votes.values())
        assert winner >= self.workunit.min_quorum // 2 + 1
        assert sum(votes.values()) >= self.workunit.min_quorum
        assert winner == 1 or list(votes.values()).count(winner) == 1 or self.workunit.min_quorum == 1

    @stateful.precondition(lambda self: self.workunit.assimilate_state == models.AssimilateState.READY)
    @stateful.rule(twice=st.booleans())
    def assimilate(self, twice):
        for _ in range(1 + twice):
            if self.workunit.assimilate_state == models.AssimilateState.READY:
                canonical = self.workunit.canonical_resultid
                if canonical:
                    assert self.results[canonical].file_delete_state != models.FileDeleteState.DONE
                self.published.append(self.results[canonical].value if canonical else None)
                self.change(assimilate_state=2, transition_time=self.now)

    @stateful.rule()
    def delete(self):
        for row in self.results.values():
            if row.file_delete_state == models.FileDeleteState.READY:
                row.file_delete_state = int(models.FileDeleteState.DONE)
        if self.workunit.file_delete_state == models.FileDeleteState.READY:
            self.change(file_delete_state=2)

    @stateful.invariant()
    def never_too_many_results(self):
        if hasattr(self, "results"):
            assert len(self.results) <= self.workunit.max_total_results

    @stateful.invariant()
    def published_once(self):
        if hasattr(self, "results"):
            assert len(self.published) == (self.workunit.assimilate_state == models.AssimilateState.DONE)
            if self.published and self.published[0] is not None:
                assert self.published[0] == self.canonical_value
            if self.published and self.published[0] is None:
                assert self.workunit.canonical_resultid == 0
                assert self.workunit.error_mask

    @stateful.invariant()
    def inputs_stay_while_they_are_needed(self):
        if hasattr(self, "results"):
            canonical = self.results.get(self.workunit.canonical_resultid)
            if self.workunit.file_delete_state or (canonical and canonical.file_delete_state):
                assert all(row.server_state == OVER for row in self.results.values())

    def teardown(self):
        """With honest hosts and working daemons every workunit comes to its end."""
        if not hasattr(self, "results"):
            return
        for _ in range(60):
            self.send()
            for row in self.sent():
                self.succeed(row, "a")
            self.now += 1
            if self.workunit.transition_time < self.now:
                self.transition()
            self.validate(unreadable=False, twice=False)
            self.assimilate(twice=False)
            self.delete()
            if self.workunit.transition_time != models.NEVER:
                # What was postponed, and what the safety net is for.
                self.now = max(self.now, self.workunit.transition_time)
            self.never_too_many_results()
            self.published_once()
            self.inputs_stay_while_they_are_needed()
        assert self.published, self.workunit
        assert self.workunit.transition_time == models.NEVER
        assert self.workunit.file_delete_state == models.FileDeleteState.DONE
        for row in self.results.values():
            assert row.server_state == OVER
            if row.outcome == SUCCESS:
                assert row.validate_state != models.ValidateState.INIT
                assert row.file_delete_state == models.FileDeleteState.DONE


TestLife = Life.TestCase
TestLife.settings = hypothesis.settings(derandomize=True, max_examples=500, stateful_step_count=30, deadline=None)
