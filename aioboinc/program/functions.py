"""A function as a program: hosts get source text, and a slave file that calls the function.

If the function is in a module of the user's, that module is sent with what it imports. If it is in the program that
makes the calls, or in a notebook, only what it uses is sent (pieces), as the file that is ``__main__`` on the host.
"""

from __future__ import annotations

import functools
import inspect
import os
import re
import sys
import sysconfig
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from aioboinc import errors
from aioboinc.program import (
    bundle,
    definitions,
    generated,
    importable,
    pieces,
    recorder,
    refusals,
    remade,
    selection,
)
from aioboinc.slave_runtime import program_file
from aioboinc.wire import codec

__all__ = ["Program", "arguments", "collect", "path"]

_NOTEBOOK = "notebook-cells.py"
"""No valid module name, so nothing can import it."""


def collect(function: Callable[..., Any], include: Sequence[str | Path] = ()) -> bundle.Sources:
    """Return the program that calls *function* with the arguments in its input (see `arguments`).

    *include* are files or folders beside the module or program that *function* is in. Constants of that program that
    *function* uses keep their present values. Classes that occur only in arguments are left out; `Program` adds them.

    Blocks. Raises `errors.ProgramError` if something can't be sent; its text says what, and what to do.
    """
    return Program(function, include).sources


def arguments(args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the input for a call of a function with *args* and *kwargs*."""
    return tuple(args), dict(kwargs)


def path(function: Callable[..., Any], found: str) -> str:
    """Return *found*, a path into an input as from `codec.encode` with an empty *root*, in the user's terms.

    It begins with the parameter's name, or like ``args[2]`` if there is no name.
    """
    match = re.match(r"\[([01])\](?:\[(\d+|'(?:[^'\\]|\\.)*')\])?(.*)", found, re.DOTALL)
    if match is None or match[2] is None:
        return f"the arguments of {_name(function)}{found}"
    if match[1] == "1":
        return f"{match[2][1:-1]}{match[3]}"
    index = int(match[2])
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        parameters = []
    positional = [one for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
    if index < len(positional):
        return f"{positional[index].name}{match[3]}"
    rest = next((one.name for one in parameters if one.kind is one.VAR_POSITIONAL), "")
    return f"{rest}[{index - len(positional)}]{match[3]}" if rest else f"args[{index}]{match[3]}"


class Program:
    """A function with what it needs, and its calls.

    Construction blocks, and raises what `collect` raises.
    """

    def __init__(self, function: Callable[..., Any], include: Sequence[str | Path] = ()) -> None:
        _check(function)
        self._function = function
        self._include = tuple(include)
        self.name = _name(function)
        self._signature = _signature(function)
        self._counts = _counts(self._signature)
        self._namespace = _namespace(function)
        self._folder = _folder(self._namespace)
        self._module = "__main__" if _is_of_main(function, self._namespace) else _module(function)
        if self._module != "__main__":
            self._folder = generated.root(self._module, self._folder) or self._folder
        self._is_local = generated.locality(self._folder)
        self._programs: dict[frozenset[tuple[str, str]], tuple[bundle.Sources, codec.Registry]] = {}
        self._plain = self._program(frozenset())
        self.sources = self._plain[0]
        """The program for calls whose arguments contain only classes that the function uses."""

    def encode(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[bundle.Sources, bytes]:
        """Return the program and the input of the call with *args* and *kwargs*.

        The program includes the user's classes of objects in the arguments; it blocks when they occur for the first
        time. Raises `errors.ArgumentError` if *function* does not take such arguments, `errors.NotData` with the path
        to what is not data, and `errors.ProgramError`.
        """
        self._check_fit(args, kwargs)
        value = arguments(args, kwargs)
        sources, registry = self._plain
        try:
            return sources, codec.encode(value, registry, root="")
        except codec.NotData:
            pass  # a class is missing, or it is no data at all
        known = recorder.Recorder(self._namespace, self._is_local)
        try:
            data = codec.encode(value, known, root="")
        except codec.NotData as error:
            raise errors.NotData(f"{path(self._function, error.path)}: {error.reason}") from None
        classes = {("__main__", name) for name in known.classes}
        modules = {(name, "") for name in known.modules if name != "__main__"}
        return self._program(frozenset(classes | modules))[0], data

    def _check_fit(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        if self._signature is None or (len(args) in self._counts and not kwargs):
            return
        try:
            self._signature.bind(*args, **kwargs)
        except TypeError as error:
            raise errors.ArgumentError(f"{self.name}{self._signature}: {error}") from None

    def _program(self, extra: frozenset[tuple[str, str]]) -> tuple[bundle.Sources, codec.Registry]:
        """Return the program with the *extra* classes, each with its module, or all of a module."""
        if extra not in self._programs:
            classes = sorted(name for module, name in extra if module == "__main__")
            modules = sorted(module for module, _ in extra if module != "__main__")
            sources = self._sources(classes, modules)
            self._programs[extra] = sources, bundle.registry(sources)
        return self._programs[extra]

    def _sources(self, classes: Iterable[str], modules: Iterable[str]) -> bundle.Sources:
        selected = selection.Selection(self.name, self._namespace, self._is_local)
        called = self._select(selected) if self._module == "__main__" else self._called()
        for name in classes:
            selected.add(name)
        selected.add_annotated()
        main: generated.Main | None = None
        places: list[tuple[pieces.Piece, int]] = []
        if chosen := selected.ordered():
            text, places = pieces.joined(chosen)
            file = _NOTEBOOK if selected.is_of_notebook else self._namespace.get("__file__") or _NOTEBOOK
            main = generated.Main(
                os.path.basename(file),
                text,
                [
                    (_shown(piece.filename, self._namespace), piece.line + number)
                    if piece.filename
                    else (os.path.basename(file), line)
                    for line, (piece, number) in enumerate(places, 1)
                ],
                selected.classes,
                selected.constants,
                frozenset(selected.modules),
            )
        place = functools.partial(_place, places, self.name, self._namespace)
        return generated.bundled(called, modules, main, self._folder, self._include, place)

    def _called(self) -> str:
        """Return the expression for the function of a module."""
        found = importable.resolve(self._function)
        assert found is not None
        module, path = found
        return f'__import__("{module}", None, None, ["{path.partition(".")[0]}"]).{path}'

    def _select(self, selected: selection.Selection) -> str:
        """Add what the function of ``__main__`` needs; return the expression that denotes it."""
        path = getattr(self._function, "__qualname__", "")
        top = path.partition(".")[0]
        if "." in path and "<" not in path and _attribute(self._namespace, path) is self._function:
            selected.add(top)
            return path
        name = _global_name(self._function, self._namespace)
        if name is not None:
            selected.add(name)
            return name
        if not isinstance(self._function, types.FunctionType):
            raise refusals.refused(
                self.name, "it stands under no name of the program", "give it one at the top level"
            )
        name = self._function.__code__.co_name
        selected.add(name, self._function)
        return name


def _place(
    places: Sequence[tuple[pieces.Piece, int]], name: str, namespace: Mapping[str, Any], path: str, line: int
) -> str:
    """Return where line *line* of the generated file *path* of the function *name* comes from, for people."""
    if path == program_file.GENERATED or not 0 < line <= len(places):
        return name
    piece, number = places[line - 1]
    if not piece.filename:
        return f"{name}, which uses {piece.name}"
    shown = _shown(piece.filename, namespace)
    return f"{piece.filename if shown == os.path.basename(piece.filename) else shown}:{piece.line + number}"


def _shown(filename: str, namespace: Mapping[str, Any]) -> str:
    """Return how tracebacks show the file or cell *filename*."""
    if callable(namespace.get("get_ipython")):
        formatted = getattr(getattr(namespace["get_ipython"](), "compile", None), "format_code_name", None)
        label = formatted(filename) if formatted else None
        if label:
            return " ".join(label)
    return os.path.basename(filename)


def _check(function: Any) -> None:
    """Refuse what no host can call, regardless of what it uses."""
    if not callable(function):
        raise errors.ArgumentError(f"{function!r} is not a function: give one, or the file name of a slave")
    if isinstance(function, functools.partial):
        raise refusals.refused(
            _name(function), "it is a functools.partial", "give its arguments with each call, or write it with def"
        )
    if isinstance(getattr(function, "__self__", None), types.ModuleType | None):
        pass
    elif isinstance(function, types.MethodType | types.BuiltinMethodType | types.MethodWrapperType):
        raise refusals.refused(
            _name(function), "it is bound to an object", "write a function that gets the object as an argument"
        )
    inner = remade.unwrapped(function)
    if inner is None:
        return
    if inner.__name__ == "<lambda>":
        raise refusals.refused(_name(function), "a lambda has no name by which hosts find it", "write it with def")
    if inspect.isgeneratorfunction(inner) or inspect.isasyncgenfunction(inner):
        raise refusals.refused(
            _name(function),
            "it is a generator function, and a job has one output",
            "return a list, or make a job of each item",
        )
    if inspect.iscoroutinefunction(inner):
        raise refusals.refused(
            _name(function),
            "it is an async function",
            "write it with def, and call asyncio.run inside where it awaits something",
        )


def _is_of_main(function: Any, namespace: Mapping[str, Any]) -> bool:
    if importable.resolve(function) is not None:
        return False
    inner = remade.unwrapped(function)
    if _global_name(function, namespace) is not None or definitions.is_class_of_main(function):
        return True
    if inner is not None and "<locals>" in inner.__qualname__:
        names = ", ".join(inner.__code__.co_freevars)
        if names:
            raise refusals.refused(
                _name(function),
                f"it is defined in a function and uses its {names}",
                f"define it at the top level, with {names} as arguments; in a decorator, use functools.wraps",
            )
        raise refusals.refused(_name(function), "it is defined in a function", "define it at the top level")
    return inner is not None and inner.__globals__ is namespace


def _module(function: Any) -> str:
    """Return the module in which hosts find *function*."""
    found = importable.resolve(function)
    if found is None and remade.unwrapped(function) is None and not isinstance(function, type):
        trouble = "it is an object to which no name of the program belongs"
        raise refusals.refused(_name(function), trouble, "write a function that uses it")
    if found is None:
        module = getattr(function, "__module__", None)
        raise refusals.refused(
            _name(function),
            f"module {module} has something else by that name"
            if module in sys.modules
            else "no module has it by its name",
            "define it at the top level of a module; in a decorator, use functools.wraps",
        )
    if found[0].partition(".")[0] == "aioboinc":
        raise refusals.refused(_name(function), "hosts do not have it", "only the master calls aioboinc")
    return found[0]


def _namespace(function: Any) -> Mapping[str, Any]:
    """Return the names of ``__main__``: *function*'s globals if it has any."""
    inner = remade.unwrapped(function)
    if inner is not None and inner.__globals__.get("__name__") == "__main__":
        return inner.__globals__
    return vars(sys.modules["__main__"])


def _folder(namespace: Mapping[str, Any]) -> Path:
    """Return the folder of the running program; for a notebook, the working directory."""
    file = namespace.get("__file__")
    if not isinstance(file, str):
        return Path.cwd()
    folder = Path(os.path.abspath(file)).parent
    package = namespace.get("__package__") or ""
    for _ in package.split(".") if package else ():
        folder = folder.parent
    installed = [sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib", "scripts")]
    # With python -m pytest, say, a tool is running, and the user's files are here.
    return Path.cwd() if any(folder.is_relative_to(one) for one in installed) else folder


def _global_name(function: Any, namespace: Mapping[str, Any]) -> str | None:
    """Return the name under which *namespace* has *function*, its own if it can be."""
    own = getattr(function, "__name__", "")
    found = sorted((name != own, name) for name, value in list(namespace.items()) if value is function)
    names = [name for _, name in found if not name.startswith("_") or name == own]
    return names[0] if names else None


def _attribute(namespace: Mapping[str, Any], path: str) -> Any:
    top, *rest = path.split(".")
    found = namespace.get(top)
    for part in rest:
        found = getattr(found, part, None)
    return found


def _signature(function: Any) -> inspect.Signature | None:
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):
        return None


def _counts(signature: inspect.Signature | None) -> range:
    """Return how many positional arguments are right without a look at their names."""
    parameters = () if signature is None else tuple(signature.parameters.values())
    required = 0
    for parameter in parameters:
        if parameter.kind not in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            return range(0)
        required += parameter.default is parameter.empty
    return range(required, len(parameters) + 1) if parameters else range(0)


def _name(function: Any) -> str:
    found = getattr(function, "__qualname__", None) or getattr(function, "__name__", None)
    if isinstance(found, str):
        return found.rpartition("<locals>.")[2]
    return type(function).__qualname__
