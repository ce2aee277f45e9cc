"""Finds a program's local modules as Python would. Nothing is imported."""

from __future__ import annotations

import importlib.machinery
import os
import site
import sys
from dataclasses import dataclass
from pathlib import Path

from aioboinc import errors
from aioboinc.program import imports

__all__ = ["LocalModules", "Missing", "Module", "absolute_name", "module_name", "package_of"]

_PROVIDED = {"__main__", "aioboinc", "pyboinc"}
"""Modules that hosts have without bundling."""


class Missing(Exception):
    """A module that can't be found; the text is for people."""


@dataclass(frozen=True)
class Module:
    """A local module."""

    path: str | None
    """Its file; None for a namespace package."""
    folder: str | None
    """The folder of its submodules, with a slash at the end; None if it is not a package."""


class LocalModules:
    """The modules in *folder*, beside those that hosts have installed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._listings: dict[str, frozenset[str]] = {}
        self._installed_path = _installed_path(folder)

    def top(self, name: str) -> Module | None:
        """Find the top-level module *name* as Python would: None if it is not a local one."""
        if name in _PROVIDED or name in sys.builtin_module_names:
            return None
        module = self.inner("", name)
        if module is not None and module.path is not None:
            return module
        if name in sys.stdlib_module_names:
            return None
        spec = self.installed(name)
        if spec is not None and (spec.origin is not None or module is None):
            return None
        if module is None:
            raise Missing(self.advice(name))
        return module

    def inner(self, folder: str, name: str) -> Module | None:
        """Find the module *name* in *folder*, in the order in which Python looks."""
        path = folder + name
        is_folder = name in self.names_in(folder) and (self._folder / path).is_dir()
        if is_folder and "__init__.py" in self.names_in(path):
            return Module(f"{path}/__init__.py", f"{path}/")
        if f"{name}.py" in self.names_in(folder):
            return Module(f"{path}.py", None)
        return Module(None, f"{path}/") if is_folder else None

    def installed(self, name: str) -> importlib.machinery.ModuleSpec | None:
        """Find the top-level module *name* outside of the program; nothing is imported."""
        for finder in sys.meta_path:
            spec = finder.find_spec(name, self._installed_path)
            if spec is not None:
                return spec
        return None

    def names_in(self, folder: str) -> frozenset[str]:
        """Return the names in *folder*, none if there is no such folder.

        Names are compared with these instead of looked up, because some file systems ignore case and imports don't.
        """
        if folder not in self._listings:
            try:
                self._listings[folder] = frozenset(os.listdir(self._folder / folder))
            except (FileNotFoundError, NotADirectoryError):
                self._listings[folder] = frozenset()
            except OSError as error:
                raise errors.ProgramError(errors.describe(self._folder / folder, error)) from None
        return self._listings[folder]

    def advice(self, name: str) -> str:
        """Say that there is no module *name*, and what to do."""
        spec = importlib.machinery.PathFinder.find_spec(name.partition(".")[0])
        if "." in name or spec is None or spec.origin is None:
            trouble = f"no module named {name!r}"
        else:
            trouble = f"hosts have no module named {name!r}: {spec.origin} is for this program or user alone"
        return (
            f"{trouble}: put it into {self._folder}, or install it, here and on the hosts, or import it inside "
            "try/except ImportError if the program can do without it"
        )


def absolute_name(imported: imports.Import, package: str) -> str:
    """Return the full name of the module in a relative import of a module in *package*."""
    parts = package.split(".") if package else []
    if imported.level > len(parts):
        raise Missing(
            "a relative import that leads out of the package"
            if parts
            else "a relative import in a file that is not in a package: import the module by its name"
        )
    parts = parts[: len(parts) - imported.level + 1]
    return ".".join([*parts, imported.module] if imported.module else parts)


def package_of(name: str, path: str) -> str:
    """Return the package that relative imports in the module *name* start from."""
    return name if path.endswith("/__init__.py") else name.rpartition(".")[0]


def module_name(path: str) -> str | None:
    """Return the dotted name under which the file *path* can be imported; None if it can't."""
    if not path.endswith(".py"):
        return None
    parts = path.removesuffix(".py").removesuffix("/__init__").split("/")
    return ".".join(parts) if all(part.isidentifier() for part in parts) else None


def _installed_path(folder: Path) -> list[str]:
    """Return where hosts have modules, too: ``sys.path`` without what belongs to this program or user only.

    That is *folder*, the folder of the running program, ``PYTHONPATH``, and packages installed with ``--user``.
    """
    own = [str(folder), os.getcwd(), *sys.path[:1], *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    own.append(site.getusersitepackages())
    main = getattr(sys.modules.get("__main__"), "__file__", None)
    if main:
        own.append(os.path.dirname(main))
    absolute = {os.path.abspath(entry) for entry in own}
    return [entry for entry in sys.path if os.path.abspath(entry) not in absolute]
