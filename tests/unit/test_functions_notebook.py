"""Functions of a notebook's cells. Cells are run by IPython in this process."""

from __future__ import annotations

import atexit
import builtins
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from function_programs import Host, host
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from aioboinc import errors
from aioboinc.program import bundle, functions
from aioboinc.wire import codec

__all__ = ["host"]


class Notebook:
    """Cells that are run one after the other."""

    def __init__(self) -> None:
        config = Config()
        config.HistoryManager.hist_file = ":memory:"
        self._shell = InteractiveShell(config=config)
        self._shell.system = lambda command: None
        self.names: dict[str, Any] = self._shell.user_ns

    def run(self, *cells: str) -> None:
        for cell in cells:
            outcome = self._shell.run_cell(textwrap.dedent(cell), store_history=True)
            outcome.raise_error()

    def program(self, name: str = "f") -> functions.Program:
        return functions.Program(self.names[name])

    def text(self, name: str = "f") -> str:
        content = self.program(name).sources.files["notebook-cells.py"].decode()
        return "\n".join(line for line in content.splitlines() if line)

    def close(self) -> None:
        self._shell.atexit_operations()
        atexit.unregister(self._shell.atexit_operations)


@pytest.fixture
def notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Notebook]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    for name in ("displayhook", "excepthook"):
        monkeypatch.setattr(sys, name, getattr(sys, name))
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    before = dict(vars(builtins))
    opened = Notebook()
    yield opened
    opened.close()
    for name in vars(builtins).keys() - before.keys():
        delattr(builtins, name)


def test_what_several_cells_define(notebook: Notebook, host: Host) -> None:
    notebook.run(
        "import math\nN = 2",
        "def g(x):\n    return math.sqrt(x) * N",
        "class P:\n    def __init__(self, x): self.x = x\n\nunrelated = object()",
        "def f(p): return P(g(p.x))",
    )
    assert host.call(notebook.program(), notebook.names["P"](16)).x == 8
    assert "unrelated" not in notebook.text()


def test_a_cell_in_which_much_else_is(notebook: Notebook, host: Host) -> None:
    notebook.run("%time z = 1\n!true\nx = 5; y = 6\ndef f(x):\n    return x + y\nf(2)")
    assert host.call(notebook.program(), 2) == 8


def test_cells_in_another_order(notebook: Notebook) -> None:
    notebook.run("def f(x): return g(x)", "N = 1", "def g(x): return x + N")
    sources = notebook.program().sources
    notebook.run("N = 1", "def g(x): return x + N", "other = 2", "def f(x): return g(x)")
    assert notebook.program().sources == sources
    assert notebook.program().sources.files == sources.files


def test_a_function_that_was_defined_again(notebook: Notebook, host: Host) -> None:
    notebook.run("def f(x): return x + 1", "old = f", "def f(x): return x + 2")
    assert host.call(notebook.program(), 1) == 3
    assert host.call(notebook.program("old"), 1) == 2
    notebook.run("def f(x): return x + 1")
    assert host.call(notebook.program(), 1) == 2


def test_the_object_and_not_its_name_counts(notebook: Notebook, host: Host) -> None:
    notebook.run("def f(x): return x + 1")
    first = notebook.names["f"]
    notebook.run("def f(x): return x + 2")
    assert host.call(functions.Program(first), 1) == 2


def test_a_helper_that_was_defined_again(notebook: Notebook, host: Host) -> None:
    notebook.run("def g(): return 1", "def f(): return g()", "def g(): return 2")
    assert host.call(notebook.program()) == 2


def test_definitions_of_the_same_text_in_one_cell(notebook: Notebook, host: Host) -> None:
    notebook.run("def f(): return 1\ndef f(): return 2\ndef g(): return f()")
    assert host.call(notebook.program("g")) == 2


def test_a_constant_has_its_value_now(notebook: Notebook, host: Host) -> None:
    notebook.run("N = 1\ndef f(): return N")
    first = notebook.program().sources
    notebook.run("N += 1")
    assert host.call(notebook.program()) == 2
    assert notebook.program().sources.fingerprint != first.fingerprint


def test_the_newest_class(notebook: Notebook, host: Host) -> None:
    cell = "class P:\n    def __init__(self, x): self.x = x\n"
    notebook.run(cell, "old = P(1)\ndef f(p): return P(p.x + 1)", cell)
    program = notebook.program()
    with pytest.raises(errors.NotData, match=r"^p: class P is not data: .* make the object again$"):
        program.encode((notebook.names["old"],), {})
    output = host.call(program, notebook.names["P"](1))
    assert type(output) is notebook.names["P"]
    data = codec.encode(output, bundle.registry(program.sources))
    notebook.run(cell)
    again = codec.decode(data, bundle.registry(program.sources))
    assert type(again) is notebook.names["P"]
    assert type(again) is not type(output)


def test_the_newest_of_classes_without_functions(notebook: Notebook, host: Host) -> None:
    notebook.run(
        "from dataclasses import dataclass",
        "@dataclass\nclass P:\n    x: int\n",
        "@dataclass\nclass P:\n    x: int\n    y: int = 5\n",
        "def f(x): return P(x)",
    )
    assert host.call(notebook.program(), 1).y == 5
    notebook.run("@dataclass\nclass P:\n    x: int\n")
    assert not hasattr(host.call(notebook.program(), 1), "y")


def test_a_cell_that_failed_before_its_class(notebook: Notebook, host: Host) -> None:
    notebook.run("class P:\n    n = 1\n\ndef f(): return P.n")
    with pytest.raises(ZeroDivisionError):
        notebook.run("1 / 0\nclass P:\n    n = 2\n    m = 3\n")
    assert host.call(notebook.program()) == 1


def test_annotations_of_a_cell_before(notebook: Notebook, host: Host) -> None:
    notebook.run("from __future__ import annotations", "def f(x: NoSuch): return x")
    assert host.call(notebook.program(), 1) == 1


def test_a_decorator_and_its_cache(notebook: Notebook, host: Host) -> None:
    notebook.run("import functools", "@functools.lru_cache\ndef f(n): return n if n < 2 else f(n - 1) + f(n - 2)")
    assert host.call(notebook.program(), 10) == 55


def test_a_module_beside_the_notebook(notebook: Notebook, host: Host, tmp_path: Path) -> None:
    (tmp_path / "beside_it.py").write_text("def g(x): return x * 2\n")
    notebook.run("import beside_it", "def f(x): return beside_it.g(x)")
    assert host.call(notebook.program(), 2) == 4
    assert host.call(functions.Program(notebook.names["beside_it"].g), 2) == 4


def test_an_error_names_lines_of_the_cells(notebook: Notebook, host: Host) -> None:
    notebook.run("n = 1\ndef g(x):\n    return 1 / x", "1", "def f(x):\n    return g(x)")
    assert host.call(notebook.program(), 0).splitlines()[1:] == [
        '  File "Cell In[3]", line 2, in f',
        "    return g(x)",
        '  File "Cell In[1]", line 3, in g',
        "    return 1 / x",
        "ZeroDivisionError: division by zero",
    ]


REFUSED = {
    "the shell": ("def f(): return get_ipython()", "it uses get_ipython, "),
    "display": ("def f(): return display(1)", "it uses display, "),
    "a magic inside": ("def f():\n    %pwd", "it uses get_ipython, "),
    "a lock": (
        "import threading\nlock = threading.Lock()\ndef f(): return lock",
        "it uses lock, an object of class _thread.lock",
    ),
}


@pytest.mark.parametrize(("cell", "text"), REFUSED.values(), ids=REFUSED.keys())
def test_refused(notebook: Notebook, cell: str, text: str) -> None:
    notebook.run(cell)
    with pytest.raises(errors.ProgramError) as caught:
        notebook.program()
    assert str(caught.value).startswith(f"f can't be sent to hosts: {text}")


def test_the_cell_of_an_import_that_hosts_lack(notebook: Notebook, tmp_path: Path) -> None:
    (tmp_path / "lacking.py").write_text("import sys\ndel sys.path[0]\n")
    notebook.run("import lacking", "def f(): return lacking.x")
    (tmp_path / "lacking.py").unlink()
    with pytest.raises(errors.ProgramError, match="no module named 'lacking'") as caught:
        notebook.program()
    assert str(caught.value).startswith("Cell In[1]:1: ")


def test_open_is_pythons(notebook: Notebook) -> None:
    """IPython has put a function of its own around it."""
    assert notebook.names["open"] is not open
    notebook.run("def f(path):\n    with open(path) as file:\n        return file.read()")
    assert "import" not in notebook.text()
