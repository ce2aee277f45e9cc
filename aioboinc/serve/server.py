"""The HTTP face of a served project: BOINC's protocol, downloads, and the status page.

Requests are bounded in size and time before anything is done for them; those that are no requests of BOINC's get
404 without a word.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import urllib.parse
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from aiohttp import hdrs, http_exceptions, web

from aioboinc import errors
from aioboinc import project as projects
from aioboinc.serve import (
    accounts,
    addresses,
    downloads,
    gate,
    request_reader,
    scheduler,
    scheduler_reply,
    scheduler_request,
    status_page,
    uploads,
)

__all__ = ["Server", "running"]

_IDLE_SECONDS = 30.0
"""How long a connection may say nothing, or take for a request's header."""
_BODY_SECONDS = 60.0
"""How long a request's body may take, and an upload beside what its size allows it."""
_LEAST_RATE = 1000
"""Bytes a second that an upload must bring."""
_BAD_REQUEST_DELAY = 60.0
"""Seconds until a client may send another request after one that could not be read."""
_LINGER_SECONDS = 10.0
"""How long the rest of a refused body is read, so that the client gets to the reply."""
_SHUTDOWN_SECONDS = 0.5
_log = logging.getLogger(__name__)


class Server:
    """Answers requests for a project."""

    def __init__(
        self,
        project: projects.Project,
        site: scheduler_reply.Site,
        scheduler: scheduler.Scheduler,
        known_key: Callable[[str], Awaitable[bool]],
        downloads: downloads.Downloads,
        uploads: uploads.Uploads,
        accounts: accounts.Accounts,
        page: status_page.StatusPage,
    ) -> None:
        """*known_key* tells whether a text is the key of an account."""
        self._project = project
        self._site = site
        self._scheduler = scheduler
        self._requests = request_reader.Reader(known_key)
        self._downloads = downloads
        self._uploads = uploads
        self._accounts = accounts
        self._page = page

    def application(self) -> web.Application:
        """Return the aiohttp application, at the path of the project's URL."""
        application = web.Application(middlewares=[_guard, gate.gate(self._project.master_url)])
        path = urllib.parse.urlsplit(self._project.master_url).path
        application.router.add_routes(
            [
                web.get(path, self._master_page),
                web.get(f"{path}status.json", self._status),
                web.post(f"{path}scheduler", self._schedule),
                web.post(f"{path}file_upload_handler", self._upload),
                web.get(f"{path}download/{{name}}", self._download),
                web.get(f"{path}download/{{directory}}/{{name}}", self._download),
                web.get(f"{path}get_project_config.php", self._project_config),
                web.get(f"{path}lookup_account.php", self._look_up_account),
                web.get(f"{path}create_account.php", self._create_account),
            ]
        )
        return application

    async def _master_page(self, request: web.Request) -> web.Response:
        return web.Response(
            text=self._page.html(f"{self._site.master_url}scheduler"),
            content_type="text/html",
            headers={
                hdrs.CACHE_CONTROL: "no-cache",
                "Content-Security-Policy": (
                    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
                    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
                ),
                "Referrer-Policy": "no-referrer",
                "X-Content-Type-Options": "nosniff",
            },
        )

    async def _status(self, request: web.Request) -> web.Response:
        status = await self._page.status(request.query.get("key", ""))
        return web.json_response(status, headers={hdrs.CACHE_CONTROL: "no-store"})

    async def _schedule(self, request: web.Request) -> web.Response:
        reply = await self._scheduled(request)
        return web.Response(body=scheduler_reply.render(reply, self._site), content_type="text/xml")

    async def _scheduled(self, request: web.Request) -> scheduler_reply.Reply:
        try:
            parsed = await self._requests.read(request, seconds=_BODY_SECONDS)
        except scheduler_request.BadRequest as error:
            message = scheduler_reply.Message(f"Error in request message: {error}")
            return scheduler_reply.Reply(messages=[message], request_delay=_BAD_REQUEST_DELAY)
        try:
            return await self._scheduler.handle(parsed, addresses.of(request))
        except errors.DatabaseError as error:
            _log.error("%s", error)
            return scheduler_reply.Reply(
                messages=[scheduler_reply.Message("Server can't open database")],
                project_is_down=True,
                request_delay=300,
            )

    async def _upload(self, request: web.Request) -> web.Response:
        try:
            text = await self._uploaded(request)
        except uploads.Refusal as refusal:
            _log.info("upload refused: %s", refusal)
            text = uploads.reply(refusal)
        except (TimeoutError, errors.DatabaseError) as error:
            text = uploads.reply(uploads.Transient(str(error) or "too slow"))
        return web.Response(text=text, content_type="text/plain")

    async def _uploaded(self, request: web.Request) -> str:
        start = bytearray()
        async with asyncio.timeout(_BODY_SECONDS) as limit:
            while b"<data>\n" not in start and len(start) < uploads.HEADER_LIMIT:
                data = await request.content.readany()
                if not data:
                    break
                start += data
            header = uploads.parse_header(bytes(start[: uploads.HEADER_LIMIT]))
            if header.size_wanted:
                return uploads.reply_size(await self._uploads.size(header.name))
            limit.reschedule(asyncio.get_running_loop().time() + _BODY_SECONDS + header.nbytes / _LEAST_RATE)
            await self._uploads.receive(header, _rest(request, bytes(start[header.length :])))
        return uploads.reply()

    async def _download(self, request: web.Request) -> web.StreamResponse:
        return await self._downloads.response(
            request, request.match_info["name"], request.match_info.get("directory")
        )

    async def _project_config(self, request: web.Request) -> web.Response:
        return _xml(self._accounts.config())

    async def _look_up_account(self, request: web.Request) -> web.Response:
        return await self._account(self._accounts.look_up, request)

    async def _create_account(self, request: web.Request) -> web.Response:
        return await self._account(self._accounts.create, request)

    async def _account(self, answer: Callable[[Any, str], Awaitable[str]], request: web.Request) -> web.Response:
        try:
            return _xml(await answer(request.query, addresses.of(request)))
        except accounts.Refusal as refusal:
            return _xml(refusal.render())


@contextlib.asynccontextmanager
async def running(server: Server, host: str, port: int) -> AsyncIterator[int]:
    """Answer requests at *host* and *port*, 0 for any; the body gets the port's number.

    Raises `errors.UsageError` if nothing can listen there.
    """
    runner = web.AppRunner(
        server.application(),
        logger=_http_log(),
        access_log=None,
        handle_signals=False,
        keepalive_timeout=_IDLE_SECONDS,
        lingering_time=_LINGER_SECONDS,
        auto_decompress=False,
        shutdown_timeout=_SHUTDOWN_SECONDS,
    )
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port, backlog=512)
        try:
            await site.start()
        except OSError as error:
            raise errors.UsageError(f"--listen {host}:{port}: {error.strerror or error}") from None
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def _http_log() -> logging.Logger:
    """Return aiohttp's log without what strangers can write into it."""

    def is_ours(record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        return not isinstance(error, http_exceptions.HttpProcessingError | ConnectionError)

    log = logging.getLogger(f"{__name__}.http")
    log.filters = [is_ours]
    return log


@web.middleware
async def _guard(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Say little where a request leads to nothing."""
    try:
        if request.headers.get(hdrs.CONTENT_ENCODING):
            raise web.HTTPUnsupportedMediaType(text="")
        response = await handler(request)
    except web.HTTPException as error:
        error.text = ""
        error.headers[hdrs.SERVER] = "aioboinc"
        raise
    except (ConnectionError, asyncio.CancelledError, TimeoutError):
        raise
    except Exception:
        _log.exception("%s %s", request.method, request.path)
        raise web.HTTPInternalServerError(text="") from None
    if not response.prepared:
        response.headers[hdrs.SERVER] = "aioboinc"
    return response


async def _rest(request: web.Request, start: bytes) -> AsyncIterator[bytes]:
    """Yield the rest of the body, of which *start* has been read."""
    if start:
        yield start
    while data := await request.content.readany():
        yield data


def _xml(text: str) -> web.Response:
    return web.Response(text=text, content_type="text/xml")
