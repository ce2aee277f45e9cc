"""A program: a slave file and the local modules that it imports, read and bundled."""

from __future__ import annotations

import ast
import contextlib
import functools
import os
import sys
import unicodedata
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aioboinc import errors
from aioboinc.program import imports, local_modules, signed_archive, source_text
from aioboinc.wire import codec

__all__ = ["MAX_BYTES", "Collector", "Sources", "collect", "located", "registry"]

MAX_BYTES = 64 << 20
"""Maximum size of a program's files together."""


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


class Collector:
    """Reads files of one folder, each once, and follows their imports."""

    def __init__(self, slave: Path, place: Callable[[str, int], str] | None = None) -> None:
        self.files: dict[str, bytes] = {}
        self.modules: dict[str, str] = {}
        self._slave = slave
        self._folder = slave.parent
        self._local = local_modules.LocalModules(slave.parent)
        self._place = place
        self._made: set[str] = set()
        self._size = 0
        self._trees: dict[str, ast.Module] = {}
        self._spellings: dict[str, str] = {}
        self._followed: dict[str, bool] = {}
        self._pending: list[tuple[str, str, bool]] = []

    def sources(
        self, slave: str, classes: frozenset[str] = frozenset(), origins: Sequence[tuple[str, int]] = ()
    ) -> Sources:
        """Return what was bundled, with the path *slave* as its slave."""
        files = self.files
        code = {path: source_text.code(text) if path.endswith(".py") else text for path, text in files.items()}
        fingerprint, identity = (
            signed_archive.digest(slave, contents, self.modules) for contents in (files, code)
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
            name = local_modules.module_name(file)
            if name is not None and file != self._slave.name:
                with contextlib.suppress(local_modules.Missing):
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
        for name in sorted(self._local.names_in(path)):
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
                except local_modules.Missing as error:
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
        name = local_modules.absolute_name(imported, package) if imported.level else imported.module
        module = self._take(name, needed=needed)
        if module is None or module.folder is None:
            return
        names = self._exported(module.path) if imported.names == ("*",) else imported.names
        for attribute in names:
            if self._local.inner(module.folder, attribute) or module.path is None:
                self._take(f"{name}.{attribute}", needed=needed)

    def _exported(self, path: str | None) -> tuple[str, ...]:
        """Return what ``import *`` takes from a package with the file *path*, as far as its text shows."""
        try:
            return imports.exported(self._parse(path)) if path else ()
        except errors.ProgramError:
            return ()  # raised again when the file itself is read, if it is needed

    def _take(self, name: str, *, needed: bool) -> local_modules.Module | None:
        """Bundle the module *name* and the packages it is in; return None if it is not local."""
        top, *rest = name.split(".")
        module = self._local.top(top)
        if module is None:
            return None
        self._add(top, module, needed=needed)
        taken = top
        for part in rest:
            inner = self._local.inner(module.folder, part) if module.folder else None
            if inner is None:
                if module.path is None and self._local.installed(top):
                    return None
                if module.folder is None:
                    raise local_modules.Missing(
                        f"no module named '{taken}.{part}': {taken} is a module, not a package"
                    )
                raise local_modules.Missing(self._local.advice(f"{taken}.{part}"))
            taken, module = f"{taken}.{part}", inner
            self._add(taken, module, needed=needed)
        return module

    def _add(self, name: str, module: local_modules.Module, *, needed: bool) -> None:
        if module.path is not None:
            self._read(module.path)
            self.modules[name] = module.path
            self._follow(module.path, local_modules.package_of(name, module.path), needed=needed)

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
        if path in {signed_archive.MANIFEST, signed_archive.SIGNATURE}:
            raise errors.ProgramError(f"{where}: a program has a file of that name already: rename it")
        if not path.isprintable() or any(character in path for character in '\\:*?"<>|'):
            raise errors.ProgramError(f"{where!r}: some hosts can't have a file of that name: rename it")
        other = self._spellings.setdefault(unicodedata.normalize("NFC", path).casefold(), path)
        if other != path:
            raise errors.ProgramError(
                f"{where}: on some hosts this is the same file as {other}: rename one of them"
            )
