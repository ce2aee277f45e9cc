"""What jobs find imported gives in the thousandth what it gives in the first: a look at what its import does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from aioboinc.embedded import creation

# Imports modules, and writes down whatever they do that a process, a place or a moment could be seen in.
WATCH = """
import _thread, atexit, gc, importlib, json, os, signal, sys, time, warnings
runtime, *names = sys.argv[1:]
sys.path.insert(0, runtime)
seen = []

def watched(space, name, key=None):
    function = getattr(space, name)
    def watch(*args, **kwargs):
        module = sys._getframe(1).f_globals.get("__name__")
        seen.append(f"{module}: {key or name}")
        return function(*args, **kwargs)
    setattr(space, name, watch)

allowed = [os.path.dirname(os.__file__), runtime, *filter(None, sys.path)]

def is_code(path):
    if not isinstance(path, (str, bytes)):
        return False
    path = os.path.abspath(os.fsdecode(path))
    return any(path.startswith(os.path.join(os.path.abspath(folder), "")) for folder in allowed) or path in allowed

def audit(event, args):
    if event == "open" and not (is_code(args[0]) and isinstance(args[2], int) and not args[2] & (os.O_WRONLY | os.O_RDWR)):
        seen.append(f"open {args[0]}")
    elif event in ("os.listdir", "os.scandir"):
        if not is_code(args[0]):
            seen.append(f"{event} {args}")
    elif event == "ctypes.dlopen":
        if args[0] is not None:
            seen.append(f"{event} {args}")
    elif event.partition(".")[0] in (
        "os", "socket", "subprocess", "shutil", "tempfile", "mmap", "fcntl", "_thread", "signal", "pty", "sqlite3"
    ) or event in ("sys.settrace", "sys.setprofile", "sys.addaudithook"):
        seen.append(f"{event} {args}")

def state():
    return {
        "path": sys.path[:], "meta_path": sys.meta_path[:], "path_hooks": sys.path_hooks[:], "argv": sys.argv[:],
        "warnings": warnings.filters[:], "recursion": sys.getrecursionlimit(), "switch": sys.getswitchinterval(),
        "gc": (gc.isenabled(), gc.get_threshold(), gc.callbacks[:]), "exit": atexit._ncallbacks(),
        "signals": [signal.getsignal(number) for number in signal.valid_signals()],
        "hooks": (sys.excepthook, sys.displayhook, sys.unraisablehook, sys.gettrace(), sys.getprofile()),
        "streams": (sys.stdin, sys.stdout, sys.stderr), "environ": dict(os.environ._data),
        "descriptors": set(range(20)) & set(map(int, os.listdir("/proc/self/fd"))) if sys.platform == "linux" else None,
        "umask": os.umask(os.umask(0o22)), "folder": os.getcwd(), "builtins": dict(vars(__import__("builtins"))),
    }

before = state()
for name in ("__getitem__", "__iter__", "__contains__", "__len__", "__setitem__", "copy"):
    watched(os._Environ, name, "environ")
for name in ("getcwd", "getcwdb", "getpid", "getppid", "urandom", "cpu_count", "register_at_fork", "umask", "times"):
    watched(os, name)
for name in filter(lambda name: name.startswith("start_"), dir(_thread)):
    watched(_thread, name)
for name in ("time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "process_time", "localtime", "tzset"):
    watched(time, name)
originals = os.getcwd, os.umask
sys.addaudithook(audit)
if not names:
    from aioboinc.embedded.process import forker
    names = forker.PRELOADED
for name in names:
    importlib.import_module(name)
count = len(seen)
after = state()
del seen[count:]
seen += [f"changes {key}" for key in before if before[key] != after[key]]
print(json.dumps(seen))
"""


def watch(runtime: Path, *names: str) -> list[str]:
    """Return what the import of the modules *names* does; without them, of what local hosts preload."""
    done = subprocess.run(
        [sys.executable, "-s", "-B", "-c", WATCH, str(runtime), *names],
        cwd=runtime,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    seen: list[str] = json.loads(done.stdout)
    return seen


def test_what_is_preloaded_depends_on_nothing_and_leaves_nothing(tmp_path: Path) -> None:
    # random seeds itself in each fork, and what it is seeded with comes from no function that is watched.
    assert [what for what in watch(creation.unpack_runtime(tmp_path)) if what != "random: register_at_fork"] == []


@pytest.mark.parametrize(
    "text",
    [
        "import os; os.environ.get('MODE')",
        "import os; os.getenv('MODE')",
        "import os; dict(os.environ)",
        "import os; os.environ['MODE'] = '1'",
        "import os; os.getcwd()",
        "from os import getpid; getpid()",
        "import time; time.time()",
        "open('/etc/hostname')",
        "open('data.txt', 'w')",
        "import os; os.listdir('/tmp')",
        "import _thread; _thread.start_new_thread(print, ())",
        "import atexit; atexit.register(print)",
        "import warnings; warnings.simplefilter('ignore')",
        "import sys; sys.path.append('x')",
        "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)",
        "import os; os.register_at_fork(before=print)",
        "import socket; socket.socket()",
        "import subprocess; subprocess.run(['true'])",
        "import sys; sys.setrecursionlimit(5000)",
        "import gc; gc.disable()",
        "import logging",
        "import builtins; builtins.x = 1",
    ],
)
def test_a_module_that_does_not_belong_there_is_found_out(tmp_path: Path, text: str) -> None:
    (tmp_path / "bad.py").write_text(text)
    assert watch(tmp_path, "bad") != []


def test_packages_and_programs_are_not_preloaded(tmp_path: Path) -> None:
    runtime = creation.unpack_runtime(tmp_path)
    script = (
        "import importlib, sys, sysconfig; sys.path.insert(0, sys.argv[1])\n"
        "before = set(sys.modules)\n"
        "from aioboinc.embedded.process import forker\n"
        "for name in forker.PRELOADED: importlib.import_module(name)\n"
        "tops = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "print(*(tops - set(sys.stdlib_module_names)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-s", "-c", script, str(runtime)], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["aioboinc"]
    assert os.path.isdir(runtime)
