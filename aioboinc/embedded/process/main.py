"""The process of a local host: does one job after the other, each in a process of its own.

It is a program of its own that imports only what every host gets, and it stands where the BOINC client does on
other hosts: it fills the slot directory, has the slave started (by `forker`), enforces the workunit's
bounds, and reports. What it does it is told in lines of JSON on a socket; when the other end is gone, it ends.

- In: jobs (`messages.Job`).
- Out: ``{"ready": pid}`` at the start; ``{"report": …}`` for a job that is over (`messages.Report`);
  ``{"returned": [names]}`` for jobs that wait while the one before takes long: another host may do them sooner.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import sys

from aioboinc.embedded.process import forker as forking
from aioboinc.embedded.process.messages import Configuration
from aioboinc.slave_runtime import environment

__all__ = ["main"]


def main() -> None:
    """Be a local host; ``sys.argv[1]`` is its configuration in JSON."""
    configuration: Configuration = json.loads(sys.argv[1])
    if os.path.exists(configuration["lock"]):
        from aioboinc.slave_runtime import processes_unix

        processes_unix.kill_strays(environment.MARKER, configuration["slot"])
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)  # as under a client; a shell's background jobs ignore it
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
        file.write("500")  # where memory runs out, a slave goes before the master
    forker = forking.start(
        configuration["slot"],
        configuration["project_dir"],
        configuration["socket"],
    )
    # Not before: what is imported from here on the other process has no use for.
    from aioboinc.embedded.process import client

    sys.exit(client.Client(configuration, forker).run())
