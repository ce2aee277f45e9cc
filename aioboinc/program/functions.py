"""A function as a program: what goes to hosts is source, and a slave file that calls the function.

Of a module of the user's the module goes, with what it imports. Of the program that makes the calls, or of a
notebook, only what the function uses goes (pieces), as the file that is ``__main__`` on the host.
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
from aioboinc.program import bundle, importable, pieces, remade
from aioboinc.slave_runtime import program_file
from aioboinc.wire import codec

__all__ = ["Program", "arguments", "collect", "path"]

_CONSTANTS = "pyboinc-constants"
_NOTEBOOK = "notebook-cells.py"
"""Not the name of a module, so that nothing imports it."""


def collect(function: Callable[..., Any], include: Sequence[str | Path] = ()) -> bundle.Sources:
    """Return the program that calls *function* with the arguments in its input, see `arguments`.

    *include* are files or folders beside the module or program that *function* is in. Constants of that program
    that *function* uses have the values that they have now. Classes that come with arguments only are not in it:
    `Program` sees to them.

    Blocks. Raises `errors.ProgramError` for what can't be sent: the text says what *function* uses, and what to do.
    """
    return Program(function, include).sources


def arguments(args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the input for a call of a function with *args* and *kwargs*."""
    return tuple(args), dict(kwargs)


def path(function: Callable[..., Any], found: str) -> str:
    """Return as the user wrote it the path *found* into an input, as of `codec.encode` with an empty *root*.

    It begins with the parameter's name, or with ``args[2]`` if that has none.
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
        self.namespace = _namespace(function)
        self._folder = _folder(self.namespace)
        self._module = "__main__" if _is_of_main(function, self.namespace) else _module(function)
        if self._module != "__main__":
            self._folder = bundle.root(self._module, self._folder) or self._folder
        self._is_local = bundle.locality(self._folder)
        self._programs: dict[frozenset[tuple[str, str]], tuple[bundle.Sources, codec.Registry]] = {}
        self.sources = self._program(frozenset())[0]
        """The program of calls whose arguments have no classes but those that the function uses."""

    def encode(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[bundle.Sources, bytes]:
        """Return the program and the input of the call with *args* and *kwargs*.

        The program has the classes of objects in the arguments, too, if they are the user's. Blocks when they come
        for the first time. Raises `errors.ArgumentError` if *function* does not take such arguments, `errors.NotData`
        with the path to what is not data, `errors.ProgramError`.
        """
        self._check_fit(args, kwargs)
        value = arguments(args, kwargs)
        sources, registry = self._program(frozenset())
        try:
            return sources, codec.encode(value, registry, root="")
        except codec.NotData:
            pass  # for want of a class, or for good
        recorder = pieces.Recorder(self.namespace, self._is_local)
        try:
            data = codec.encode(value, recorder, root="")
        except codec.NotData as error:
            raise errors.NotData(f"{path(self._function, error.path)}: {error.reason}") from None
        classes = {("__main__", name) for name in recorder.classes}
        modules = {(name, "") for name in recorder.modules if name != "__main__"}
        return self._program(frozenset(classes | modules))[0], data

    def _check_fit(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        signature = _signature(self._function)
        if signature is None:
            return
        try:
            signature.bind(*args, **kwargs)
        except TypeError as error:
            raise errors.ArgumentError(f"{self.name}{signature}: {error}") from None

    def _program(self, extra: frozenset[tuple[str, str]]) -> tuple[bundle.Sources, codec.Registry]:
        """Return the program with the *extra* classes, each with its module, or all of a module."""
        if extra not in self._programs:
            classes = sorted(name for module, name in extra if module == "__main__")
            modules = sorted(module for module, _ in extra if module != "__main__")
            generated = self._generated(classes, modules)
            sources = bundle.generate(generated, self._folder, self._include)
            self._programs[extra] = sources, bundle.registry(sources)
        return self._programs[extra]

    def _generated(self, classes: Iterable[str], modules: Iterable[str]) -> bundle.Generated:
        selection = pieces.Selection(self.name, self.namespace, self._is_local)
        if self._module == "__main__":
            called = self._select(selection)
        else:
            found = importable.resolve(self._function)
            assert found is not None
            called = f'__import__("{found[0]}", None, None, ["{found[1].partition(".")[0]}"]).{found[1]}'
        for name in classes:
            selection.add(name)
        selection.add_annotated()
        chosen = selection.ordered()
        if not chosen:
            return bundle.Generated(program_file.GENERATED, {program_file.GENERATED: _slave(called, modules)})
        main = (
            _NOTEBOOK
            if selection.is_of_notebook
            else os.path.basename(self.namespace.get("__file__") or _NOTEBOOK)
        )
        text, places = _joined(chosen)
        files = {main: text.encode("utf-8", "surrogatepass")}
        if selection.constants:
            files[_CONSTANTS] = codec.encode(selection.constants)
        files[program_file.GENERATED] = _slave(called, modules, selection)
        return bundle.Generated(
            program_file.GENERATED,
            files,
            {"__main__": main},
            selection.classes,
            functools.partial(_place, places, self.name, self.namespace),
        )

    def _select(self, selection: pieces.Selection) -> str:
        """Take what the function of ``__main__`` needs; return the expression by which it is called."""
        path = getattr(self._function, "__qualname__", "")
        top = path.partition(".")[0]
        if "." in path and "<" not in path and _attribute(self.namespace, path) is self._function:
            selection.add(top)
            return path
        name = _global_name(self._function, self.namespace)
        if name is not None:
            selection.add(name)
            return name
        if not isinstance(self._function, types.FunctionType):
            raise _refused(
                self._function, "it stands under no name of the program", "give it one at the top level"
            )
        return selection.add_function(self._function)


def _slave(called: str, modules: Iterable[str], selection: pieces.Selection | None = None) -> bytes:
    """Return the slave file that calls what the expression *called* gives, in the program of *selection*.

    It imports *modules*, and leaves no name behind but its own.
    """
    lines = ['"""Calls a function; written by aioboinc."""']
    if selection is not None and selection.constants:
        if any(b"cnumpy\n" in data for data in selection.constants.values()):
            lines.append('__import__("numpy")')
        known = sorted(selection.modules)
        lines += [
            "",
            "",
            "def pyboinc_constant(name, _read=[]):",
            "    from aioboinc.wire import codec",
            "    if not _read:",
            f"        with open(__file__[: -len({program_file.GENERATED!r})] + {_CONSTANTS!r}, 'rb') as file:",
            f"            _read[:] = codec.decode(file.read()), codec.Registry.of_modules({known!r})",
            "    constants, registry = _read",
            "    return codec.decode(constants[name], registry)",
            "",
            "",
        ]
    lines += [f'__import__("{module}")' for module in modules]
    if selection is not None:
        lines.append('exec(__import__("sys").meta_path[0].find_spec("__main__").loader.get_code("__main__"))')
    lines += [
        "",
        "",
        "def pyboinc_call_function(function):",
        "    args, kwargs = pyboinc_get_input()",
        "    pyboinc_return_output(function(*args, **kwargs))",
        "",
        "",
        f"pyboinc_call_function({called})",
        "",
    ]
    return "\n".join(lines).encode()


def _joined(chosen: Sequence[pieces.Piece]) -> tuple[str, list[tuple[pieces.Piece, int]]]:
    """Return the text of pieces, and for each line its piece and the number of the line in it, from 0."""
    lines: list[str] = []
    places: list[tuple[pieces.Piece, int]] = []

    def add(piece: pieces.Piece, text: Iterable[str]) -> None:
        for number, line in enumerate(text):
            lines.append(line)
            places.append((piece, number))

    if any(piece.future for piece in chosen):
        add(chosen[0], ["from __future__ import annotations", ""])
    before = False
    for piece in chosen:
        block = piece.text.split("\n")
        is_long = len(block) > 1
        if lines and lines[-1] and (is_long or before):
            add(piece, ["", ""])
        add(piece, block)
        before = is_long
    return "\n".join(lines) + "\n", places


def _place(
    places: Sequence[tuple[pieces.Piece, int]], name: str, namespace: Mapping[str, Any], path: str, line: int
) -> str:
    """Return where line *line* of the generated file *path* of the function *name* comes from, for people."""
    if path == program_file.GENERATED or not 0 < line <= len(places):
        return name
    piece, number = places[line - 1]
    if not piece.filename:
        return f"{name}, which uses {piece.name}"
    shown = piece.filename
    if callable(namespace.get("get_ipython")):
        formatted = getattr(getattr(namespace["get_ipython"](), "compile", None), "format_code_name", None)
        shown = " ".join((formatted(shown) if formatted else None) or (shown,))
    return f"{shown}:{piece.line + number}"


def _check(function: Any) -> None:
    """Refuse what no host can call, whatever it uses."""
    if not callable(function):
        raise errors.ArgumentError(f"{function!r} is not a function: give one, or the file name of a slave")
    if isinstance(function, functools.partial):
        raise _refused(
            function, "it is a functools.partial", "give its arguments with each call, or write it with def"
        )
    if isinstance(getattr(function, "__self__", None), types.ModuleType | None):
        pass
    elif isinstance(function, types.MethodType | types.BuiltinMethodType | types.MethodWrapperType):
        raise _refused(
            function, "it is bound to an object", "write a function that gets the object as an argument"
        )
    inner = remade.unwrapped(function)
    if inner is None:
        return
    if inner.__name__ == "<lambda>":
        raise _refused(function, "a lambda has no name by which hosts find it", "write it with def")
    if inspect.isgeneratorfunction(inner) or inspect.isasyncgenfunction(inner):
        raise _refused(
            function,
            "it is a generator function, and a job has one output",
            "return a list, or make a job of each item",
        )
    if inspect.iscoroutinefunction(inner):
        raise _refused(
            function,
            "it is an async function",
            "write it with def, and call asyncio.run inside where it awaits something",
        )


def _is_of_main(function: Any, namespace: Mapping[str, Any]) -> bool:
    if importable.resolve(function) is not None:
        return False
    inner = remade.unwrapped(function)
    if _global_name(function, namespace) is not None or pieces.is_class_of_main(function):
        return True
    if inner is not None and "<locals>" in inner.__qualname__:
        names = ", ".join(inner.__code__.co_freevars)
        if names:
            raise _refused(
                function,
                f"it is defined in a function and uses its {names}",
                f"define it at the top level, with {names} as arguments; in a decorator, use functools.wraps",
            )
        raise _refused(function, "it is defined in a function", "define it at the top level")
    return inner is not None and inner.__globals__ is namespace


def _module(function: Any) -> str:
    """Return the module in which hosts find *function*."""
    found = importable.resolve(function)
    if found is None:
        module = getattr(function, "__module__", None)
        raise _refused(
            function,
            f"module {module} has something else by that name"
            if module in sys.modules
            else "no module has it by its name",
            "define it at the top level of a module; in a decorator, use functools.wraps",
        )
    if found[0].partition(".")[0] == "aioboinc":
        raise _refused(function, "hosts have no aioboinc", "only the master calls it")
    return found[0]


def _namespace(function: Any) -> Mapping[str, Any]:
    """Return the names of ``__main__``: those of *function* if it has some."""
    inner = remade.unwrapped(function)
    if inner is not None and inner.__globals__.get("__name__") == "__main__":
        return inner.__globals__
    return vars(sys.modules["__main__"])


def _folder(namespace: Mapping[str, Any]) -> Path:
    """Return the folder of the running program, of a notebook the working directory."""
    file = namespace.get("__file__")
    if not isinstance(file, str):
        return Path.cwd()
    folder = Path(os.path.abspath(file)).parent
    package = namespace.get("__package__") or ""
    for _ in package.split(".") if package else ():
        folder = folder.parent
    installed = [sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib", "scripts")]
    # As python -m pytest: what runs is a tool, and the user's files are here.
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


def _name(function: Any) -> str:
    found = getattr(function, "__qualname__", None) or getattr(function, "__name__", None)
    if isinstance(found, str):
        return found.rpartition("<locals>.")[2]
    return type(function).__qualname__


def _refused(function: Any, trouble: str, remedy: str) -> errors.ProgramError:
    return errors.ProgramError(f"{_name(function)} can't be sent to hosts: {trouble}: {remedy}")
