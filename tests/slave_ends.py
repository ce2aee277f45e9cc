"""Slaves that end in odd ways, and what ``python slave.py`` would make of each; a slave that tells what it finds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

__all__ = ["ENDS", "STATE", "End"]


@dataclass(frozen=True)
class End:
    """A way to end."""

    slave: str
    """The slave, which returns its output with ``pyboinc_return_output``."""
    output: Any = "output"
    status: int = 0
    """0, or a status other than 0: then there is no output."""
    left: dict[str, str] = field(default_factory=dict)
    """Files that it leaves in its slot."""
    said: str = ""
    """What it writes to stderr, among others."""


# Not open(): in the last moments of Python, where plain objects end, it is gone.
WRITE = (
    "import os\n"
    "def write(name, text=b'x', os=os):\n"
    "    file = os.open(name, os.O_WRONLY | os.O_CREAT)\n"
    "    os.write(file, text)\n"
    "    os.close(file)\n"
)
ENDS = {
    "an executor of threads is left open": End(
        "from concurrent.futures import ThreadPoolExecutor\n"
        "executor = ThreadPoolExecutor(2)\n"
        "pyboinc_return_output(list(executor.map(abs, [-1])))\n",
        [1],
    ),
    "an executor of processes is left open": End(
        "from concurrent.futures import ProcessPoolExecutor\n"
        "executor = ProcessPoolExecutor(2)\n"
        "pyboinc_return_output(list(executor.map(abs, [-1])))\n",
        [1],
    ),
    "work that is queued is done": End(
        "from concurrent.futures import ThreadPoolExecutor\n"
        "import time\n" + WRITE + "executor = ThreadPoolExecutor(1)\n"
        "executor.submit(time.sleep, 0.1)\n"
        "executor.submit(write, 'done')\n"
        "pyboinc_return_output('output')\n",
        left={"done": "x"},
    ),
    "a process that is not joined": End(
        "import multiprocessing, time\n" + WRITE + "def work():\n    time.sleep(0.3)\n    write('done')\n"
        "multiprocessing.get_context('fork').Process(target=work).start()\n"
        "pyboinc_return_output('output')\n",
        left={"done": "x"},
    ),
    "a daemon of multiprocessing": End(
        "import multiprocessing, time\n"
        "multiprocessing.get_context('fork').Process(target=time.sleep, args=(1000,), daemon=True).start()\n"
        "pyboinc_return_output('output')\n"
    ),
    "a manager": End(
        "import multiprocessing\n"
        "manager = multiprocessing.get_context('fork').Manager()\n"
        "shared = manager.list([1])\n"
        "pyboinc_return_output(list(shared))\n",
        [1],
    ),
    "exit functions": End(
        "import atexit\n" + WRITE + "atexit.register(write, 'one', b'1')\n"
        "atexit.register(write, 'one', b'2')\n"
        "atexit.register(print, 'bye', end='')\n"
        "pyboinc_return_output('output')\n",
        left={"one": "1"},
        said="bye",
    ),
    "an exit function that raises": End(
        "import atexit\n" + WRITE + "atexit.register(write, 'done')\n"
        "atexit.register(lambda: 1 / 0)\n"
        "pyboinc_return_output('output')\n",
        left={"done": "x"},
        said="ZeroDivisionError",
    ),
    "an exit function returns the output": End(
        "import atexit\natexit.register(pyboinc_return_output, 'late')\n", "late"
    ),
    "a thread returns the output": End(
        "import threading, time\n"
        "threading.Thread(target=lambda: (time.sleep(0.1), pyboinc_return_output('late'))).start()\n",
        "late",
    ),
    "a daemon thread": End(
        "import threading\n"
        "threading.Thread(target=threading.Event().wait, daemon=True).start()\n"
        "pyboinc_return_output('output')\n"
    ),
    "an object with an end": End(
        WRITE + "class End:\n    __slots__ = ()\n    def __del__(self):\n        write('done')\n"
        "end = End()\npyboinc_return_output('output')\n",
        left={"done": "x"},
    ),
    "a generator with an end": End(
        WRITE + "def generate():\n    try:\n        yield\n    finally:\n        write('done')\n"
        "generator = generate()\nnext(generator)\npyboinc_return_output('output')\n",
        left={"done": "x"},
    ),
    "an end hidden in a module that was there before": End(
        WRITE + "class End:\n    def __del__(self):\n        write('done')\n"
        "import json\njson.end = [End()]\npyboinc_return_output('output')\n",
        left={"done": "x"},
    ),
    "a weak reference's callback": End(
        "import weakref, sys\n" + WRITE + "class End: pass\n"
        "end = End()\nweakref.finalize(end, write, 'done')\npyboinc_return_output('output')\n",
        left={"done": "x"},
    ),
    "a file that is not closed": End(
        "file = open('done', 'w')\nfile.write('x')\npyboinc_return_output('output')\n", left={"done": "x"}
    ),
    "a line without an end": End("print('half', end='')\npyboinc_return_output('output')\n", said="half"),
    "an own stream in the place of stdout": End(
        "import sys\n"
        + WRITE
        + "class Stream:\n    def write(self, text): pass\n    def flush(self): write('flushed')\n"
        "sys.stdout = Stream()\npyboinc_return_output('output')\n",
        left={"flushed": "x"},
    ),
    "an exception hook": End(
        "import sys\nsys.excepthook = lambda *exception: print('hooked', file=sys.stderr)\n1 / 0\n",
        ["ZeroDivisionError", "division by zero"],
        said="hooked",
    ),
    "a child that comes to the end": End(
        "import atexit, os\n" + WRITE + "pid = os.fork()\n"
        "if not pid:\n    atexit.register(write, 'child')\n    raise SystemExit(7)\n"
        "pyboinc_return_output(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\n",
        7,
        left={"child": "x"},
    ),
    "a child that raises": End(
        "import os\npid = os.fork()\nif not pid:\n    1 / 0\n"
        "pyboinc_return_output(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\n",
        1,
        said="ZeroDivisionError",
    ),
    "an exit function ends the process well": End(
        "import atexit, os\npyboinc_return_output('output')\natexit.register(os._exit, 0)\n"
    ),
    "an exit function ends the process": End(
        "import atexit, os\npyboinc_return_output('output')\natexit.register(os._exit, 3)\n", status=3
    ),
    "a crash at the end": End(
        "import atexit, os, signal\npyboinc_return_output('output')\n"
        "atexit.register(os.kill, os.getpid(), signal.SIGKILL)\n",
        status=137,
    ),
    "no output": End("import atexit\natexit.register(print, 'bye')\n", status=100, said="returned no output"),
}

STATE = """
import sys
loaded = sorted(name for name in ("numpy", "logging", "tempfile", "multiprocessing") if name in sys.modules)
import gc, locale, os, resource, signal, tempfile, threading, warnings
pyboinc_return_output({
    "argv": sys.argv, "path": sys.path[1:], "folder": os.path.basename(os.getcwd()).isdigit(), "loaded": loaded,
    "flags": str(sys.flags), "main": __name__, "warnings": repr(warnings.filters), "recursion": sys.getrecursionlimit(),
    "gc": [gc.isenabled(), list(gc.get_threshold())], "locale": list(locale.setlocale(locale.LC_ALL).split(";")),
    "signals": {number.name: str(signal.getsignal(number)).partition(" at 0x")[0] for number in signal.valid_signals()
                if isinstance(number, signal.Signals)},
    "limits": {name: list(resource.getrlimit(getattr(resource, name))) for name in dir(resource) if "RLIMIT" in name},
    "umask": os.umask(0o22), "nice": os.nice(0), "leads": [os.getsid(0) == os.getpid(), os.getpgrp() == os.getpid()],
    "descriptors": [fd for fd in range(256) if os.path.exists(f"/proc/self/fd/{fd}")],
    "streams": [[s.encoding, s.errors, s.line_buffering] for s in (sys.stdin, sys.stdout, sys.stderr)],
    "environ": {name: value for name, value in os.environ.items() if name not in ("PYBOINC_SLOT", "PATH", "LD_LIBRARY_PATH")
                and os.getcwd() not in value},
    "slot": sorted(name for name, value in os.environ.items() if os.getcwd() in value),
    "threads": [threading.active_count(), threading.current_thread() is threading.main_thread(),
                threading.get_native_id() == os.getpid()],
    "tempdir": [tempfile.tempdir, os.path.relpath(tempfile.gettempdir())], "hooks": [sys.excepthook is sys.__excepthook__],
    "hash": hash("text"), "bytecode": sys.dont_write_bytecode, "stdin": sys.stdin.read(),
})
"""
"""Returns what could be another thing in another process."""
