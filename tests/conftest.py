"""What all tiers of tests share."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from database import mariadb as mariadb_module

# A script's job in the background starts with these ignored, and what a test starts would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
for _number in (signal.SIGQUIT, signal.SIGHUP):
    signal.signal(_number, signal.SIG_DFL)

Require = Callable[[str, "str | os.PathLike[str] | None", str], Path]


def _require(name: str, path: str | os.PathLike[str] | None, install: str) -> Path:
    if path is not None and os.path.exists(path):
        return Path(path)
    message = f"{name} is missing: {install}"
    if os.environ.get("CI") == "true":
        pytest.fail(message, pytrace=False)
    pytest.skip(message)


@pytest.fixture(scope="session")
def require() -> Require:
    """Return ``require(name, path, install)``: *path* if it is there.

    Otherwise the test is skipped, and *install* says how to get *name*. Where ``CI=true`` it fails: what CI tests
    must not be a matter of what happens to be installed.
    """
    return _require


@pytest.fixture(scope="session")
def mariadb(require: Require) -> Iterator[mariadb_module.MariaDB]:
    """A private MariaDB server for the session."""
    from database import mariadb as mariadb_module

    program = require("MariaDB", mariadb_module.find(), "apt-get install mariadb-server")
    server = mariadb_module.MariaDB(str(program))
    yield server
    server.close()
