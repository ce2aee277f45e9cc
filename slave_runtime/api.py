"""The five names that a slave has: its input, its output, its progress, its checkpoints."""

from __future__ import annotations

import hashlib
import math
import os
import sys
from typing import Any, Callable, Dict, FrozenSet, Optional, Union

from aioboinc.wire import codec, envelope

from . import progress, slot

__all__ = ["Current", "Job"]

_NAMES = ("get_input", "return_output", "fraction_done", "checkpoint", "restore")
_OVER = "the call that this belongs to is over"
_CHECKPOINT_FORMAT = b"pyboinc checkpoint 1\0"


class Job:
    """One execution of a job, as its slave sees it."""

    def __init__(
        self,
        name: str,
        slot_dir: str,
        data: bytes,
        program_sha256: bytes,
        registry: codec.Registry,
        tells: Union[progress.Writer, progress.Part],
        label: str = "",
    ) -> None:
        """Begin the job *name* with the encoded input *data*; *label* is before what is said of it on stderr."""
        self.name = name
        self.label = label
        self.input_sha256 = hashlib.sha256(data).digest()
        self.program_sha256 = program_sha256
        self.outcome: Optional[envelope.Outcome] = None
        """The output, once the slave has returned it, or the exception that has ended the slave."""
        self.is_over = False
        """Whether it is too late for everything, as other calls run in this process."""
        self._registry = registry
        self._data: Optional[bytes] = data
        self._input: Any = None
        self._slot_dir = slot_dir
        self._tells = tells

    def get_input(self) -> Any:
        """Return the input of this job, the same object each time."""
        if self._data is not None:
            try:
                self._input = codec.decode(self._data, self._registry)
            except codec.Malformed:
                codec.import_packages(self._data)  # where one is missing it is this host's failure, no outcome
                raise
            self._data = None
        return self._input

    def return_output(self, output: Any) -> None:
        """Return the output of this job: once, and nothing that changes afterwards counts.

        It is sent when the program has ended without an error. Raises TypeError with the path to what is not data,
        RuntimeError at the second call.
        """
        self._check_time()
        if self.outcome is not None:
            raise RuntimeError("pyboinc_return_output was called before: a job has one output")
        self.outcome = envelope.Outcome.of_output(output, self._registry)

    def fraction_done(self, fraction: float) -> None:
        """Tell how much of the job is done, from 0 to 1. Cheap enough for an inner loop."""
        fraction = float(fraction)
        if math.isnan(fraction):
            raise ValueError("pyboinc_fraction_done: not a number")
        self._check_time()
        self._tells.fraction_done(min(max(fraction, 0.0), 1.0))

    def checkpoint(self, state: Any) -> None:
        """Save *state*, anything that can be an output: if the job is interrupted, it can go on from there.

        The state is on disk on return. Raises TypeError with the path to what is not data, OSError.
        """
        self._check_time()
        data = codec.encode(state, self._registry, root="state")
        slot.write(self._checkpoint_path(), self._seal(data) + data, durable=True)
        self._tells.checkpointed()

    def restore(self) -> Any:
        """Return the state of the job's last checkpoint; None if there is none, or one that is not this job's."""
        try:
            with open(self._checkpoint_path(), "rb") as file:
                content = file.read()
        except OSError:
            return None
        data = content[hashlib.sha256().digest_size :]
        if content != self._seal(data) + data:
            return None
        try:
            return codec.decode(data, self._registry)
        except codec.Malformed:
            return None

    def _checkpoint_path(self) -> str:
        return os.path.join(self._slot_dir, slot.CHECKPOINT)

    def _check_time(self) -> None:
        if self.is_over:
            raise RuntimeError(_OVER)

    def _seal(self, data: bytes) -> bytes:
        """Return a digest of *data* and of all that makes it a checkpoint of this job."""
        identity = self.input_sha256 + self.program_sha256 + self.name.encode("utf-8") + b"\0"
        return hashlib.sha256(_CHECKPOINT_FORMAT + identity + data).digest()

    def names(self) -> Dict[str, Any]:
        """Return the names for the slave."""
        return {f"pyboinc_{name}": getattr(self, name) for name in _NAMES}


class Current:
    """The job that runs now, for the program's modules: they are imported once for all calls of a workunit."""

    def __init__(self) -> None:
        self.names: Dict[str, Any] = {f"pyboinc_{name}": self._delegate(name) for name in _NAMES}
        """The names for modules."""
        self._job: Optional[Job] = None
        self._left: FrozenSet[object] = frozenset()

    def begin(self, job: Job, left: FrozenSet[object]) -> None:
        """Take note that *job* begins; threads that were *left* by others before can't return its output."""
        self._job = job
        self._left = left

    def _delegate(self, name: str) -> Callable[..., Any]:
        def function(*args: Any, **kwargs: Any) -> Any:
            if name == "return_output" and self._left and sys.modules["threading"].current_thread() in self._left:
                raise RuntimeError(_OVER)
            return getattr(self._job, name)(*args, **kwargs)

        function.__name__ = function.__qualname__ = f"pyboinc_{name}"
        function.__doc__ = getattr(Job, name).__doc__
        return function
