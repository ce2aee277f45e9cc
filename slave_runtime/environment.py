"""The environment variables of a slave."""

from __future__ import annotations

import os
from typing import Dict, Mapping, Optional

__all__ = ["MARKER", "clean"]

MARKER = "PYBOINC_SLOT"
"""Variable in the slave's environment that names its slot directory, and tells its processes from others."""

_KEPT = (
    "PATH HOME USER LOGNAME SHELL TMPDIR TMP TEMP LANG LANGUAGE LC_ALL LC_CTYPE TZ LD_LIBRARY_PATH "
    "DYLD_LIBRARY_PATH CUDA_VISIBLE_DEVICES SYSTEMROOT SYSTEMDRIVE WINDIR COMSPEC PATHEXT USERNAME USERPROFILE "
    "APPDATA LOCALAPPDATA PROGRAMDATA PROGRAMFILES NUMBER_OF_PROCESSORS PROCESSOR_ARCHITECTURE"
)
_THREADS = "OMP_NUM_THREADS OPENBLAS_NUM_THREADS MKL_NUM_THREADS NUMEXPR_NUM_THREADS VECLIB_MAXIMUM_THREADS"


def clean(inherited: Mapping[str, str], cpus: float = 1.0, temporary: Optional[str] = None) -> Dict[str, str]:
    """Return a clean environment for a slave that may use *cpus* CPUs. Its temporary files go to *temporary*.

    Nothing in it makes Python import other modules, order sets differently or use another encoding than elsewhere.
    """
    variables = {name: inherited[name] for name in _KEPT.split() if name in inherited}
    for name in ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"):  # the client adds relative paths, "." too
        paths = [path for path in variables.pop(name, "").split(os.pathsep) if os.path.isabs(path)]
        if paths:
            variables[name] = os.pathsep.join(paths)
    if temporary is not None:
        variables.update(dict.fromkeys(("TMPDIR", "TEMP", "TMP"), temporary))
    variables.update(dict.fromkeys(_THREADS.split(), str(max(1, int(cpus)))))
    variables.update(
        PYTHONDONTWRITEBYTECODE="1",
        PYTHONFAULTHANDLER="1",
        PYTHONHASHSEED="0",
        PYTHONIOENCODING="utf-8:backslashreplace",
        PYTHONNOUSERSITE="1",
        PYTHONUTF8="1",
    )
    return variables
