"""What a local host does with its jobs: the part of the BOINC client."""

from __future__ import annotations

import collections
import json
import os
import select
from typing import Any

from aioboinc.embedded.process import forker as forking
from aioboinc.embedded.process.execution import Execution
from aioboinc.embedded.process.messages import Configuration, Job
from aioboinc.embedded.process.programs import Programs
from aioboinc.embedded.process.slot import Slot
from aioboinc.slave_runtime import processes_unix

__all__ = ["Client"]

PATIENCE = 0.25
"""Seconds that a job runs before those that wait behind it are returned."""


class Client:
    """The jobs that wait, and the one that *forker* runs."""

    def __init__(self, configuration: Configuration, forker: forking.Forker) -> None:
        self._configuration = configuration
        self._forker = forker
        self._connection = configuration["socket"]
        self._received = b""
        self._waiting: collections.deque[Job] = collections.deque()
        self._running: Execution | None = None
        self._slot = Slot(configuration["slot"], configuration["lock"], configuration["project_dir"])
        self._programs = Programs(configuration["programs"], configuration["key"])
        self._tree = processes_unix.ProcessTree()  # what the forker leaves behind becomes a child of this process

    def run(self) -> int:
        """Do jobs until the other end of the connection is gone, or the forker is; return the exit status."""
        poll = select.poll()
        poll.register(self._connection, select.POLLIN)
        poll.register(self._forker.answers, select.POLLIN)
        try:
            self._send({"ready": os.getpid()})
            while True:
                if self._running is None and self._waiting:
                    job = self._waiting.popleft()
                    program = self._programs.get(job["program"])
                    self._running = Execution(job, program, self._slot, self._forker)
                delay = None
                if self._running is not None:
                    delay = self._running.watch() * 1000
                    if self._waiting and self._running.elapsed() > PATIENCE:
                        self._send({"returned": [job["name"] for job in self._waiting]})
                        self._waiting.clear()
                for descriptor, _ in poll.poll(delay):
                    if descriptor == self._forker.answers:
                        self._finish()
                    elif not self._receive():
                        return 0
        except (BrokenPipeError, ConnectionResetError):
            return 0
        except EOFError:
            return 1
        finally:
            self._tree.kill()
            self._slot.leave()

    def _finish(self) -> None:
        over = self._forker.end()
        assert self._running is not None
        running, self._running = self._running, None
        self._send({"report": running.report(over, self._configuration)})

    def _send(self, message: dict[str, Any]) -> None:
        data = json.dumps(message).encode() + b"\n"
        while data:
            data = data[os.write(self._connection, data) :]

    def _receive(self) -> bool:
        data = os.read(self._connection, 1 << 18)
        *lines, self._received = (self._received + data).split(b"\n")
        self._waiting.extend(map(json.loads, lines))
        return bool(data)
