"""What can't be sent is refused where the call is made, in one line that says why and what to do."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from function_programs import Host, Master, host, master

from aioboinc import errors
from aioboinc.program import functions

__all__ = ["host", "master"]

INSIDE = "make it inside f, or give what is in it as an argument"
MAKE = "def make(n, m):\n    def inner(x): return x + n + m\n    return inner\n"

# Name: program, what is said after "can't be sent to hosts: ".
FUNCTIONS = {
    "a closure": (
        f"{MAKE}F = [make(1, 2)]\ndef get(): return F[0]",
        "it is defined in a function and uses its m, n: define it at the top level, with m, n as arguments; "
        "in a decorator, use functools.wraps",
    ),
    "a closure with a name": (
        f"{MAKE}f = make(1, 2)",
        "it is a closure: it was made in a function and keeps its m, n: define it at the top level, with m, n as arguments",
    ),
    "a nested function": (
        "def make():\n    def inner(x): return x\n    return inner\nF = [make()]\ndef get(): return F[0]",
        "it is defined in a function: define it at the top level",
    ),
    "a lambda": ("f = lambda x: x", "a lambda has no name by which hosts find it: write it with def"),
    "a method of an object": (
        "class A:\n    def g(self): pass\nf = A().g",
        "it is bound to an object: write a function that gets the object as an argument",
    ),
    "a method of a class": (
        "class A:\n    @classmethod\n    def g(cls): pass\nf = A.g",
        "it is bound to an object: write a function that gets the object as an argument",
    ),
    "a method of a list": (
        "f = [].append",
        "it is bound to an object: write a function that gets the object as an argument",
    ),
    "a partial": (
        "import functools\ndef g(x): pass\nf = functools.partial(g, 1)",
        "it is a functools.partial: give its arguments with each call, or write it with def",
    ),
    "a generator function": (
        "def f(x): yield x",
        "it is a generator function, and a job has one output: return a list, or make a job of each item",
    ),
    "an async function": (
        "async def f(x): pass",
        "it is an async function: write it with def, and call asyncio.run inside where it awaits something",
    ),
    "an async generator function": (
        "async def f(x): yield",
        "it is a generator function, and a job has one output: return a list, or make a job of each item",
    ),
    "a decorated generator function": (
        "import functools\ndef d(g):\n    @functools.wraps(g)\n    def w(*a): return g(*a)\n    return w\n@d\ndef f(x): yield x",
        "it is a generator function, and a job has one output: return a list, or make a job of each item",
    ),
    "an object without a name": (
        "class A:\n    def __call__(self): pass\nF = [A()]\ndef get(): return F[0]",
        "it is an object to which no name of the program belongs: write a function that uses it",
    ),
    "a function of aioboinc": (
        "from aioboinc import pyboinc_call as f",
        "hosts do not have it: only the master calls aioboinc",
    ),
    "text that nobody has": (
        "exec('def f(x): return x')",
        "it is a function whose text can't be found: put it into a file",
    ),
}
USED = {
    "an open file": (
        "import io\nL = io.StringIO()\ndef f(x): return L.read()",
        f"it uses L, an object of class _io.StringIO, which is not data: {INSIDE}",
    ),
    "a lock": (
        "import threading\nL = threading.Lock()\ndef f(x):\n    with L: pass",
        f"it uses L, an object of class _thread.lock, which is not data: {INSIDE}",
    ),
    "a lock of a helper": (
        "import threading\nL = threading.Lock()\ndef g():\n    with L: pass\ndef f(x): g()",
        "g, which it needs, uses L, an object of class _thread.lock, which is not data: "
        "make it inside g, or give what is in it as an argument",
    ),
    "a lock of a method, nested": (
        "import threading\nL = threading.Lock()\nclass A:\n    def g(self):\n        return [lambda: L for _ in range(2)]\ndef f(x): return A()",
        "A, which it needs, uses L, an object of class _thread.lock, which is not data: "
        "make it inside A, or give what is in it as an argument",
    ),
    "an array of objects": (
        "import numpy\nA = numpy.array([object()])\ndef f(x): return A",
        "it uses A, which is not data (A: a numpy array of dtype object is not data: it has no form that is the same on "
        f"every machine; send plain numbers, strings or bytes): {INSIDE}",
    ),
    "an object in a dict": (
        "T = {'a': [1, object()]}\ndef f(x): return T",
        f"it uses T, which is not data (T['a'][1]: object is not data): {INSIDE}",
    ),
    "what contains itself": (
        "X = []\nX.append(X)\ndef f(): return X",
        f"it uses X, which is not data (X[0]: contains itself): {INSIDE}",
    ),
    "a random generator": (
        "import numpy\nrng = numpy.random.default_rng(1)\ndef f(x): return rng.random()",
        f"it uses rng, an object of class numpy.random._generator.Generator, which is not data: {INSIDE}",
    ),
    "a default that is no data": (
        "D = object()\ndef f(x=D): return x",
        f"it uses D, an object of class object, which is not data: {INSIDE}",
    ),
    "global": (
        "N = 0\ndef f(x):\n    global N\n    N += 1",
        "it assigns to the global name N: return the value, since each job has a process of its own",
    ),
    "global in a helper, nested": (
        "N = 0\ndef g():\n    def h():\n        global N\n        del N\n    h()\ndef f(x): g()",
        "g, which it needs, assigns to the global name N: return the value, since each job has a process of its own",
    ),
    "a closure": (
        f"{MAKE}g = make(1, 2)\ndef f(x): return g(x)",
        "it uses g, a closure: it was made in a function and keeps its m, n: define it at the top level, with m, n as arguments",
    ),
    "a function without text": (
        "exec('def g(x): return x')\ndef f(x): return g(x)",
        "it uses g, a function whose text can't be found: put it into a file",
    ),
    "a class without text": (
        "exec('class A: pass')\ndef f(x): return A()",
        "it uses A, a class whose text can't be found: put it into a file",
    ),
    "a class in a function": (
        "def make():\n    class A: pass\n    return A\nA = make()\ndef f(x): return A()",
        "it uses A, a class that is defined in a function: define it at the top level",
    ),
    "a class that was replaced": (
        "class A:\n    def g(self): pass\nB = A\nclass A:\n    h = 1\ndef f(): return B(), A()",
        "it uses A, a class that was defined again since: run again what uses the old one, or give them different names",
    ),
    "a function made in two steps": (
        "import functools\ndef g(x): return x\ng = functools.lru_cache(g)\ndef f(x): return g(x)",
        "it uses g, which more than one statement makes: write it as a decorator, or give each step its own name",
    ),
    "two functions of one name": (
        "def g(x): return 1\nold = g\ndef g(x): return 2\ndef f(x): return old(x) + g(x)",
        "it needs two things that are called g, of which one has replaced the other: "
        "give them different names, or run again what uses the older one",
    ),
    "decorators in a circle": (
        "def a(g): return g\n@a\ndef b(g): return g\n@b\ndef a(g): return g\ndef f(): return a(1)",
        "of a and b each needs the other one to be defined: run again what defines them",
    ),
    "a default that has changed": (
        "N = 1\ndef g(x, n=N): return n\nN = 2\ndef f(): return g(1)",
        "it uses g, which was defined when N was not what it is now: run again what defines it",
    ),
    "its own default that has changed": (
        "N = [1]\ndef f(*, n=N[0]): return n\nN = [2]",
        "it is defined when N[0] was not what it is now: run again what defines it",
    ),
    "a cached function's default": (
        "import functools\nN = 1\n@functools.cache\ndef g(x=N): return x\nN = 1.0\ndef f(): return g()",
        "it uses g, which was defined when N was not what it is now: run again what defines it",
    ),
    "an attribute that has changed": (
        "N = 1\nclass A:\n    n = N\nN = 2\ndef f(): return A.n",
        "it uses A, which was defined when N was not what it is now: run again what defines it",
    ),
    "a method's default that has changed": (
        "N = 1\nclass A:\n    @staticmethod\n    def g(n=N): return n\nN = 2\ndef f(): return A.g()",
        "it uses A, which was defined when N was not what it is now: run again what defines it",
    ),
    "a field's default that has changed": (
        "from dataclasses import dataclass\nN = 1\n@dataclass\nclass A:\n    n: int = N\nN = 2\ndef f(): return A().n",
        "it uses A, which was defined when N was not what it is now: run again what defines it",
    ),
    "a base that has changed": (
        "class A:\n    def g(self): return 1\nclass B(A): pass\nclass A:\n    def g(self): return 2\ndef f(): return B().g()",
        "it uses B, which was defined when A was not what it is now: run again what defines it",
    ),
    "a module from nowhere": (
        "import types\nm = types.ModuleType('m')\ndef f(x): return m.x",
        "it uses m, a module that can't be imported by its name: import it from a file",
    ),
    "aioboinc": (
        "import aioboinc\ndef f(x): return aioboinc.pyboinc_call",
        "it uses aioboinc, which hosts do not have: only the master calls aioboinc",
    ),
    "a huge constant": (
        "N = bytes(70 << 20)\ndef f(x): return N",
        "it uses N, of which each host would download 70 MiB: give each job its part of it as an argument",
    ),
}


@pytest.mark.parametrize(
    ("text", "said"), [*FUNCTIONS.values(), *USED.values()], ids=[*FUNCTIONS, *(f"uses {name}" for name in USED)]
)
def test_refused(master: Master, text: str, said: str) -> None:
    names = master.run(text)
    with pytest.raises(errors.ProgramError) as caught:
        functions.Program(names["get"]() if "get" in names else names["f"])
    function, _, reason = str(caught.value).partition(" can't be sent to hosts: ")
    assert function in {"f", "inner", "<lambda>", "A", "A.g", "list.append", "partial", "pyboinc_call"}
    assert reason == said


def test_what_can_be_refused_is_not_used(master: Master) -> None:
    unused = "\n".join(
        text.replace("def f(", "def unused(").replace("f = ", "unused = ")
        for text, _ in USED.values()
        if "70" not in text
    )
    assert master.text(f"{unused}\ndef f(): pass") == "def f(): pass"


def test_what_is_no_function(master: Master) -> None:
    master.run("")
    with pytest.raises(
        errors.ArgumentError, match=r"^3 is not a function: give one, or the file name of a slave$"
    ):
        functions.Program(3)  # type: ignore[arg-type]


def test_a_file_that_has_changed_since(master: Master) -> None:
    names = master.run("def f(): return 1")
    (master.folder / "app.py").write_text("\ndef f(): return 1\n")
    with pytest.raises(errors.ProgramError) as caught:
        functions.Program(names["f"])
    assert str(caught.value) == (
        f"f can't be sent to hosts: it is not in {master.folder}/app.py as it is now: run the program again, the file has changed"
    )


HIDDEN = """
def hide(g):
    def wrapper(x): return g(x)
    return wrapper
@hide
def f(x): return x
def h(): pass
"""


def test_a_decorator_that_hides_a_function_of_a_module(master: Master) -> None:
    names = master.run("import hidden", hidden=HIDDEN)
    with pytest.raises(errors.ProgramError, match=r"^wrapper can't be sent to hosts: .*use functools.wraps$"):
        functions.Program(names["hidden"].f)


def test_a_function_that_its_module_has_no_more(master: Master) -> None:
    names = master.run("import hidden\nold = [hidden.h]\nhidden.h = 3", hidden=HIDDEN)
    with pytest.raises(
        errors.ProgramError, match=r"^h can't be sent to hosts: module hidden has something else by that name: "
    ):
        functions.Program(names["old"][0])


def test_a_module_that_imports_the_program(master: Master, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "app", raising=False)
    names = master.run("import late\ndef f(): return late.x", late="x = 1\ndef g(): import app")
    with pytest.raises(errors.ProgramError, match=r"app\.py: a module of the program imports app, but that is "):
        functions.Program(names["f"])


def test_a_module_of_this_user_alone_and_the_line_that_imports_it(
    master: Master, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own/only_mine.py").write_text("x = 1\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path / "own"), *sys.path])
    monkeypatch.delitem(sys.modules, "only_mine", raising=False)
    names = master.run("import math\nimport only_mine\ndef f(): return only_mine.x")
    with pytest.raises(errors.ProgramError) as caught:
        functions.Program(names["f"])
    text = str(caught.value)
    assert text.startswith(
        f"{master.folder}/app.py:2: hosts have no module named 'only_mine': {tmp_path}/own/only_mine.py"
    )
    assert f"put it into {master.folder}, or install it" in text


def test_a_missing_package_is_not_an_outcome(master: Master, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host without numpy fails the job, to be tried elsewhere, whether a constant or the input has an array."""
    import numpy

    names = master.run("import numpy\nA = numpy.arange(3)\ndef f(): return A.sum()\ndef g(x): return len(x)")
    calls = [
        functions.Program(names["f"]).encode((), {}),
        functions.Program(names["g"]).encode((numpy.arange(3),), {}),
    ]
    monkeypatch.setitem(sys.modules, "numpy", None)
    for sources, data in calls:
        ran = host.run(sources, data)
        assert ran.status == 195
        assert "this host can't do the job: a package is missing" in ran.last_line
