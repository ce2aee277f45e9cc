"""Exceptions whose classes lie, fail or loop reach the master like any other."""

from __future__ import annotations

import pytest
from test_runtime_slave import Run, run

__all__ = ["run"]

ODD = {
    "a text that fails": (
        "class E(ValueError):\n    def __str__(self): raise KeyError('x')",
        "raise E(1)",
        ["__main__.E", "<its text can't be had: KeyError>"],
    ),
    "a text that is none": (
        "class E(ValueError):\n    def __str__(self): return 5\n    __repr__ = __str__",
        "raise E(1)",
        ["__main__.E", "<its text can't be had: TypeError>"],
    ),
    "a text that exits": (
        "class E(ValueError):\n    def __str__(self): raise SystemExit(3)",
        "raise E(1)",
        ["__main__.E", "<its text can't be had: SystemExit>"],
    ),
    "an argument whose text fails": (
        "class A:\n    def __repr__(self): raise E(self)\n    __str__ = __repr__\nclass E(ValueError): pass",
        "raise ValueError(A())",
        ["ValueError", "<its text can't be had: __main__.E>"],
    ),
    "a text of another class": (
        "class S(str):\n    def __getitem__(self, i): return 5\n    def replace(self, *a): return self\n"
        "    def __eq__(self, other): raise OSError\n    __hash__ = None\n"
        "class E(ValueError):\n    def __str__(self): return S('text')",
        "raise E(1)",
        ["__main__.E", "text"],
    ),
    "attributes that lie": (
        "class E(ValueError):\n"
        "    __class__ = __cause__ = __context__ = __notes__ = __traceback__ = __suppress_context__ = args = errno = "
        "property(lambda self: 1 / 0)\n    def with_traceback(self, trace): raise OSError\n"
        "    def __bool__(self): raise OSError",
        "try:\n    raise E('one')\nexcept E:\n    raise E('two')",
        ["__main__.E", "two"],
    ),
    "a class that says it is a failure of the host": (
        "class E(Exception):\n    __class__ = MemoryError\n    errno = 28",
        "raise E('text')",
        ["__main__.E", "text"],
    ),
    "an error number that is none": ("", "raise OSError([], 'text')", ["OSError", "[Errno []] text"]),
    "a name that is none": ("", "raise ImportError('text', name=5)", ["ImportError", "text"]),
    "a metaclass that lies": (
        "class M(type):\n    def __getattribute__(cls, name): raise KeyError\n"
        "class E(Exception, metaclass=M): pass",
        "raise E('text')",
        ["__main__.E", "text"],
    ),
    "a module's name that is none": (
        "class E(Exception): __module__ = 5",
        "raise E('text')",
        ["E", "text"],
    ),
    "causes in a circle": (
        "",
        "a, b = ValueError('a'), ValueError('b')\na.__cause__, b.__cause__ = b, a\nraise a",
        ["ValueError", "a"],
    ),
    "its own cause": ("", "a = ValueError('a')\na.__cause__ = a\nraise a", ["ValueError", "a"]),
    "a surrogate": ("", "raise ValueError('\\udcff')", ["ValueError", "\udcff"]),
    "a huge message": ("", "raise ValueError('x' * 10_000_000)", ["ValueError", "x" * 4000]),
    "no exception's child": ("class E(BaseException): pass", "raise E('text')", ["__main__.E", "text"]),
    "an exit's child": ("class E(GeneratorExit): pass", "raise E('text')", ["__main__.E", "text"]),
    "an address": ("class A: pass", "raise ValueError(A())", ["ValueError", "<__main__.A object at 0x...>"]),
    "hardly any recursion": (
        "import inspect, sys",
        "sys.setrecursionlimit(len(inspect.stack()) + 10)\nraise ValueError('text')",
        ["ValueError", "text"],
    ),
    "code without lines": (
        "def f(): raise ValueError('text')\n"
        "f.__code__ = f.__code__.replace(co_name='f' * 10_000, co_firstlineno=2_000_000_000)",
        "f()",
        ["ValueError", "text"],
    ),
    "a hook that fails": (
        "import sys\nsys.excepthook = lambda *args: 1 / 0",
        "raise ValueError('text')",
        ["ValueError", "text"],
    ),
}


@pytest.mark.parametrize(("definition", "text", "expected"), ODD.values(), ids=ODD.keys())
def test_an_odd_exception_is_told_and_always_the_same(
    run: Run, definition: str, text: str, expected: list[str]
) -> None:
    values = []
    for _ in range(2):
        ran = run(f"{definition}\n{text}")
        assert ran.status == 0, ran.text
        values.append(ran.value)
    assert [values[0]["type"], values[0]["message"]] == expected
    assert values[0] == values[1]
    assert values[0]["traceback"][0][0] == "app_slave.py"
    assert len(repr(values[0])) < 10_000
    assert "aioboinc/" not in values[0]["message"]


def test_the_members_of_a_group_are_told(run: Run) -> None:
    ran = run(
        """
        import asyncio
        async def fail(): raise ValueError("inner")
        async def main():
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(fail())
        asyncio.run(main())
        """
    )
    assert ran.value["type"] == "ExceptionGroup"
    assert ["ValueError", "inner"] in ran.value["causes"]


def test_causes_are_bounded(run: Run) -> None:
    ran = run("raise ExceptionGroup('many', [ValueError(str(i)) for i in range(1000)])")
    assert ran.value["causes"][0] == ["ValueError", "0"]
    assert len(ran.value["causes"]) == 10


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("type('C', (int,), {'__and__': lambda *a: 1 / 0, '__bool__': lambda s: 1 / 0})(3)", 3),
        ("type('C', (), {'__str__': lambda self: 1 / 0})()", 1),
        ("10 ** 30", 1),
        ("1.5", 1),
        ("()", 1),
    ],
)
def test_an_odd_exit_status(run: Run, code: str, status: int) -> None:
    ran = run(f"raise SystemExit({code})")
    assert (ran.status, ran.data) == (status, None)
    assert ran.last_line == f"pyboinc: slave exited with status {status}"


@pytest.mark.parametrize(
    ("text", "is_outcome"),
    [
        ("import importlib\nimportlib.import_module('sibling' + '_1')", True),
        ("__import__('sibling' + '_1')", True),
        ("import importlib\ndef load(name): return importlib.import_module(name)\nload('sibling_1')", True),
        ("import pkgutil\npkgutil.resolve_name('sibling_1:' + 'f')", True),
        ("import sibling_1", False),
        ("import importlib\nimportlib.import_module('sibling_1')", False),
        ("import importlib\nimportlib.import_module(name='sibling_1.inner')", False),
        ("import json, sys\nsys.modules['json.decoder'] = None\ndel sys.modules['json']\nimport json", False),
    ],
)
def test_a_module_that_did_not_come_along_is_not_the_hosts_fault(run: Run, text: str, is_outcome: bool) -> None:
    ran = run(text)
    if is_outcome:
        assert ran.status == 0, ran.text
        assert "Error" in ran.value["type"]
        assert 'include=["sibling_1.py"]' in ran.value["message"]
        assert "installed package" in ran.value["message"]
    else:
        assert ran.status == 195
        assert "missing or too old" in ran.last_line
