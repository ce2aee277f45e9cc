"""A program: a slave file and the local modules that it imports, bundled into one signed archive.

The archive is a zip file whose bytes depend on nothing but the sources, the project and the key::

    MANIFEST.json   canonical JSON: format, slave, modules {name: path}, files {path: SHA-256}, project
    SIGNATURE       RSA PKCS#1 v1.5 with SHA-256 over the bytes of MANIFEST.json
    ...             the files, sorted by path
"""

from __future__ import annotations

import ast
import contextlib
import functools
import hashlib
import importlib.machinery
import json
import os
import site
import sys
import unicodedata
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aioboinc import errors
from aioboinc.program import archive, imports, source_text
from aioboinc.project import keys
from aioboinc.wire import codec

__all__ = ["MAX_BYTES", "Collector", "Missing", "Sources", "build", "collect", "located", "registry"]

FORMAT = 1
MANIFEST = "MANIFEST.json"
SIGNATURE = "SIGNATURE"
MAX_BYTES = 64 << 20
"""Maximum size of a program's files together."""
_PROVIDED = {"__main__", "aioboinc", "pyboinc"}
"""Modules that hosts have without bundling."""


@dataclass(frozen=True)
class Sources:
    """The files of a program. Paths are relative to the slave's folder, with slashes."""

    slave: str
    """Path of the slave file."""
    files: Mapping[str, bytes] = field(hash=False, repr=False)
    """Content of every file, including the slave, by path."""
    modules: Mapping[str, str] = field(hash=False)
    """Path of every bundled module, by its dotted name. A namespace package has none."""
    fingerprint: str
    """SHA-256, in hexadecimal, over all of the above."""
    identity: str = ""
    """SHA-256, in hexadecimal, over the same, but only over the code in Python files."""
    classes: frozenset[str] = frozenset()
    """Names of the classes of the running ``__main__`` that it contains; for functions only."""
    origins: Sequence[tuple[str, int]] = field(default=(), compare=False, repr=False)
    """For each line of a generated ``__main__``, the user's file and line that it comes from."""


def collect(slave: Path, include: Sequence[str | Path] = ()) -> Sources:
    """Read the *slave* file, the modules in its folder that it imports, directly or not, and *include*.

    *include* are files or folders, relative to the slave's folder and inside it. A folder is taken whole, except
    ``__pycache__`` and names that begin with a dot. Python files among them can be imported; what they import is
    bundled too, if it is there.

    Blocks. Raises `errors.ProgramError` for a file that is missing, can't be read or parsed, for an
    import of a module that is neither local, nor of the standard library, nor installed here (unless the
    program provides for that: ``try``/``except ImportError``), and for more than `MAX_BYTES`.
    """
    collector = Collector(slave)
    collector.slave()
    for item in include:
        collector.include(item)
    return collector.sources(slave.name)


def build(sources: Sources, project: str, key: keys.PrivateKey) -> bytes:
    """Return the program file for the project with the master URL *project*, signed with *key*."""
    description = _description(sources.slave, sources.files, sources.modules)
    manifest = _canonical({**description, "project": project})
    return archive.build([(MANIFEST, manifest), (SIGNATURE, key.sign(manifest)), *sorted(sources.files.items())])


def registry(*programs: Sources) -> codec.Registry:
    """Return the registry of the classes that inputs and outputs of *programs* may contain.

    These are the classes of their modules. They don't include a slave file's: on the host it is ``__main__``, and
    importing it here would run it. Of the running program's classes, they include those sent with a function.
    """
    slaves = {sources.slave for sources in programs}
    modules = {name for sources in programs for name, path in sources.modules.items() if path not in slaves}
    classes = {name for sources in programs for name in sources.classes}
    return codec.Registry.of_modules(
        sorted(modules - {"__main__"}), {("__main__", name): functools.partial(_newest, name) for name in classes}
    )


def _newest(name: str) -> type:
    """Return the class that the running program has as *name* now: a notebook may define it again."""
    found: type = vars(sys.modules["__main__"])[name]
    return found


def located(sources: Sources, error: Mapping[str, Any]) -> dict[str, Any]:
    """Return *error*, the value of an envelope, with the line numbers of its traceback as in the user's files."""

    def place(frame: list[Any]) -> list[Any]:
        file, line, *rest = frame
        if file == sources.modules.get("__main__") and 0 < line <= len(sources.origins):
            file, line = sources.origins[line - 1]
        return [file, line, *rest]

    return {**error, "traceback": list(map(place, error["traceback"]))}


def _description(slave: str, files: Mapping[str, bytes], modules: Mapping[str, str]) -> dict[str, object]:
    return {
        "pyboinc_program": FORMAT,
        "slave": slave,
        "modules": dict(modules),
        "files": {path: hashlib.sha256(content).hexdigest() for path, content in files.items()},
    }


def _canonical(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode("ascii") + b"\n"


class Missing(Exception):
    """A module that can't be found; the text is for people."""


@dataclass(frozen=True)
class _Module:
    """A local module."""

    path: str | None
    """Its file; None for a namespace package."""
    folder: str | None
    """The folder of its submodules, with a slash at the end; None if it is not a package."""


class Collector:
    """Reads files of one folder, each once, and follows their imports."""

    def __init__(self, slave: Path, place: Callable[[str, int], str] | None = None) -> None:
        self.files: dict[str, bytes] = {}
        self.modules: dict[str, str] = {}
        self._slave = slave
        self._folder = slave.parent
        self._place = place
        self._made: set[str] = set()
        self._size = 0
        self._listings: dict[str, frozenset[str]] = {}
        self._trees: dict[str, ast.Module] = {}
        self._spellings: dict[str, str] = {}
        self._followed: dict[str, bool] = {}
        self._pending: list[tuple[str, str, bool]] = []
        self._installed_path = _installed_path(self._folder)

    def sources(
        self, slave: str, classes: frozenset[str] = frozenset(), origins: Sequence[tuple[str, int]] = ()
    ) -> Sources:
        """Return what was bundled, with the path *slave* as its slave."""
        files = self.files
        code = {path: source_text.code(text) if path.endswith(".py") else text for path, text in files.items()}
        fingerprint, identity = (
            hashlib.sha256(_canonical(_description(slave, contents, self.modules))).hexdigest()
            for contents in (files, code)
        )
        return Sources(slave, files, self.modules, fingerprint, identity, classes, origins)

    def add(self, files: Mapping[str, bytes], modules: Mapping[str, str]) -> None:
        """Bundle *files* that don't come from the folder, with the *modules* among them, and what they import."""
        self._made.update(files)
        for path, content in files.items():
            self._check_name(path)
            self._take_in(path, content)
        self.modules.update(modules)
        for path in files:
            if path.endswith(".py"):
                self._follow(path, package="", needed=True)
        self._follow_all()

    def slave(self) -> None:
        """Bundle the slave and what it imports."""
        if not os.path.exists(self._slave):
            raise errors.ProgramError(
                f"{self._slave}: no such slave file; a relative name is looked up beside the file with make_calls, in "
                "a notebook in the working directory"
            )
        if self._slave.is_dir():
            raise errors.ProgramError(f"{self._slave} is a folder: a slave is a Python file")
        self._read(self._slave.name)
        self._follow(self._slave.name, package="", needed=True)
        self._follow_all()

    def include(self, item: str | Path) -> None:
        """Bundle the file or the folder *item*."""
        path = os.path.normpath(os.path.relpath(self._folder / item, self._folder)).replace(os.sep, "/")
        if path.startswith("../") or path in {"..", "."}:
            raise errors.ProgramError(f"include {str(item)!r}: name files and folders inside {self._folder} only")
        if not os.path.exists(self._folder / path):
            raise errors.ProgramError(f"include {str(item)!r}: there is no {self._folder / path}")
        for file in self._files_in(path, ()):
            self._read(file)
            name = _module_name(file)
            if name is not None and file != self._slave.name:
                with contextlib.suppress(Missing):
                    self._take(name, needed=False)
        self._follow_all()

    def _files_in(self, path: str, above: tuple[str, ...]) -> list[str]:
        """Return the file *path*, or all files in the folder *path*, sorted."""
        real = os.path.realpath(self._folder / path)
        if not os.path.isdir(real):
            return [path]
        if real in above:
            raise errors.ProgramError(
                f"{self._folder / path}: a link to a folder that it lies in: include files by name"
            )
        found = []
        for name in sorted(self._list(path)):
            if name != "__pycache__" and not name.startswith("."):
                found += self._files_in(f"{path}/{name}", (*above, real))
        return found

    def _follow(self, path: str, package: str, *, needed: bool) -> None:
        """Bundle what the Python file *path*, in *package*, imports.

        If the file is not *needed*, its imports aren't either, and it need not even parse.
        """
        if path not in self._followed or (needed and not self._followed[path]):
            self._followed[path] = needed
            self._pending.append((path, package, needed))

    def _follow_all(self) -> None:
        while self._pending:
            path, package, needed = self._pending.pop()
            try:
                tree = self._parse(path)
            except errors.ProgramError:
                if needed:
                    raise
                continue
            missing: set[imports.Import] = set()
            for imported in imports.scan(tree):
                import_needed = needed and imported.needed(missing)
                try:
                    self._bundle(imported, package, needed=import_needed)
                except Missing as error:
                    missing.add(imported)
                    if import_needed:
                        where = self._where(path, imported.line)
                        raise errors.ProgramError(f"{where}: {error}") from None

    def _where(self, path: str, line: int) -> str:
        if self._place is not None and path in self._made:
            return self._place(path, line)
        return f"{self._folder / path}:{line}"

    def _bundle(self, imported: imports.Import, package: str, *, needed: bool) -> None:
        """Bundle the local modules that one import statement loads; raises `Missing`."""
        name = _absolute(imported, package) if imported.level else imported.module
        module = self._take(name, needed=needed)
        if module is None or module.folder is None:
            return
        names = self._exported(module.path) if imported.names == ("*",) else imported.names
        for attribute in names:
            if self._locate(module.folder, attribute) or module.path is None:
                self._take(f"{name}.{attribute}", needed=needed)

    def _exported(self, path: str | None) -> tuple[str, ...]:
        """Return what ``import *`` takes from a package with the file *path*, as far as its text shows."""
        try:
            return imports.exported(self._parse(path)) if path else ()
        except errors.ProgramError:
            return ()  # raised again when the file itself is read, if it is needed

    def _take(self, name: str, *, needed: bool) -> _Module | None:
        """Bundle the module *name* and the packages it is in; return None if it is not local."""
        top, *rest = name.split(".")
        module = self.top(top)
        if module is None:
            return None
        self._add(top, module, needed=needed)
        taken = top
        for part in rest:
            inner = self._locate(module.folder, part) if module.folder else None
            if inner is None:
                if module.path is None and self.installed(top):
                    return None
                if module.folder is None:
                    raise Missing(f"no module named '{taken}.{part}': {taken} is a module, not a package")
                raise Missing(self._advice(f"{taken}.{part}"))
            taken, module = f"{taken}.{part}", inner
            self._add(taken, module, needed=needed)
        return module

    def top(self, name: str) -> _Module | None:
        """Find the top-level module *name* as Python would: None if it is not a local one."""
        if name in _PROVIDED or name in sys.builtin_module_names:
            return None
        module = self._locate("", name)
        if module is not None and module.path is not None:
            return module
        if name in sys.stdlib_module_names:
            return None
        spec = self.installed(name)
        if spec is not None and (spec.origin is not None or module is None):
            return None
        if module is None:
            raise Missing(self._advice(name))
        return module

    def _locate(self, folder: str, name: str) -> _Module | None:
        """Find the module *name* in *folder*, in the order in which Python looks."""
        path = folder + name
        is_folder = name in self._list(folder) and (self._folder / path).is_dir()
        if is_folder and "__init__.py" in self._list(path):
            return _Module(f"{path}/__init__.py", f"{path}/")
        if f"{name}.py" in self._list(folder):
            return _Module(f"{path}.py", None)
        return _Module(None, f"{path}/") if is_folder else None

    def installed(self, name: str) -> importlib.machinery.ModuleSpec | None:
        """Find the top-level module *name* outside of the program; nothing is imported."""
        for finder in sys.meta_path:
            spec = finder.find_spec(name, self._installed_path)
            if spec is not None:
                return spec
        return None

    def _add(self, name: str, module: _Module, *, needed: bool) -> None:
        if module.path is not None:
            self._read(module.path)
            self.modules[name] = module.path
            self._follow(module.path, _package_of(name, module.path), needed=needed)

    def _advice(self, name: str) -> str:
        spec = importlib.machinery.PathFinder.find_spec(name.partition(".")[0])
        if "." in name or spec is None or spec.origin is None:
            trouble = f"no module named {name!r}"
        else:
            trouble = f"hosts have no module named {name!r}: {spec.origin} is for this program or user alone"
        return (
            f"{trouble}: put it into {self._folder}, or install it, here and on the hosts, or import it inside "
            "try/except ImportError if the program can do without it"
        )

    def _list(self, folder: str) -> frozenset[str]:
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

    def _parse(self, path: str) -> ast.Module:
        if path not in self._trees:
            where = self._folder / path
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    tree = ast.parse(self.files[path], where)
                    # Only the compiler finds some errors, such as a return outside of a function.
                    compile(self.files[path], where, "exec", dont_inherit=True)
            except SyntaxError as error:
                line = f":{error.lineno}" if error.lineno else ""
                raise errors.ProgramError(f"{where}{line}: {error.msg}") from None
            except ValueError as error:
                raise errors.ProgramError(f"{where}: {error}") from None
            except (RecursionError, MemoryError):
                raise errors.ProgramError(f"{where}: nested too deeply for Python") from None
            self._trees[path] = tree
        return self._trees[path]

    def _read(self, path: str) -> None:
        if path in self.files:
            return
        where = self._folder / path
        self._check_name(path)
        if not where.is_file():
            raise errors.ProgramError(f"{where}: neither a file nor a folder: it can't go to hosts, leave it out")
        try:
            # One byte more than is allowed is enough to know.
            with where.open("rb") as file:
                content = file.read(MAX_BYTES - self._size + 1)
        except OSError as error:
            raise errors.ProgramError(errors.describe(where, error)) from None
        self._take_in(path, content)

    def _take_in(self, path: str, content: bytes) -> None:
        self._size += len(content)
        if self._size > MAX_BYTES:
            raise errors.ProgramError(
                f"{self._folder / path}: with it the program has more than {MAX_BYTES >> 20} MiB, and each host "
                "downloads all of it: include less, or give each job its part of the data as input"
            )
        self.files[path] = content

    def _check_name(self, path: str) -> None:
        """Refuse a path that some platform does not allow, or not beside the others."""
        where = str(self._folder / path)
        if path in {MANIFEST, SIGNATURE}:
            raise errors.ProgramError(f"{where}: a program has a file of that name already: rename it")
        if not path.isprintable() or any(character in path for character in '\\:*?"<>|'):
            raise errors.ProgramError(f"{where!r}: some hosts can't have a file of that name: rename it")
        other = self._spellings.setdefault(unicodedata.normalize("NFC", path).casefold(), path)
        if other != path:
            raise errors.ProgramError(
                f"{where}: on some hosts this is the same file as {other}: rename one of them"
            )


def _absolute(imported: imports.Import, package: str) -> str:
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


def _package_of(name: str, path: str) -> str:
    """Return the package that relative imports in the module *name* start from."""
    return name if path.endswith("/__init__.py") else name.rpartition(".")[0]


def _module_name(path: str) -> str | None:
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
