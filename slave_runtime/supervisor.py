"""The loop that stands between the client and the slave: obeys the one, watches the other.

What BOINC's library does in its timer thread (``api/boinc_api.cpp``), for a slave that is a process of its own.
"""

from __future__ import annotations

import enum
import signal
import time
from typing import Callable, Collection, Mapping, NamedTuple, Optional, Protocol, Sequence

from . import channels, failures, init_data, progress

__all__ = ["Ending", "Kind", "Supervisor", "Tree"]

POLL_SECONDS = 0.1
"""How often messages of the client are looked for; the same as in BOINC's library."""
STATUS_SECONDS = 1.0
"""How often the client is told of the progress, and its existence is checked."""
HEARTBEAT_SECONDS = 30.0
"""The client is lost after so long a silence; the same as in BOINC's library."""
LAST_WORD_SECONDS = 2.0
"""How long to wait at the end until the client takes the message before the last one."""
_EXTERNAL_SIGNALS = frozenset(
    getattr(signal, name) for name in ("SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM") if hasattr(signal, name)
)


class Tree(Protocol):
    """The slave's processes; processes_unix.ProcessTree and processes_windows.ProcessTree are such."""

    def start(self, command: Sequence[str], variables: Mapping[str, str], directory: str) -> None:
        """Start the slave in *directory*, with this process's stderr as stdout and stderr. Raises OSError."""

    def wait(self, seconds: float) -> Optional[int]:
        """Wait until the slave or *seconds* are over; return the slave's exit status, None if it runs."""

    def suspend(self) -> None:
        """Stop all processes."""

    def resume(self) -> None:
        """Let all processes go on."""

    def kill(self, leave_seconds: float = 0.0) -> None:
        """Kill all processes, after *leave_seconds* in which they may end by themselves."""

    def cpu_time(self) -> float:
        """Return the CPU seconds of all processes so far."""


class Kind(enum.Enum):
    """Why the loop ended."""

    EXITED = "the slave ended"
    QUIT = "the client told us to quit"
    ABORTED = "the client told us to abort"
    LOST = "the client is gone"
    SIGNALLED = "a signal told us to end"


class Ending(NamedTuple):
    """How the loop ended; no process of the slave is left."""

    kind: Kind
    """Why."""
    status: int = 0
    """The slave's exit status, or minus the signal that killed it."""


class Supervisor:
    """Runs the loop over a slave that was started.

    *client_exists* says whether the client's process is there, None if its id is not known: then heartbeats count.
    *signals* are the numbers of the signals that have come so far. Without *channels* there is no client.
    """

    def __init__(
        self,
        tree: Tree,
        init: init_data.InitData,
        *,
        client: Optional[channels.Channels],
        client_exists: Optional[Callable[[], bool]],
        read_progress: Callable[[], progress.Progress],
        signals: Collection[int] = (),
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        heartbeat_seconds: float = HEARTBEAT_SECONDS,
    ) -> None:
        self._tree = tree
        self._init = init
        self._client = client
        self._client_exists = client_exists
        self._read_progress = read_progress
        self._signals = signals
        self._clock = clock
        self._sleep = sleep
        self._heartbeat_seconds = heartbeat_seconds
        self._suspended = False
        self._now = clock()
        self._status_due = self._now + STATUS_SECONDS
        self._silence = 0.0
        self._checkpoints = 0
        self._checkpoint_cpu_time = init.wu_cpu_time

    def run(self) -> Ending:
        """Run until the slave ends or must; then none of its processes is left."""
        ending = None
        while ending is None:
            ending = self.step()
        if ending.kind is Kind.EXITED and -ending.status in _EXTERNAL_SIGNALS:
            ending = self._interrupted() or ending
        self._tree.kill(failures.LEAVE_SECONDS if ending.kind is Kind.EXITED else 0.0)
        if ending.kind is Kind.EXITED:
            self._say_last_word(ending.status == 0)
        elif self._client is not None:
            self._note_checkpoints()
            self._client.app_status.send(self._status(None))
        return ending

    def step(self) -> Optional[Ending]:
        """Wait for a tenth of a second, then do what there is to do; return how it ended, if it did."""
        status = self._tree.wait(POLL_SECONDS)
        if status is not None:
            return Ending(Kind.EXITED, status)
        ending = self._obey()
        if ending is not None:
            return ending
        # A computer that was asleep, or a clock that jumped, is no silence.
        now = self._clock()
        self._silence += min(max(now - self._now, 0.0), STATUS_SECONDS)
        self._now = now
        if self._client is not None and self._client.heartbeat.receive() is not None:
            self._silence = 0.0
        self._note_checkpoints()
        if now >= self._status_due:
            self._status_due = now + STATUS_SECONDS
            if self._is_client_lost():
                return Ending(Kind.LOST)
            self._report()
        return None

    def _obey(self) -> Optional[Ending]:
        if self._signals:
            return Ending(Kind.SIGNALLED)
        request = self._client.process_control_request.receive() if self._client is not None else None
        if not request:
            return None
        if "<abort/>" in request:
            return Ending(Kind.ABORTED)
        if "<quit/>" in request:
            return Ending(Kind.QUIT)
        if "<suspend/>" in request and not self._suspended:
            self._suspended = True
            self._tree.suspend()
        elif "<resume/>" in request and self._suspended:
            self._suspended = False
            self._tree.resume()
        return None

    def _is_client_lost(self) -> bool:
        if self._client is None:
            return False
        if self._client_exists is not None:
            # A client that exists may be silent for long, as BOINC found out: it is busy.
            return not self._client_exists()
        return self._silence > self._heartbeat_seconds

    def _note_checkpoints(self) -> None:
        checkpoints = self._read_progress().checkpoints
        if checkpoints != self._checkpoints:
            self._checkpoints = checkpoints
            self._checkpoint_cpu_time = self._cpu_time()

    def _report(self) -> None:
        if self._suspended:
            self._tree.suspend()  # whatever slipped through
        elif self._client is not None and self._client.app_status.is_free():
            self._client.app_status.send(self._status(self._read_progress().fraction_done))

    def _say_last_word(self, finished: bool) -> None:
        """Tell the final CPU time: the client stores what it was told last."""
        if self._client is None:
            return
        self._note_checkpoints()
        waited = 0.0
        while not self._client.app_status.is_free() and waited < LAST_WORD_SECONDS:
            self._sleep(POLL_SECONDS / 2)
            waited += POLL_SECONDS / 2
        self._client.app_status.send(self._status(1.0 if finished else None))

    def _status(self, fraction_done: Optional[float]) -> str:
        status = (
            f"<current_cpu_time>{self._cpu_time():e}</current_cpu_time>\n"
            f"<checkpoint_cpu_time>{self._checkpoint_cpu_time:e}</checkpoint_cpu_time>\n"
            "<want_network>0</want_network>\n"
        )
        if fraction_done is not None:
            start, end = self._init.fraction_done_start, self._init.fraction_done_end
            status += f"<fraction_done>{start + fraction_done * (end - start):e}</fraction_done>\n"
        return status

    def _cpu_time(self) -> float:
        return self._init.wu_cpu_time + self._tree.cpu_time()

    def _interrupted(self) -> Optional[Ending]:
        """Say whether the slave was killed because all is being shut down: then we will be told, too."""
        waited = 0.0
        while waited < LAST_WORD_SECONDS:
            ending = self._obey()
            if ending is not None:
                return ending
            if self._is_client_lost():
                return Ending(Kind.LOST)
            self._sleep(POLL_SECONDS)
            waited += POLL_SECONDS
        return None
