"""The keys of a served project, in files. The functions block."""

from __future__ import annotations

import secrets

from aioboinc import errors
from aioboinc.aio import durable
from aioboinc.project import config as projects
from aioboinc.serve import scheduler

__all__ = ["ACCOUNT_KEY", "code_sign_keys", "status_key"]

ACCOUNT_KEY = "account_key"
"""The file with the key of the project's first account."""
_STATUS_KEY = "keys/status_key"


def status_key(project: projects.Project) -> str:
    """Return the key with which the status page shows everything; make it if it isn't there. Blocks."""
    path = project.root / _STATUS_KEY
    if not path.exists():
        durable.place(path, secrets.token_urlsafe(16).encode("ascii"), 0o600)
    return path.read_text(encoding="ascii").strip()


def code_sign_keys(project: projects.Project) -> scheduler.CodeSignKeys:
    """Return the keys that clients check files with. Blocks. Raises `errors.ProjectError`.

    Older keys are where BOINC has them: ``old_key_N`` and, signed with it, ``signature_stripped_N``.
    """
    directory = project.key_dir
    try:
        current = (directory / "code_sign_public").read_text(encoding="ascii").strip()
        signatures = {}
        for old in directory.glob("old_key_*"):
            signature = directory / f"signature_stripped_{old.name.removeprefix('old_key_')}"
            if signature.exists():
                text = old.read_text(encoding="ascii").strip()
                signatures[text] = signature.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise errors.ProjectError(f"{directory}: {error}") from None
    return scheduler.CodeSignKeys(current, signatures)
