import ast
import textwrap

import pytest

from aioboinc.program import imports


def scan(source):
    return imports.scan(ast.parse(textwrap.dedent(source)))


def modules(source):
    """Return module names of all imports, those that are optional in brackets."""
    return [f"[{i.module}]" if i.optional else i.module for i in scan(source)]


def needed(source, *missing):
    """Return the modules that can't be done without while *missing* are."""
    found = scan(source)
    failed = {i for i in found if i.module in missing}
    return [i.module for i in found if i.needed(failed)]


def test_statements():
    found = scan("""
        import a, b.c as d
        from e.f import g, h as i
        from . import j
        from ..k import *
    """)
    assert [(i.module, i.names, i.level, i.line) for i in found] == [
        ("a", (), 0, 2),
        ("b.c", (), 0, 2),
        ("e.f", ("g", "h"), 0, 3),
        ("", ("j",), 1, 4),
        ("k", ("*",), 2, 5),
    ]


def test_nested_anywhere():
    assert modules("""
        class C:
            import a
            async def f(self):
                async with x:
                    import b
                for y in z:
                    import c
                else:
                    import d
                match y:
                    case 1:
                        import e
        def g():
            while 1:
                try:
                    import f
                finally:
                    import g
    """) == list("abcdefg")


@pytest.mark.parametrize(
    "catch",
    [
        "except ImportError",
        "except ModuleNotFoundError as e",
        "except (OSError, ImportError)",
        "except Exception",
        "except BaseException",
        "except builtins.ImportError",
        "except",
        "except* ImportError",
    ],
)
def test_caught_imports_are_optional(catch):
    assert modules(f"try:\n import a\n{catch}:\n pass\nelse:\n import b\nfinally:\n import c\nimport d") == [
        "[a]",
        "[b]",
        "c",
        "d",
    ]


def test_other_handlers_make_nothing_optional():
    assert modules("try:\n import a\nexcept (OSError, AttributeError):\n import b") == ["a", "b"]


def test_suppressed_imports_are_optional():
    assert modules("with contextlib.suppress(ImportError):\n import a\nimport b") == ["[a]", "b"]
    assert modules("with x, suppress(OSError, ImportError):\n import a") == ["[a]"]
    assert modules("with suppress(OSError):\n import a") == ["a"]
    assert modules("with open(x):\n import a") == ["a"]


FALLBACK = """
try:
    import a
except ImportError:
    try:
        import b
        import c
    except ImportError:
        import d
import e
"""


@pytest.mark.parametrize(
    ("missing", "expected"),
    [("", "e"), ("a", "e"), ("ab", "de"), ("ac", "de"), ("b", "e"), ("bc", "e"), ("abc", "de")],
)
def test_fallback_is_needed_if_what_it_stands_for_is_missing(missing, expected):
    assert needed(FALLBACK, *missing) == list(expected)


def test_fallback_for_something_else_than_imports_is_not_needed():
    assert needed("try:\n f()\nexcept Exception:\n import a") == []


@pytest.mark.parametrize(
    "test",
    [
        "sys.platform == 'win32'",
        "sys.version_info >= (3, 11)",
        "os.name == 'nt' and x",
        "platform.system() == 'Windows'",
        "sys.implementation.name == 'cpython'",
    ],
)
def test_imports_for_a_platform_are_optional(test):
    assert modules(f"if {test}:\n import a\nelse:\n import b\nimport c") == ["[a]", "[b]", "c"]


def test_other_conditions_make_nothing_optional():
    assert modules("if x:\n import a\nelif y.platform:\n import b\nelse:\n import c") == list("abc")


def test_type_checking_is_ignored():
    assert modules("if TYPE_CHECKING:\n import a\nelse:\n import b") == ["b"]
    assert modules("if typing.TYPE_CHECKING:\n import a\nelif x:\n import b") == ["b"]
    assert modules("if not TYPE_CHECKING:\n import a\nelse:\n import b") == ["a"]


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ("importlib.import_module('a.b')", [("a.b", 0)]),
        ("import_module(name='a')", [("a", 0)]),
        ("x = f(importlib.import_module('a').y)", [("a", 0)]),
        ("importlib.import_module('.a', __package__)", [("a", 1)]),
        ("importlib.import_module('..a', package=__package__)", [("a", 2)]),
        ("importlib.import_module('..a', 'b.c')", [("b.a", 0)]),
        ("importlib.import_module('...a', 'b')", []),
        ("importlib.import_module('.a', package)", []),
        ("importlib.import_module('.a')", []),
        ("importlib.import_module(name)", []),
        ("importlib.import_module('a' + b)", []),
        ("importlib.import_module('')", []),
        ("importlib.import_module(b'a')", []),
        ("importlib.import_module(*names, **options)", []),
        ("__import__('a')", [("a", 0)]),
        ("__import__(name)", []),
        ("__import__()", []),
    ],
)
def test_calls(call, expected):
    assert [(i.module, i.level) for i in scan(call)] == expected


def test_deeply_nested_text():
    long_sum = " + ".join(["1"] * 2500)
    branches = "if x == 0:\n import a0\n" + "".join(f"elif x == {n}:\n import a{n}\n" for n in range(1, 900))
    assert len(modules(f"y = {long_sum}\n{branches}")) == 900


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("__all__ = ['a', 'b']", ("a", "b")),
        ("__all__: list[str] = ['a']", ("a",)),
        ("import x\n__all__ = ('a',)", ("a",)),
        ("__all__ = [*x]", ()),
        ("__all__ = 3", ()),
        ("__all__: list[str]", ()),
        ("a = 1", ()),
    ],
)
def test_exported(source, names):
    assert imports.exported(ast.parse(source)) == names
