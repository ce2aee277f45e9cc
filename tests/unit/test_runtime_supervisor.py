"""The loop between client and slave, with a clock of our own."""

from __future__ import annotations

import re
import signal
from collections.abc import Mapping, Sequence

import pytest

from aioboinc.slave_runtime import channels, init_data, progress, supervisor

Kind = supervisor.Kind


class FakeTree:
    """A slave that runs until it is told how it has ended; each wait takes the time that it may."""

    def __init__(self) -> None:
        self.now = 100.0
        self.status: int | None = None
        self.actions: list[str] = []
        self.cpu = 0.0
        self.events: dict[int, object] = {}
        self.waits = 0

    def start(self, command: Sequence[str], variables: Mapping[str, str], directory: str) -> None:
        raise AssertionError

    def wait(self, seconds: float) -> int | None:
        self.now += seconds
        self.waits += 1
        return self.status

    def suspend(self) -> None:
        self.actions.append("suspend")

    def resume(self) -> None:
        self.actions.append("resume")

    def kill(self, leave_seconds: float = 0.0) -> None:
        self.actions.append("kill")

    def cpu_time(self) -> float:
        return self.cpu


class Setting:
    """A supervisor and everything around it."""

    def __init__(self, init: init_data.InitData = init_data.InitData(), *, pid_known: bool = False) -> None:  # noqa: B008
        self.tree = FakeTree()
        self.memory = memoryview(bytearray(channels.SIZE))
        self.client = channels.Channels(self.memory)
        self.progress = progress.Progress(None, 0)
        self.signals: list[int] = []
        self.client_lives = True
        self.slept = 0.0
        self.supervisor = supervisor.Supervisor(
            self.tree,
            init,
            client=self.client,
            client_exists=(lambda: self.client_lives) if pid_known else None,
            read_progress=lambda: self.progress,
            signals=self.signals,
            clock=lambda: self.tree.now,
            sleep=self.sleep,
        )

    def sleep(self, seconds: float) -> None:
        self.slept += seconds

    def step(self, seconds: float = 0.1) -> supervisor.Ending | None:
        for _ in range(round(seconds * 10)):
            ending = self.supervisor.step()
            if ending is not None:
                return ending
        return None

    def status(self) -> dict[str, float]:
        """Take the status message as the client does."""
        text = self.client.app_status.receive() or ""
        return {name: float(number) for name, number in re.findall(r"<(\w+)>(.*?)</\1>\n", text)}

    def end(self, status: int) -> supervisor.Ending:
        self.tree.status = status
        return self.supervisor.run()


def test_the_status_is_told_each_second() -> None:
    setting = Setting(init_data.InitData(wu_cpu_time=10.0))
    setting.tree.cpu = 1.5
    setting.step(1.1)
    assert setting.status() == {"current_cpu_time": 11.5, "checkpoint_cpu_time": 10.0, "want_network": 0}
    setting.step(0.5)
    assert setting.status() == {}
    setting.tree.cpu = 2.0
    setting.progress = progress.Progress(0.25, 0)
    setting.step(0.6)
    assert setting.status() == {
        "current_cpu_time": 12.0,
        "checkpoint_cpu_time": 10.0,
        "want_network": 0,
        "fraction_done": 0.25,
    }


def test_numbers_are_written_as_boinc_writes_them() -> None:
    setting = Setting()
    setting.tree.cpu = 12.5
    setting.step(1.1)
    text = setting.client.app_status.receive() or ""
    assert text.startswith("<current_cpu_time>1.250000e+01</current_cpu_time>\n")


def test_a_status_that_waits_is_not_overwritten() -> None:
    setting = Setting()
    setting.step(1.1)
    setting.tree.cpu = 5.0
    setting.step(3)
    assert setting.status()["current_cpu_time"] == 0
    setting.step(1.1)
    assert setting.status()["current_cpu_time"] == 5.0


def test_the_fraction_is_that_of_the_whole() -> None:
    setting = Setting(init_data.InitData(fraction_done_start=0.5, fraction_done_end=0.75))
    setting.progress = progress.Progress(0.5, 0)
    setting.step(1.1)
    assert setting.status()["fraction_done"] == 0.625


def test_the_cpu_time_of_a_checkpoint_is_that_when_it_was_made() -> None:
    setting = Setting(init_data.InitData(wu_cpu_time=10.0))
    setting.step(1.1)
    setting.status()
    setting.tree.cpu = 3.0
    setting.progress = progress.Progress(None, 1)
    setting.step(0.1)
    setting.tree.cpu = 4.0
    setting.step(1)
    assert setting.status() == {"current_cpu_time": 14.0, "checkpoint_cpu_time": 13.0, "want_network": 0}


def test_suspend_and_resume() -> None:
    setting = Setting()
    setting.step(1.1)
    setting.status()
    setting.client.process_control_request.send("<suspend/>")
    setting.step()
    assert setting.tree.actions == ["suspend"]
    setting.step(3)
    assert setting.status() == {}, "a status while it is suspended"
    assert set(setting.tree.actions) == {"suspend"}
    setting.client.process_control_request.send("<resume/>")
    setting.step(1.1)
    assert setting.tree.actions[-1] == "resume"
    assert setting.status()
    setting.client.process_control_request.send("<resume/>")
    setting.step()
    assert setting.tree.actions.count("resume") == 1


@pytest.mark.parametrize(("message", "kind"), [("<quit/>", Kind.QUIT), ("<abort/>", Kind.ABORTED)])
@pytest.mark.parametrize("suspended", [False, True])
def test_quit_and_abort_kill_the_slave_within_a_tenth_of_a_second(
    message: str, kind: supervisor.Kind, suspended: bool
) -> None:
    setting = Setting()
    if suspended:
        setting.client.process_control_request.send("<suspend/>")
        setting.step()
    before = setting.tree.now
    setting.client.process_control_request.send(message)
    assert setting.supervisor.run() == supervisor.Ending(kind)
    assert setting.tree.actions[-1] == "kill"
    assert setting.tree.now - before < 0.11
    assert setting.slept == 0


def test_a_checkpoint_just_before_quit_is_told() -> None:
    setting = Setting()
    setting.step()
    setting.status()
    setting.tree.cpu = 7.0
    setting.progress = progress.Progress(0.5, 1)
    setting.client.process_control_request.send("<quit/>")
    setting.supervisor.run()
    assert setting.status()["checkpoint_cpu_time"] == 7.0


def test_unknown_messages_are_taken_and_ignored() -> None:
    setting = Setting()
    setting.client.process_control_request.send("<reread_app_info/>")
    assert setting.step(0.1) is None
    assert setting.client.process_control_request.is_free()
    assert setting.tree.actions == []


def test_a_client_that_is_silent_for_half_a_minute_is_lost() -> None:
    setting = Setting()
    assert setting.step(29) is None
    setting.client.heartbeat.send("<heartbeat/><wss>1.0e+06</wss>")
    assert setting.step(29.5) is None
    assert setting.supervisor.run() == supervisor.Ending(Kind.LOST)
    assert setting.tree.now == pytest.approx(100 + 29 + 31, abs=1.5)
    assert setting.tree.actions[-1] == "kill"


def test_a_client_that_exists_may_be_silent_for_longer() -> None:
    setting = Setting(pid_known=True)
    assert setting.step(300) is None
    setting.client_lives = False
    assert setting.step(1.1) == supervisor.Ending(Kind.LOST)


def test_a_client_is_not_lost_because_the_computer_slept() -> None:
    setting = Setting()
    setting.step(1)
    setting.tree.now += 8 * 3600
    assert setting.step(20) is None


def test_a_clock_that_goes_back_does_no_harm() -> None:
    setting = Setting()
    setting.step(1)
    setting.tree.now -= 50
    assert setting.step(20) is None


def test_heartbeats_are_taken_while_the_slave_is_suspended() -> None:
    setting = Setting()
    setting.client.process_control_request.send("<suspend/>")
    setting.step()
    for _ in range(60):
        assert setting.client.heartbeat.send("<heartbeat/>")
        assert setting.step(1) is None


@pytest.mark.parametrize("status", [0, 3, 195, -9])
def test_the_slaves_exit_status_is_passed_on_and_nothing_of_it_is_left(status: int) -> None:
    setting = Setting()
    setting.step()
    assert setting.end(status) == supervisor.Ending(Kind.EXITED, status)
    assert setting.tree.actions == ["kill"]


def test_the_last_word_is_the_final_cpu_time() -> None:
    setting = Setting(init_data.InitData(wu_cpu_time=1.0))
    setting.tree.cpu = 41.0
    setting.end(0)
    assert setting.status() == {
        "current_cpu_time": 42.0,
        "checkpoint_cpu_time": 1.0,
        "want_network": 0,
        "fraction_done": 1.0,
    }


def test_the_last_word_waits_for_its_turn_but_not_for_long() -> None:
    setting = Setting()
    setting.client.app_status.send("earlier")
    setting.end(0)
    assert setting.client.app_status.receive() == "earlier"
    assert setting.slept == pytest.approx(supervisor.LAST_WORD_SECONDS)


def test_a_signal_ends_it() -> None:
    setting = Setting()
    setting.signals.append(signal.SIGTERM)
    assert setting.supervisor.run() == supervisor.Ending(Kind.SIGNALLED)
    assert setting.tree.actions == ["kill"]


def test_a_slave_that_is_shut_down_with_everything_else_has_not_failed() -> None:
    """Where the system ends, all processes get the signal, and the slave may be the first to die of it."""
    for tell in (
        lambda setting: setting.signals.append(signal.SIGTERM),
        lambda setting: setting.client.process_control_request.send("<quit/>"),
        lambda setting: setattr(setting, "client_lives", False),
    ):
        setting = Setting(pid_known=True)
        setting.step()
        tell(setting)
        setting.tree.status = -signal.SIGTERM
        assert setting.supervisor.run().kind is not Kind.EXITED


def test_a_slave_that_kills_itself_has_failed() -> None:
    setting = Setting(pid_known=True)
    assert setting.end(-signal.SIGTERM) == supervisor.Ending(Kind.EXITED, -signal.SIGTERM)


def test_without_a_client_a_trial_run_goes_to_its_end() -> None:
    tree = FakeTree()
    trial = supervisor.Supervisor(
        tree,
        init_data.InitData(),
        client=None,
        client_exists=None,
        read_progress=lambda: progress.Progress(None, 0),
        clock=lambda: tree.now,
    )
    for _ in range(600):
        assert trial.step() is None
    tree.status = 0
    assert trial.run() == supervisor.Ending(Kind.EXITED, 0)
