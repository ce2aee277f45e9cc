"""Downloads: the files that hosts get, which never change."""

from __future__ import annotations

import os
import re
import stat

from aiohttp import hdrs, web

from aioboinc.aio import threads
from aioboinc.project import config

__all__ = ["Downloads"]

_NAME = re.compile(r"pyboinc_[A-Za-z0-9_.-]{1,246}")
"""Names of files that hosts get."""
_SMALL = 1 << 16
"""Maximum bytes of a file that is read at once; larger ones are sent piece by piece."""
_HEADERS = {
    # A name always stands for the same bytes.
    hdrs.CACHE_CONTROL: "public, max-age=31536000, immutable",
    hdrs.CONTENT_TYPE: "application/octet-stream",
    "X-Content-Type-Options": "nosniff",
}
_CONDITIONS = (
    hdrs.RANGE,
    hdrs.IF_MATCH,
    hdrs.IF_NONE_MATCH,
    hdrs.IF_MODIFIED_SINCE,
    hdrs.IF_UNMODIFIED_SINCE,
)


class Downloads:
    """The project's download hierarchy."""

    def __init__(self, project: config.Project, thread: threads.FileThread) -> None:
        self._project = project
        self._thread = thread

    async def response(self, request: web.Request, name: str, directory: str | None) -> web.StreamResponse:
        """Return the file *name*; *directory* is its directory in the hierarchy, None for a file at the top.

        Raises `web.HTTPNotFound`.
        """
        if not _NAME.fullmatch(name) or directory not in {
            None,
            config.fanout_directory(name, self._project.fanout),
        }:
            raise web.HTTPNotFound
        path = os.path.join(self._project.download_dir, directory or "", name)
        try:
            data, status = await self._thread.run(_read, path)
        except (FileNotFoundError, NotADirectoryError):
            raise web.HTTPNotFound from None  # not from FileResponse, whose headers would have the 404 cached for ever
        if data is None or any(header in request.headers for header in _CONDITIONS):
            return web.FileResponse(path, headers=_HEADERS)
        response = web.Response(body=data, headers=_HEADERS)
        # The same headers as the other response's.
        response.headers[hdrs.ACCEPT_RANGES] = "bytes"
        response.etag = f"{status.st_mtime_ns:x}-{status.st_size:x}"
        response.last_modified = status.st_mtime
        return response


def _read(path: str) -> tuple[bytes | None, os.stat_result]:
    """Return a file's content (None for a large file) and status. Raises `FileNotFoundError` for what is no file."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise FileNotFoundError(path)
        data = os.read(descriptor, status.st_size) if status.st_size <= _SMALL else None
    finally:
        os.close(descriptor)
    return data, status
