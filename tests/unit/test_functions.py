"""Functions of the master program and of modules give on a host what they give here."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from function_programs import Host, Master, host, master
from interpreters import INTERPRETERS

from aioboinc import errors
from aioboinc.program import bundle, functions
from aioboinc.wire import codec

__all__ = ["host", "master"]

CASES: dict[str, tuple[str, tuple[Any, ...]]] = {
    "nothing": ("def f(x): return x + 1", (1,)),
    "a constant": ("N = 3\ndef f(x): return x * N", (2,)),
    "constants of all kinds": (
        "import datetime, decimal\nA, B, C = 1.5, 'text', b'bytes'\nD = {'k': [1, (2, None)], 3: {4}}\n"
        "E = datetime.date(2026, 1, 1)\nF = decimal.Decimal('1.5')\nG = float('inf')\nH = 2**100\n"
        "def f(): return A, B, C, D, E, F, G, H",
        (),
    ),
    "an array": ("import numpy\nA = numpy.arange(6.0).reshape(2, 3)\ndef f(x): return (A * x).tolist()", (2,)),
    "import as": ("import xml.etree.ElementTree as et\ndef f(x): return et.fromstring(x).tag", ("<a/>",)),
    "import of a submodule": (
        "import xml.etree.ElementTree\nimport xml.dom.minidom\n"
        "def f(x): return xml.etree.ElementTree.fromstring(x).tag",
        ("<a/>",),
    ),
    "a module that is another one inside": ("import os.path as p\ndef f(x): return p.join(x, 'b')", ("a",)),
    "from import as": ("from math import sqrt as root, cos\ndef f(x): return root(x)", (4,)),
    "from import of a number": ("from math import pi\ndef f(): return pi", ()),
    "star import": ("from math import *\ndef f(x): return sqrt(x) + pi", (4,)),
    "numpy's function of arrays": ("from numpy import *\ndef f(x): return float(sin(x))", (1.0,)),
    "import in a try": (
        "try:\n    import none_such as json\n    FAST = True\nexcept ImportError:\n    import json\n    FAST = False\n"
        "def f(x): return json.dumps(x), FAST",
        ([1],),
    ),
    "import for a version": (
        "import sys\nif sys.version_info >= (3, 8):\n    import json as j\nelse:\n    import none_such as j\n"
        "def f(x): return j.dumps(x)",
        ([1],),
    ),
    "import under a condition": (
        "import os\nif os.getpid() > 0:\n    import json as j\ndef f(x): return j.dumps(x)",
        ([1],),
    ),
    "import inside": ("def f(x):\n    import json\n    return json.dumps(x)", ([1],)),
    "a helper": ("def f(x): return g(x) + 1\ndef g(x): return h(x) * 2\ndef h(x): return x", (3,)),
    "recursion": ("def f(n): return n * f(n - 1) if n else 1", (5,)),
    "mutual recursion": (
        "def f(n): return True if n == 0 else odd(n - 1)\ndef odd(n): return False if n == 0 else f(n - 1)",
        (7,),
    ),
    "names in a nested function only": (
        "import math\nN = 2\ndef f(x):\n    def inner():\n        def innermost(): return math.sqrt(x) + N\n"
        "        return innermost()\n    return inner()",
        (4,),
    ),
    "comprehensions": (
        "N, M = 2, 3\ndef f(xs): return [x * N for x in xs], {x: M for x in xs}, {N for _ in xs}, list(x + M for x in xs)",
        ([1, 2],),
    ),
    "a comprehension's own name": ("x = object()\ndef f(xs): return [x for x in xs]", ([1],)),
    "walrus": ("N = 2\ndef f(x):\n    if (y := x + N) > 3: return y\n    return 0", (2,)),
    "match": (
        "ZERO = 0\nclass P:\n    __match_args__ = ('x',)\n    def __init__(self, x): self.x = x\n"
        "def f(x):\n    match x:\n        case [P(y), *rest]: return y, rest\n        case {'a': z, **more}: return z, more\n"
        "        case str() | int(): return 'scalar'\n    return ZERO",
        ({"a": 1, "b": 2},),
    ),
    "a lambda inside": ("N = 2\ndef f(xs): return sorted(xs, key=lambda x: x % N)", ([3, 2, 1],)),
    "a lambda with a name": ("square = lambda x: x * x\ndef f(x): return square(x)", (3,)),
    "a generator inside": ("def g(n):\n    for i in range(n): yield i\ndef f(n): return list(g(n))", (3,)),
    "an async function inside": (
        "import asyncio\nasync def g(x): return x\ndef f(x): return asyncio.run(g(x))",
        (3,),
    ),
    "defaults": ("N = 2\ndef g(): return 5\ndef f(x, y=N, *, z=g()): return x, y, z", (1,)),
    "defaults that are still what they were": (
        "import numpy\nN, M, A = 1, [1, 2], numpy.arange(2)\ndef h(): pass\nclass E: pass\nO = E()\nclass C:\n    n = N\n    m = n\n"
        "    def g(self, n=N, *, m=M, o=C, a=A): return n, m\ndef C(): pass\n".replace("o=C", "o=h")
        + "def f(x, n=N, m=M, a=A, h=h, e=E): return x, n, m, a.tolist()",
        (1,),
    ),
    "annotations that are evaluated": (
        "from typing import Optional\nclass A: pass\nVector = list[float]\ndef f(x: Vector, y: Optional[A] = None) -> 'A': return x",
        ([1.0],),
    ),
    "annotations that are not": (
        "from __future__ import annotations\ndef f(x: NoSuch) -> none.such: return x",
        (1,),
    ),
    "a decorator": (
        "def twice(g):\n    def wrapper(x): return 2 * g(x)\n    return wrapper\n@twice\ndef g(x): return x + N\nN = 1\n"
        "def f(x): return g(x)",
        (3,),
    ),
    "a decorator of the function itself": (
        "import functools\ndef twice(g):\n    @functools.wraps(g)\n    def wrapper(x): return 2 * g(x)\n    return wrapper\n"
        "@twice\ndef f(x): return x",
        (3,),
    ),
    "a decorator that hides it": (
        "def twice(g):\n    def wrapper(x): return 2 * g(x)\n    return wrapper\n@twice\ndef f(x): return x",
        (3,),
    ),
    "a decorator with arguments": (
        "N = 3\ndef times(n):\n    def decorator(g):\n        def wrapper(x): return n * g(x)\n        return wrapper\n"
        "    return decorator\n@times(N)\ndef f(x): return x",
        (3,),
    ),
    "a cache": (
        "import functools\n@functools.lru_cache(maxsize=None)\ndef f(n): return n if n < 2 else f(n-1) + f(n-2)",
        (20,),
    ),
    "a register": (
        "KNOWN = []\ndef register(g):\n    KNOWN.append(1)\n    return g\n@register\ndef f(): return len(KNOWN) > 0",
        (),
    ),
    "a dataclass": (
        "import dataclasses\nfrom dataclasses import dataclass, field\n@dataclass(order=True)\nclass P:\n    x: int\n    y: list = field(default_factory=list)\n"
        "def f(x): return dataclasses.asdict(P(x, [1]))",
        (3,),
    ),
    "a dataclass with names in strings": (
        "from __future__ import annotations\nfrom dataclasses import dataclass\nfrom typing import ClassVar\n@dataclass\nclass P:\n"
        "    N: ClassVar[int] = 2\n    x: int = 0\ndef f(x): return P(x).x",
        (3,),
    ),
    "an enumeration": (
        "import enum\nclass Color(enum.Enum):\n    RED = 1\n    BLUE = enum.auto()\ndef f(n): return Color(n).name, Color.BLUE.value",
        (1,),
    ),
    "a member as constant": (
        "import enum\nclass C(enum.IntEnum):\n    A = 1\nMODE = C.A\ndef f(): return MODE.name",
        (),
    ),
    "a named tuple": (
        "from typing import NamedTuple\nclass P(NamedTuple):\n    x: int\n    y: int = 2\ndef f(x): return sum(P(x))",
        (1,),
    ),
    "a named tuple by a call": (
        "from collections import namedtuple\nP = namedtuple('P', 'x y')\ndef f(x): return sum(P(x, 2))",
        (1,),
    ),
    "bases": (
        "import abc\nclass A(abc.ABC):\n    def g(self): return self.h() + 1\n    @abc.abstractmethod\n    def h(self): ...\n"
        "class B(A):\n    def h(self): return N\nN = 4\ndef f(): return B().g()",
        (),
    ),
    "super and class variables": (
        "K = 7\nclass A:\n    k = K\n    j = [k for _ in range(2)] if False else k\n    def __init__(self): self.x = 1\nclass B(A):\n    def __init__(self):\n        super().__init__()\n        self.y = self.k\n"
        "def f(): return B().x + B().y",
        (),
    ),
    "a class body's name like a global": ("x = 3\nclass A:\n    x = x + 1\ndef f(): return A.x", ()),
    "classes that need each other": (
        "class A:\n    def other(self): return B()\nclass B(A):\n    def back(self): return A()\n"
        "def f(): return type(A().other()).__name__, type(B().back()).__name__",
        (),
    ),
    "a metaclass": (
        "class Meta(type):\n    def __new__(mcs, name, bases, space):\n        space['tag'] = helper(name)\n        return super().__new__(mcs, name, bases, space)\n"
        "def helper(name): return name.lower()\nclass A(metaclass=Meta): pass\ndef f(): return A.tag",
        (),
    ),
    "a static method": (
        "class A:\n    @staticmethod\n    def g(x): return x + N\nN = 1\ndef f(x): return A.g(x)",
        (1,),
    ),
    "an exception": (
        "class E(ValueError): pass\ndef f(x):\n    try:\n        raise E(x)\n    except E as e:\n        return e.args",
        (1,),
    ),
    "type aliases and variables": (
        "from typing import TypeVar, Union, NewType, Generic\nT = TypeVar('T')\nAlias = Union[int, str]\nId = NewType('Id', int)\n"
        "class Box(Generic[T]):\n    def __init__(self, x: Alias): self.x = x\ndef f(x: Id) -> Alias: return Box(x).x",
        (1,),
    ),
    "a pattern": ("import re\nP = re.compile(r'\\d+')\ndef f(x): return P.findall(x)", ("a1b22",)),
    "a logger": (
        "import logging\nlog = logging.getLogger(__name__)\ndef f(x):\n    log.debug('x')\n    return x",
        (1,),
    ),
    "a partial": (
        "import functools\ndef g(a, b): return a - b\nh = functools.partial(g, 10)\ndef f(x): return h(x)",
        (3,),
    ),
    "a table of functions": (
        "def g(x): return x + 1\nimport math\nT = {'g': g, 'sqrt': math.sqrt, 'n': 2}\ndef f(k, x): return T[k](x)",
        ("g", 3),
    ),
    "another name": ("def g(x): return x\nh = g\ndef f(x): return h(x)", (3,)),
    "another name of a class": ("class A:\n    n = 1\nB = A\ndef f(): return B.n", ()),
    "another name of something defined again": (
        "def g(x): return x\nold = g\ndef g(x): return 0\ndel g\ndef f(x): return old(x)",
        (3,),
    ),
    "a builtin's name": ("def sum(xs): return 'mine'\ndef f(xs): return sum(xs), max(xs)", ([1],)),
    "defined under a condition": (
        "if True:\n    def g(x):\n        return '''a\n    b''' + x\nelse:\n    def g(x): return 0\ndef f(x): return g(x)",
        ("c",),
    ),
    "defined twice": ("def g(): return 1\ndef g(): return 2\ndef f(): return g()", ()),
    "defined in a try": (
        "try:\n    from none_such import g\nexcept ImportError:\n    def g(x): return -x\ndef f(x): return g(x)",
        (1,),
    ),
    "several statements in a line": ("import math; N = 1; M = N + 1\ndef f(): return N, M, math.pi", ()),
    "a name that nobody has": (
        "def f(x):\n    try:\n        return none_such\n    except NameError:\n        return x",
        (1,),
    ),
    "assigned later": ("def f(): return N\nN = 1\nfor i in range(3): N += i", ()),
    "from another module of ours": ("from helpers import g, N\ndef f(x): return g(x) + N", (1,)),
    "a module of ours": ("import helpers\ndef f(x): return helpers.g(x)", (1,)),
    "a package of ours": ("import pack.inner as i\nimport pack\ndef f(x): return i.g(x) + pack.inner.g(x)", (1,)),
    "odd text": (
        "def f(x):\n\t'''Ünïcode\n  \f text'''\n\ts = '''\n  \u2028 x'''\n\treturn s + x  # \\\n",
        ("a",),
    ),
    "its name": ("def f(): return __name__", ()),
    "many arguments": ("def f(a, /, b, *c, d, **e): return a, b, c, d, e", ()),
    "del and with and for": (
        "import contextlib\nN = [1]\ndef f(x):\n    with contextlib.suppress(KeyError) as s:\n        for i, (a, b) in enumerate([(1, 2)]): del x\n"
        "        return a + b + N[0]",
        (3,),
    ),
    "an attribute like a global": ("json = open\ndef f(x): return x.json if hasattr(x, 'json') else x", (1,)),
    "a path beside the program": (
        "from pathlib import Path\nHERE = Path(__file__).parent\ndef f(): return (HERE / 'app.py').exists()",
        (),
    ),
}
MODULES = {
    "helpers": "import math\nN = 10\ndef g(x): return math.floor(x) * 2\n",
    "pack/__init__": "",
    "pack/inner": "from . import other\ndef g(x): return other.N + x\n",
    "pack/other": "N = 5\n",
}


@pytest.mark.parametrize(("text", "args"), CASES.values(), ids=CASES.keys())
def test_a_host_gives_what_the_master_gives(master: Master, host: Host, text: str, args: tuple[Any, ...]) -> None:
    namespace = master.run(text, **MODULES)
    kwargs = {"d": 4, "z": [5]} if "**e" in text else {}
    args = (1, 2, 3) if kwargs else args
    here = namespace["f"](*args, **kwargs)
    assert host.call(functions.Program(namespace["f"]), *args, **kwargs) == here


SENT = {
    "only what it uses": (
        "import json, math\nfrom os import path, sep\nN = 1\nM = 2\nclass A: pass\ndef g(): pass\ndef f(x): return math.sqrt(x) + N",
        "import math\nN = pyboinc_constant('N')\ndef f(x): return math.sqrt(x) + N",
    ),
    "needs first": (
        "def f(): return b()\ndef b(): return a()\ndef a(): pass",
        "def a(): pass\ndef b(): return a()\ndef f(): return b()",
    ),
    "comments of its own": (
        "# above\n@staticmethod\n# between\ndef f():\n    # inside\n    pass  # after\n# below",
        "@staticmethod\n# between\ndef f():\n    # inside\n    pass  # after",
    ),
}


@pytest.mark.parametrize(("text", "sent"), SENT.values(), ids=SENT.keys())
def test_what_is_sent(master: Master, text: str, sent: str) -> None:
    assert master.text(text) == sent


BASE = "import math\nN = 1\ndef g(x): return x + N\ndef f(x): return g(x) + math.pi\n"
SAME = {
    "another function": f"{BASE}def h(): pass\n",
    "another import": f"import json\n{BASE}",
    "another name in the import": BASE.replace("import math", "import math, json"),
    "another constant": f"M = 5\n{BASE}M += 1\n",
    "another order": "def f(x): return g(x) + math.pi\ndef g(x): return x + N\nN = 1\nimport math\n",
    "another way to the constant": BASE.replace("N = 1", "N = 3 - 2"),
    "a class, a call and a handler": f"{BASE}class A: pass\nprint(end='')\n",
}
OTHER = {
    "the function": BASE.replace("+ math.pi", "- math.pi"),
    "a helper": BASE.replace("x + N", "x - N"),
    "a constant": BASE.replace("N = 1", "N = 2"),
    "the type of a constant": BASE.replace("N = 1", "N = True"),
    "an import": BASE.replace("import math", "import cmath as math"),
}


@pytest.mark.parametrize("text", SAME.values(), ids=SAME.keys())
def test_what_is_not_used_changes_nothing(master: Master, text: str) -> None:
    first, second = (master.program(one).sources for one in (BASE, text))
    assert first == second
    assert first.files == second.files


@pytest.mark.parametrize("text", OTHER.values(), ids=OTHER.keys())
def test_what_is_used_makes_another_program(master: Master, text: str) -> None:
    first, second = (master.program(one).sources for one in (BASE, text))
    assert first.fingerprint != second.fingerprint


# Of modules


def test_a_function_of_a_module(master: Master, host: Host) -> None:
    program = master.program("from helpers import g as f", helpers=MODULES["helpers"])
    assert host.call(program, 2.5) == 4
    assert set(program.sources.files) == {"helpers.py", "pyboinc-slave.py"}
    assert program.sources.modules == {"helpers": "helpers.py"}


def test_a_function_of_a_module_in_a_package(master: Master, host: Host) -> None:
    program = master.program("from pack.inner import g as f", **MODULES)
    assert host.call(program, 1) == 6
    assert set(program.sources.modules) == {"pack", "pack.inner", "pack.other"}


def test_a_static_method_of_a_module(master: Master, host: Host) -> None:
    text = "class A:\n    @staticmethod\n    def g(x): return x + 1\n"
    assert host.call(master.program("import things\nf = things.A.g", things=text), 1) == 2


def test_a_static_method_of_the_program(master: Master, host: Host) -> None:
    namespace = master.run("N = 1\nclass A:\n    @staticmethod\n    def g(x): return x + N\n")
    assert host.call(functions.Program(namespace["A"].g), 1) == 2


def test_a_decorated_function_of_a_module(master: Master, host: Host) -> None:
    text = "import functools\n@functools.lru_cache\ndef g(x): return x + 1\n"
    assert host.call(master.program("from cached import g as f", cached=text), 1) == 2


@pytest.mark.parametrize(
    ("function", "args"),
    [(math.sqrt, (4,)), (len, ([1],)), (int, ("12",)), (math.hypot, (3, 4))],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_function_that_hosts_have(master: Master, host: Host, function: Any, args: tuple[Any, ...]) -> None:
    master.run("")
    program = functions.Program(function)
    assert host.call(program, *args) == function(*args)
    assert set(program.sources.files) == {"pyboinc-slave.py"}


@pytest.mark.parametrize("name", ["linalg.norm", "sin", "sum"])
def test_a_function_of_an_installed_package(master: Master, host: Host, name: str) -> None:
    import numpy

    master.run("")
    function = numpy
    for part in name.split("."):
        function = getattr(function, part)
    program = functions.Program(function)  # type: ignore[arg-type]
    assert host.call(program, numpy.array([3.0, 4.0])) == pytest.approx(function(numpy.array([3.0, 4.0])))
    assert set(program.sources.files) == {"pyboinc-slave.py"}


def test_a_module_in_another_folder(
    master: Master, host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/far_away.py").write_text("def g(x): return x + 1\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path / "elsewhere"), *sys.path])
    monkeypatch.delitem(sys.modules, "far_away", raising=False)
    assert host.call(master.program("from far_away import g as f"), 1) == 2


def test_include(master: Master, host: Host) -> None:
    (master.folder / "table.txt").write_text("12")
    text = "from pathlib import Path\ndef f(): return Path(__file__).with_name('table.txt').read_text()"
    assert host.call(functions.Program(master.run(text)["f"], ["table.txt"])) == "12"


# Classes of the program as inputs and outputs

POINT = """
from dataclasses import dataclass

@dataclass
class Point:
    x: float

def moved(point: Point, by=1):
    return Point(point.x + by)

def f(thing):
    thing.x += 1
    return thing

class Unused: pass
"""


def test_objects_of_the_program_are_inputs_and_outputs(master: Master, host: Host) -> None:
    names = master.run(POINT)
    output = host.call(functions.Program(names["moved"]), names["Point"](1), by=2)
    assert output == names["Point"](3)
    assert type(output) is names["Point"]


def test_classes_come_with_arguments(master: Master, host: Host) -> None:
    names = master.run(POINT)
    program = functions.Program(names["f"])
    assert program.sources.classes == frozenset()
    assert host.call(program, names["Point"](1)) == names["Point"](2)
    sources, _ = program.encode((names["Point"](1),), {})
    assert sources.classes == {"Point"}
    assert program.encode((names["Point"](7),), {})[0] is sources
    assert program.encode((1,), {})[0] is program.sources


def test_classes_of_modules_come_with_arguments(master: Master, host: Host) -> None:
    names = master.run("from shapes import Square\ndef f(s): return s.side", shapes="class Square: pass")
    square = names["Square"]()
    square.side = 3
    assert host.call(functions.Program(names["f"]), square) == 3


def test_a_constant_of_a_class_of_the_program(master: Master, host: Host) -> None:
    text = f"{POINT}ORIGIN = {{'o': [Point(5)]}}\ndef g(x): return ORIGIN['o'][0].x + x\n"
    assert host.call(master.program(text, "g"), 1) == 6


def test_an_object_that_can_be_called(master: Master, host: Host) -> None:
    text = "class Scale:\n    def __init__(self, n): self.n = n\n    def __call__(self, x): return x * self.n\nf = Scale(3)"
    assert host.call(master.program(text), 2) == 6


def test_an_object_of_a_class_that_was_replaced_is_refused(master: Master) -> None:
    names = master.run(f"{POINT}old = Point(1)\nclass Point: pass\n")
    with pytest.raises(errors.NotData, match=r"point: class Point is not data: .* make the object again"):
        functions.Program(names["moved"]).encode((names["old"],), {})


def test_the_newest_class_is_what_comes_back(master: Master) -> None:
    names = master.run(POINT)
    program = functions.Program(names["moved"])
    registry = bundle.registry(program.sources)
    old = names["Point"]
    data = codec.encode(old(1), registry)
    assert type(codec.decode(data, registry)) is old
    names["Point"] = type("Point", (), {"__module__": "__main__"})
    assert type(codec.decode(data, registry)) is names["Point"]
    with pytest.raises(codec.NotData, match="make the object again"):
        codec.encode(old(1), registry)


def test_no_other_class_of_the_program_can_come(master: Master) -> None:
    names = master.run(POINT)
    data = codec.encode(names["Unused"](), codec.Registry({("__main__", "Unused"): names["Unused"]}))
    with pytest.raises(codec.Malformed, match="Unused"):
        codec.decode(data, bundle.registry(functions.Program(names["moved"]).sources))


# Errors on the host


def test_a_traceback_has_the_users_lines_and_no_others(master: Master, host: Host) -> None:
    text = "M = 0\nif M == 0:\n    def g(x):\n        # why\n        return N / x\n\nN = 1\ndef f(x):\n    return g(x)\n"
    assert host.call(master.program(text), 0).splitlines() == [
        "Traceback (most recent call last):",
        '  File "app.py", line 9, in f',
        "    return g(x)",
        '  File "app.py", line 5, in g',
        "    return N / x",
        "ZeroDivisionError: division by zero",
    ]


def test_an_output_that_is_not_data(master: Master, host: Host) -> None:
    assert host.call(master.program("def f(): return {'a': [len]}")).splitlines() == [
        "aioboinc.NotData: output['a'][0]: builtin_function_or_method is not data"
    ]


# Arguments

SIGNATURE = "def f(model, /, n=1, *rest, scale=2, **more): pass"


@pytest.mark.parametrize(
    ("args", "kwargs", "path"),
    [
        (([1, {"k": len}],), {}, "model[1]['k']"),
        ((1, len), {}, "n"),
        ((1, 2, 3, (len,)), {}, "rest[1][0]"),
        ((1,), {"scale": [len]}, "scale[0]"),
        ((1,), {"other": {1: len}}, "other[1]"),
    ],
)
def test_the_path_to_what_is_not_data(master: Master, args: Any, kwargs: Any, path: str) -> None:
    with pytest.raises(errors.NotData) as caught:
        master.program(SIGNATURE).encode(args, kwargs)
    assert str(caught.value) == f"{path}: builtin_function_or_method is not data"


def test_the_path_where_parameters_have_no_names(master: Master) -> None:
    master.run("")
    with pytest.raises(errors.NotData, match=r"^args\[1\]\[0\]: "):
        functions.Program(max).encode((1, [len]), {})


@pytest.mark.parametrize(
    ("args", "kwargs", "text"),
    [
        ((), {}, "missing a required argument: 'x'"),
        ((1, 2), {}, "too many positional arguments"),
        ((1,), {"y": 2}, "got an unexpected keyword argument 'y'"),
    ],
)
def test_arguments_that_do_not_fit(master: Master, args: Any, kwargs: Any, text: str) -> None:
    with pytest.raises(errors.ArgumentError) as caught:
        master.program("def f(x): pass").encode(args, kwargs)
    assert str(caught.value) == f"f(x): {text}"


def test_the_simple_interface(master: Master) -> None:
    names = master.run("def f(x, y): return x + y")
    sources = functions.collect(names["f"])
    data = codec.encode(functions.arguments((1,), {"y": 2}), bundle.registry(sources))
    assert codec.decode(data) == ((1,), {"y": 2})
    assert (sources, data) == functions.Program(names["f"]).encode((1,), {"y": 2})


# Where it runs

PACKAGE_APP = """
from .models import g
from . import models

def f(x): return g(x) + models.N

if __name__ == "__main__":
    import json, sys
    sys.path[:0] = json.loads(sys.argv[2])
    import pathlib
    import function_programs
    from aioboinc.program import functions

    print(function_programs.Host(pathlib.Path(sys.argv[1])).call(functions.Program(f), 1))
    print(functions.Program(f).sources.modules)
"""


@pytest.mark.parametrize("command", [["-m", "pack.app"], ["app.py"]], ids=["-m", "file"])
def test_as_python_runs_it(tmp_path: Path, command: list[str]) -> None:
    folder = tmp_path / "program"
    (folder / "pack").mkdir(parents=True)
    (folder / "pack/__init__.py").touch()
    (folder / "pack/models.py").write_text("N = 5\ndef g(x): return x * 2\n")
    (folder / "pack/app.py").write_text(PACKAGE_APP)
    (folder / "app.py").write_text(
        PACKAGE_APP.replace("from .models", "from pack.models").replace("from .", "from pack")
    )
    tests = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
    done = subprocess.run(
        [sys.executable, *command, str(tmp_path), json.dumps(tests)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.splitlines() == [
        "7",
        "{'__main__': 'app.py', 'pack': 'pack/__init__.py', 'pack.models': 'pack/models.py'}",
    ], done.stderr


@pytest.mark.parametrize("python", INTERPRETERS)
def test_on_all_pythons(master: Master, host: Host, python: str) -> None:
    """As far as the user's own code goes back: slave, constants and classes are read by Python 3.8."""
    text = (
        f"{POINT}import datetime\nSTART = datetime.date(2026, 1, 1)\nORIGIN = Point(1.5)\n"
        "def g(p: Point, *, days: int = 1): return {'at': Point(p.x + ORIGIN.x), 'on': START + datetime.timedelta(days)}\n"
    )
    names = master.run(text)
    program = functions.Program(names["g"])
    here = names["g"](names["Point"](2), days=3)
    assert host.call_with(python, program, names["Point"](2), days=3) == here
