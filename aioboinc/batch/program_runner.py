"""Runs master programs for ``aioboinc run``: with top-level ``await``, and our names without an import."""

from __future__ import annotations

import ast
import inspect
import signal
import sys
import types
from collections.abc import Sequence
from pathlib import Path

from aioboinc import errors
from aioboinc.aio import signals
from aioboinc.batch import calls, leaving, master

__all__ = ["run"]


def run(path: Path, arguments: Sequence[str]) -> None:
    """Run the program *path* as ``__main__``, with *arguments* as ``sys.argv`` and its folder on ``sys.path``.

    Raises `errors.ProgramError` for one that is missing or does not parse, `signals.Stopped` when a signal
    stopped it, and whatever it raises.
    """
    code = _compile(path)
    sys.argv = list(arguments)
    sys.path.insert(0, str(path.parent))
    module = types.ModuleType("__main__")
    module.__file__ = str(path)
    module.__dict__.update(
        pyboinc_call=calls.pyboinc_call, pyboinc_master=master.pyboinc_master, __builtins__=__builtins__
    )
    sys.modules["__main__"] = module
    program = types.FunctionType(code, module.__dict__)
    try:
        if code.co_flags & inspect.CO_COROUTINE:
            signals.run(program)
        else:
            program()
    except KeyboardInterrupt:
        leaving.interrupted()
        raise signals.Stopped(signal.SIGINT) from None


def _compile(path: Path) -> types.CodeType:
    try:
        source = path.read_bytes()
    except OSError as error:
        raise errors.ProgramError(errors.describe(path, error)) from None
    try:
        tree = ast.parse(source, str(path))
        code: types.CodeType = compile(tree, str(path), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        raise errors.ProgramError(f"{path}{f':{line}' if line else ''}: {getattr(error, 'msg', error)}") from None
    for statement in ast.walk(tree):
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
            function = statement.value.func
            if getattr(function, "id", getattr(function, "attr", None)) == "pyboinc_master":
                where = "" if statement in tree.body else "; a function that awaits begins with `async def`"
                raise errors.ProgramError(
                    f"{path}:{statement.lineno}: write `await pyboinc_master(...)`: without await it does "
                    f"nothing{where}"
                )
    return code
