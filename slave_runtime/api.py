"""The five names that a slave has: its input, its output, its progress, its checkpoints."""

from __future__ import annotations

import hashlib
import math
import os
from typing import Any, Dict, Optional

from aioboinc.wire import codec, envelope

from . import progress, slot

__all__ = ["Job"]

_CHECKPOINT_FORMAT = b"pyboinc checkpoint 1\0"


class Job:
    """One execution of a job, as its slave sees it."""

    def __init__(
        self, name: str, slot_dir: str, data: bytes, program_sha256: bytes, registry: codec.Registry
    ) -> None:
        """Begin the job *name* with the encoded input *data*."""
        self.name = name
        self.input_sha256 = hashlib.sha256(data).digest()
        self.program_sha256 = program_sha256
        self.output: Optional[bytes] = None
        """The envelope of the output, once the slave has returned it."""
        self._registry = registry
        self._data: Optional[bytes] = data
        self._input: Any = None
        self._slot_dir = slot_dir
        self._progress: Optional[progress.Writer] = None

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
        if self.output is not None:
            raise RuntimeError("pyboinc_return_output was called before: a job has one output")
        self.output = envelope.encode_output(
            self.name, self.input_sha256, self.program_sha256, output, self._registry
        )

    def fraction_done(self, fraction: float) -> None:
        """Tell how much of the job is done, from 0 to 1. Cheap enough for an inner loop."""
        fraction = float(fraction)
        if math.isnan(fraction):
            raise ValueError("pyboinc_fraction_done: not a number")
        self._writer().fraction_done(min(max(fraction, 0.0), 1.0))

    def checkpoint(self, state: Any) -> None:
        """Save *state*, anything that can be an output: if the job is interrupted, it can go on from there.

        The state is on disk on return. Raises TypeError with the path to what is not data, OSError.
        """
        data = codec.encode(state, self._registry, root="state")
        slot.write(self._checkpoint_path(), self._seal(data) + data, durable=True)
        self._writer().checkpointed()

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

    def _writer(self) -> progress.Writer:
        if self._progress is None:
            self._progress = progress.Writer(os.path.join(self._slot_dir, slot.PROGRESS))
        return self._progress

    def _seal(self, data: bytes) -> bytes:
        """Return a digest of *data* and of all that makes it a checkpoint of this job."""
        identity = self.input_sha256 + self.program_sha256 + self.name.encode("utf-8") + b"\0"
        return hashlib.sha256(_CHECKPOINT_FORMAT + identity + data).digest()

    def names(self) -> Dict[str, Any]:
        """Return the names for the slave."""
        return {
            "pyboinc_get_input": self.get_input,
            "pyboinc_return_output": self.return_output,
            "pyboinc_fraction_done": self.fraction_done,
            "pyboinc_checkpoint": self.checkpoint,
            "pyboinc_restore": self.restore,
        }
