"""Programs of users, run as users run them."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import served
from patience import PATIENCE

EXAMPLE = Path(__file__).parents[2] / "examples" / "sum_of_squares"


class Program:
    """A folder with a master program, and the command that runs it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.command = [sys.executable, "-m", "aioboinc", "run", "--workers", "2", "app_master.py"]
        self.prefix: list[str] = []
        self.environment = {name: value for name, value in os.environ.items() if name != "PYBOINC_DIR"}

    def write(self, **files: str) -> Program:
        """Write files; the name of each without ``.py``."""
        for name, text in files.items():
            (self.folder / f"{name}.py").write_text(textwrap.dedent(text))
        return self

    def run(self, *options: str) -> subprocess.CompletedProcess[str]:
        """Run the program to its end."""
        return subprocess.run(
            [*self.prefix, *self.command[:4], *options, *self.command[4:]],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    @contextlib.contextmanager
    def running(self, *options: str) -> Iterator[subprocess.Popen[str]]:
        """Run the program meanwhile."""
        with subprocess.Popen(
            [*self.command[:4], *options, *self.command[4:]],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    def query(self, sql: str) -> list[tuple[object, ...]]:
        """Ask the embedded project's database."""
        path = self.folder / ".pyboinc" / "project.sqlite"
        with contextlib.closing(sqlite3.connect(path, timeout=PATIENCE)) as database:
            return database.execute(sql).fetchall()

    def files(self) -> set[str]:
        """The names in the folder, those of the user's own files aside."""
        return {path.name for path in self.folder.iterdir() if path.suffix != ".py" and path.name != "__pycache__"}


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """An empty program."""
    return Program(tmp_path)


@pytest.fixture
def sum_of_squares(tmp_path: Path) -> Program:
    """The example of the README."""
    for path in EXAMPLE.glob("*.py"):
        shutil.copy(path, tmp_path)
    return Program(tmp_path)


@pytest.fixture
def few_squares(sum_of_squares: Program) -> Program:
    """The same with five calls and one local host, where their number proves nothing: each is a process."""
    master = sum_of_squares.folder / "app_master.py"
    master.write_text(master.read_text().replace("range(100)", "range(5)"))
    sum_of_squares.command[sum_of_squares.command.index("--workers") + 1] = "1"
    return sum_of_squares


@pytest.fixture
async def open_site(tmp_path: Path) -> AsyncIterator[served.Site]:
    """A served project in which strangers may make accounts."""
    async with served.serving_site(tmp_path / "project", open_accounts=True) as site:
        yield site


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[served.Site]:
    """A served project, without hosts."""
    async with served.serving_site(tmp_path / "project") as site:
        yield site
