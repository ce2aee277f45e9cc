"""The Pythons on this machine that can be a host's."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

__all__ = ["INTERPRETERS"]

_NAMES = [f"python3.{minor}" for minor in range(8, 20)]
_CODE = "import os, sys; print(os.path.realpath(sys.executable) * (sys.version_info >= (3, 8)))"


def _executable(python: str) -> list[str]:
    return subprocess.run([python, "-c", _CODE], capture_output=True, text=True, check=False).stdout.split()


def _find() -> list[str]:
    found = {path for path in map(shutil.which, _NAMES) if path}
    found.update(map(str, Path.home().glob(".pyenv/versions/3.*/bin/python")))
    return [sys.executable, *sorted({executable for path in found for executable in _executable(path)})]


INTERPRETERS = _find()
"""This one first; then, once each, those on the path and those of pyenv, from 3.8."""
