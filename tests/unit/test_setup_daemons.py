import subprocess
import sys

import pytest

from aioboinc import errors
from aioboinc.setup import config_file, daemons

CONFIG = b"""<boinc>
    <daemons>
        <daemon>
            <cmd>feeder -d 3 </cmd>
        </daemon>
        <daemon>
            <cmd>sample_bitwise_validator -d 3 --app uppercase</cmd>
        </daemon>
    </daemons>
</boinc>
"""


def commands(document):
    return [element.children["cmd"] for element in config_file.find(document, "boinc", "daemons", "daemon")]


OTHERS = commands(CONFIG)


def test_add():
    document = daemons.add(CONFIG, None)
    assert commands(document) == [*OTHERS, "pyboinc_validator -d 3", "pyboinc_assimilator -d 3"]
    assert daemons.add(document, None) == document
    assert [daemon.validator for daemon in daemons.find(document)] == ["pyboinc", None]
    assert daemons.remove(document, daemons.find(document)) == CONFIG


def test_each_has_files_of_its_own():
    document = daemons.add(CONFIG, None)
    for daemon in daemons.find(document):
        children = daemon.element.children
        name = children["cmd"].split()[0]
        assert children == {
            "cmd": children["cmd"],
            "output": f"{name}.log",
            "pid_file": f"{name}.pid",
            "lock_file": f"{name}.lock",
        }


def test_the_choice_of_a_validator_stays():
    document = daemons.add(CONFIG, "bitwise")
    assert "sample_bitwise_validator -d 3 --app pyboinc" in commands(document)
    assert "pyboinc_validator -d 3" not in commands(document)
    assert daemons.add(document, None) == document
    changed = daemons.add(document, "pyboinc")
    assert sorted(commands(changed)) == sorted(commands(daemons.add(CONFIG, None)))


def test_options_of_the_administrator_stay():
    document = daemons.add(CONFIG, None).replace(b"validator -d 3<", b"validator -d 4 --mod 2 0<")
    assert daemons.add(document, "pyboinc") == document


def test_one_daemon_missing():
    document = daemons.add(CONFIG, None)
    validator, assimilator = daemons.find(document)
    assert sorted(commands(daemons.add(daemons.remove(document, [validator]), None))) == sorted(commands(document))
    assert daemons.add(daemons.remove(document, [assimilator]), None) == document


def test_launcher(tmp_path):
    module = tmp_path / "module.py"
    module.write_text("raise SystemExit(9)")
    path = tmp_path / "launcher"
    path.write_bytes(daemons.launcher("this"))
    path.chmod(0o755)
    environment = {"PYTHONPATH": str(tmp_path), "PYTHONHOME": "/nowhere"}
    process = subprocess.run([path], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert process.returncode == 0
    assert process.stdout.startswith("The Zen of Python")
    path.write_bytes(daemons.launcher("module"))
    process = subprocess.run([path], env=environment, cwd=tmp_path, capture_output=True, check=False)
    assert process.returncode == 1  # neither the environment nor the working directory has a say


def test_an_interpreter_without_aioboinc(tmp_path, monkeypatch):
    daemons.check_interpreter()
    bare = tmp_path / "python"
    bare.write_text("#!/bin/sh\necho 'Traceback:\nModuleNotFoundError: No module named aioboinc' >&2\nexit 1\n")
    bare.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(bare))
    with pytest.raises(errors.ProjectError, match=r"\(ModuleNotFoundError: No module named aioboinc\).*install"):
        daemons.check_interpreter()
    monkeypatch.setattr(sys, "executable", str(tmp_path / "none"))
    with pytest.raises(errors.ProjectError, match="No such file"):
        daemons.check_interpreter()


def test_running(tmp_path):
    (tmp_path / "pid_host").mkdir()
    for name in ("pyboinc_validator", "pyboinc_validator1", "feeder"):
        (tmp_path / f"pid_host/{name}.lock").touch()
    assert daemons.running(tmp_path) == []
    program = (
        "import fcntl, sys; file = open(sys.argv[1], 'r+b'); fcntl.lockf(file, fcntl.LOCK_EX); "
        "print(flush=True); input()"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "pid_host/pyboinc_validator1.lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        holder.stdout.readline()
        assert daemons.running(tmp_path) == ["pyboinc_validator"]
        assert daemons.running(tmp_path, ["feeder"]) == []
        holder.communicate(b"\n")
    assert daemons.running(tmp_path) == []
