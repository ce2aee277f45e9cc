"""The stock BOINC client (Debian: boinc-client) as a host: own data directory, own port, no look outside."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from patience import PATIENCE

__all__ = ["StockClient", "find", "wait_for"]

_CONFIG = """\
<cc_config>
  <log_flags>
    <task>1</task><file_xfer>1</file_xfer><sched_ops>1</sched_ops><unparsed_xml>1</unparsed_xml>
  </log_flags>
  <options>
    <report_results_immediately>{at_once}</report_results_immediately>
    <allow_multiple_clients>1</allow_multiple_clients>
    <dont_contact_ref_site>1</dont_contact_ref_site>
    <fetch_on_update>1</fetch_on_update>
    <no_gpus>1</no_gpus>
    <skip_cpu_benchmarks>1</skip_cpu_benchmarks>
    {at_once_options}
    <proxy_info>
      <use_http_proxy/>
      <http_server_name>127.0.0.1</http_server_name>
      <http_server_port>9</http_server_port>
      <no_proxy>127.0.0.1</no_proxy>
    </proxy_info>
  </options>
</cc_config>
"""
_AT_ONCE = """
    <no_priority_change>1</no_priority_change>
    <ncpus>4</ncpus>
    <max_file_xfers>16</max_file_xfers>
    <max_file_xfers_per_project>16</max_file_xfers_per_project>
"""
"""A stock client's jobs have the lowest priority: on a busy machine each takes minutes."""
_PREFERENCES = """\
<global_preferences>
  <run_on_batteries>1</run_on_batteries><run_if_user_active>1</run_if_user_active>
  <suspend_cpu_usage>0</suspend_cpu_usage><max_ncpus_pct>100</max_ncpus_pct><niu_max_ncpus_pct>100</niu_max_ncpus_pct>
  <cpu_usage_limit>100</cpu_usage_limit><niu_cpu_usage_limit>100</niu_cpu_usage_limit>
  <work_buf_min_days>{days}</work_buf_min_days><work_buf_additional_days>0</work_buf_additional_days>
  <disk_max_used_gb>5</disk_max_used_gb><disk_min_free_gb>0.01</disk_min_free_gb>
  <disk_max_used_pct>100</disk_max_used_pct><leave_apps_in_memory>1</leave_apps_in_memory>
  <disk_interval>1</disk_interval>
</global_preferences>
"""
_PASSWORD = "secret"


def find() -> str | None:
    """Return the client's path, None if it is not installed."""
    return shutil.which("boinc") if shutil.which("boinccmd") else None


def wait_for(what: str, ready: Callable[[], object], *, log: Callable[[], str]) -> None:
    """Wait until *ready* returns something true."""
    deadline = time.monotonic() + PATIENCE
    while not ready():
        assert time.monotonic() < deadline, f"{what}: in vain\n{log()}"
        time.sleep(0.1)  # the client has no other way to tell


class StockClient:
    """A client with its data in *directory*, to be asked for at *port*.

    *at_once* it reports each result, and has more work, transfers and jobs under way than a stock client.
    """

    def __init__(self, program: str, directory: Path, port: int, *, at_once: bool = True) -> None:
        self.directory = directory
        self._program = program
        self._port = port
        self._process: subprocess.Popen[bytes] | None = None
        directory.mkdir()
        (directory / "gui_rpc_auth.cfg").write_text(_PASSWORD)
        (directory / "gui_rpc_auth.cfg").chmod(0o600)
        (directory / "cc_config.xml").write_text(
            _CONFIG.format(at_once=int(at_once), at_once_options=_AT_ONCE.strip() if at_once else "")
        )
        (directory / "global_prefs_override.xml").write_text(_PREFERENCES.format(days=0.1 if at_once else 0.001))

    def start(self) -> None:
        """Start the client, and wait until it answers."""
        command = [self._program, "--dir", str(self.directory), "--gui_rpc_port", str(self._port)]
        with open(self.directory / "log", "ab") as log:
            self._process = subprocess.Popen(
                [*command, "--allow_multiple_clients", "--no_gpus"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.directory,
                env={"PATH": os.environ["PATH"], "HOME": str(self.directory)},
            )
        wait_for("client", lambda: self._try("--get_state"), log=self.log)

    def attach(self, url: str, key: str) -> None:
        """Attach it to a project."""
        self.command("--project_attach", url, key)

    def command(self, *arguments: str) -> str:
        """Run boinccmd; return what it says."""
        return subprocess.run(
            ["boinccmd", "--host", f"127.0.0.1:{self._port}", "--passwd", _PASSWORD, *arguments],
            check=True,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        ).stdout

    def _try(self, *arguments: str) -> str:
        with contextlib.suppress(subprocess.SubprocessError):
            return self.command(*arguments)
        return ""

    def tasks(self) -> dict[str, dict[str, str]]:
        """Return what the client says of its tasks, by their names."""
        tasks = {}
        for block in re.split(r"^\d+\) -+$", self.command("--get_tasks"), flags=re.MULTILINE)[1:]:
            fields = dict(re.findall(r"^   ([^:\n]+): (.*)$", block, re.MULTILINE))
            tasks[fields["name"]] = fields
        return tasks

    def running(self, name: str) -> bool:
        """Tell whether the task is executed now."""
        return self.tasks().get(name, {}).get("active_task_state") == "EXECUTING"

    def kill(self) -> None:
        """End it without warning."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self._process = None

    def close(self) -> None:
        """End it, and what it has started."""
        if self._process is None:
            return
        self._try("--quit")
        try:
            self._process.wait(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def log(self) -> str:
        """Return what the client has logged."""
        return (self.directory / "log").read_text(errors="replace")
