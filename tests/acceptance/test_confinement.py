"""A slave that the owner of the host confines: what it can't do any more, and what it still can."""

from __future__ import annotations

import os
import pwd
import sys
import textwrap
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from fake_client import FakeClient

from aioboinc.program import bundle
from aioboinc.project import keys
from aioboinc.slave_runtime import confinement, environment, processes_unix
from aioboinc.wire import codec, envelope

KEY = keys.PrivateKey(rsa.generate_private_key(65537, 2048))

has_scopes = confinement._version() >= 6
needs_landlock = pytest.mark.skipif(not confinement.is_available(), reason="the kernel has no Landlock")


@pytest.fixture
def client(tmp_path: Path) -> Iterator[FakeClient]:
    client = FakeClient(tmp_path / "boinc", sys.executable, KEY)
    yield client
    client.stop()
    processes_unix.kill_strays(environment.MARKER, str(client.slot))


def do(client: FakeClient, text: str, value: object = None, confine: str = "1") -> object:
    files = {"app_slave.py": textwrap.dedent(text).encode()}
    client.job(bundle.Sources("app_slave.py", files, {}, ""), codec.encode(value))
    client.start(PYBOINC_CONFINE=confine)
    assert client.wait() == 0, client.stderr
    content = envelope.decode(client.output.read_bytes(), codec.OPAQUE)
    assert content.status == "ok", content.value
    return content.value


TRIES = """
import os
def attempt(function, *args):
    try:
        function(*args)
    except OSError:
        return False
    return True
def write(path):
    with open(path, "w") as file:
        file.write("x")
def read(path):
    with open(path) as file:
        return file.read()
path = pyboinc_get_input()
pyboinc_return_output([
    attempt(read, path), attempt(os.listdir, os.path.dirname(path)), attempt(write, path + ".new"),
    attempt(os.symlink, "x", path + ".link"), attempt(os.link, path, "linked"), attempt(os.rename, path, "taken"),
    attempt(write, "/tmp/pyboinc_test"), attempt(os.kill, os.getppid(), 0),
    attempt(read, f"/proc/{os.getppid()}/environ"),
])
"""


@needs_landlock
@pytest.mark.parametrize("confine", ["0", "1"])
def test_what_a_slave_can_not_do(client: FakeClient, tmp_path: Path, confine: str) -> None:
    (tmp_path / "home").mkdir()
    secret = tmp_path / "home" / "secret.txt"
    secret.write_text("secret")
    done = do(client, TRIES, str(secret), confine)
    assert isinstance(done, list)
    if confine == "1":
        # root may read what others keep in memory all the same (CAP_PERFMON).
        assert done == [*[False] * 7, not has_scopes, os.geteuid() == 0]
        assert sorted(os.listdir(secret.parent)) == ["secret.txt"]
    else:
        assert done == [True] * 9
        os.unlink("/tmp/pyboinc_test")


@needs_landlock
def test_what_a_slave_still_can(client: FakeClient) -> None:
    text = """
        import concurrent.futures, multiprocessing, os, sqlite3, ssl, subprocess, sys, tempfile
        def main():
            write("own", "w"), os.mkdir("folder"), os.rename("own", "folder/own"), os.unlink("folder/own")
            with tempfile.TemporaryFile() as file: file.write(b"x")
            os.urandom(5), write(os.devnull, "w"), write("/dev/urandom", "r")
            os.makedirs(os.path.expanduser("~/.cache/some"))
            write(os.path.expanduser("~/.cache/some/file"), "w")
            with concurrent.futures.ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as executor:
                results = list(executor.map(abs, [-1, 2]))
            lock, queue = multiprocessing.Lock(), multiprocessing.Queue()
            child = multiprocessing.get_context("fork").Process(target=queue.put, args=(5,))
            child.start()
            results.append(queue.get())
            child.join()
            for command in (["sh", "-c", "echo 7"], [sys.executable, "-c", "import json; print(8)"]):
                results.append(subprocess.run(command, capture_output=True, text=True).stdout)
            connection = sqlite3.connect("db")
            connection.execute("create table t (x)")
            connection.commit()
            pyboinc_checkpoint([1])
            results.append(pyboinc_restore())
            pyboinc_fraction_done(0.5)
            os.kill(os.getpid(), 0), write("/proc/self/status", "r"), os.cpu_count()
            try:
                import numpy
            except ImportError:
                pass
            else:
                assert numpy.linalg.det(numpy.eye(3)) == 1
            pyboinc_return_output(results)
        def write(path, mode):
            with open(path, mode) as file:
                file.write("x") if mode == "w" else file.buffer.read(5)
        if __name__ == "__main__":
            main()
    """
    assert do(client, text) == [1, 2, 5, "7\n", "8\n", [1]]


def test_where_it_can_not_be_had_the_job_waits(client: FakeClient) -> None:
    files = {"app_slave.py": b"pyboinc_return_output(1)"}
    client.job(bundle.Sources("app_slave.py", files, {}, ""), codec.encode(None))
    archive = client.project / "runtime_1.zip"
    text = "from aioboinc.slave_runtime import confinement\nconfinement.is_available = lambda: False\n"
    with zipfile.ZipFile(archive) as old:
        contents = {name: old.read(name) for name in old.namelist()}
    contents["__main__.py"] = text.encode() + contents["__main__.py"]
    with zipfile.ZipFile(archive, "w") as new:
        for name, content in contents.items():
            new.writestr(name, content)
    client.start(PYBOINC_CONFINE="1")
    assert client.wait() == 0
    assert not client.finished
    assert "no Landlock" in (client.slot / "boinc_temporary_exit").read_text()
    client.start()
    assert client.wait() == 0
    assert client.finished


def test_a_home_on_the_path_of_python_stays_closed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    home = os.path.expanduser(f"~{pwd.getpwuid(os.getuid()).pw_name}")
    (tmp_path / "packages").mkdir()
    monkeypatch.setattr(sys, "path", [home, "/", str(tmp_path), str(tmp_path / "packages")])
    readable = confinement._of_python(str(tmp_path / "slot"))
    assert str(tmp_path / "packages") in readable
    assert not {home, "/", str(tmp_path)} & set(readable)
