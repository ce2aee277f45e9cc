"""The HTTP server of a served project: BOINC's protocol, downloads, and the status page.

Requests are bounded in size and time before anything is done for them; requests that are not BOINC's get an empty 404.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import urllib.parse
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

from aiohttp import hdrs, http_exceptions, web

from aioboinc import connectors, errors
from aioboinc.aio import seldom
from aioboinc.project import config
from aioboinc.serve import accounts, addresses, door, downloads, gate, request_reader, scheduler, uploads
from aioboinc.serve.pages import status_page
from aioboinc.serve.protocol import reply as scheduler_reply
from aioboinc.serve.protocol import request as scheduler_request

__all__ = ["Server", "running"]

T = TypeVar("T")

_IDLE_SECONDS = 30.0
"""How long a connection may be idle, or take for a request's header."""
_BODY_SECONDS = 60.0
"""How long a request's body may take; an upload gets more time for the bytes it brings."""
_MIN_RATE = 1000
"""Minimum bytes a second of an upload."""
_BAD_REQUEST_DELAY = 60.0
"""Seconds until a client may send another request after one that could not be read."""
_DATABASE_SECONDS = 30.0
"""How long a request waits for the database."""
_DATABASE_PATIENCE = 3.0
"""Seconds to wait for an unreachable database before a request is answered without it."""
_LINGER_SECONDS = 10.0
"""How long the rest of a refused body is read, so that the client receives the reply."""
_SHUTDOWN_SECONDS = 0.5
_DOWN_SECONDS = 300
"""Seconds after which clients try again when the project is down."""
_PROJECT_DOWN = -183
"""BOINC's ERR_PROJECT_DOWN."""
_log = logging.getLogger(__name__)


class Server:
    """Answers requests for a project."""

    def __init__(
        self,
        project: config.Project,
        site: scheduler_reply.Site,
        scheduler: scheduler.Scheduler,
        known_key: Callable[[str], Awaitable[bool]],
        downloads: downloads.Downloads,
        uploads: uploads.Uploads,
        accounts: accounts.Accounts,
        page: status_page.StatusPage,
    ) -> None:
        """*known_key* tells whether a text is the key of an account."""
        self.is_ending = False
        """The project is about to close: what fails now is no news."""
        self._project = project
        self._site = site
        self._scheduler = scheduler
        self._requests = request_reader.Reader(known_key)
        self._downloads = downloads
        self._uploads = uploads
        self._accounts = accounts
        self._page = page
        self._seldom = seldom.Seldom(_log)

    def application(self) -> web.Application:
        """Return the aiohttp application, at the path of the project's URL."""
        application = web.Application(middlewares=[self._guard, gate.gate(self._project.master_url)])
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
        status = await _in_time(self._page.status(request.query.get("key", "")))
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
            return await _in_time(self._scheduler.handle(parsed, addresses.of(request)))
        except errors.DatabaseError as error:
            self._tell_down(error)
            self._scheduler.forget_held()
            return scheduler_reply.Reply(
                messages=[scheduler_reply.Message("Server can't open database")],
                project_is_down=True,
                request_delay=_DOWN_SECONDS,
            )

    async def _upload(self, request: web.Request) -> web.Response:
        try:
            text = await self._uploaded(request)
        except uploads.BrokenOff as refusal:
            self._seldom(logging.WARNING, "upload from %s broke off: %s", request.remote, refusal)
            text = uploads.reply(refusal)
        except uploads.Refusal as refusal:
            _log.info("upload from %s refused: %s", request.remote, refusal)
            text = uploads.reply(refusal)
        except errors.DatabaseError as error:
            self._tell_down(error)
            text = uploads.reply(uploads.Transient("Server can't open database"))
        return web.Response(text=text, content_type="text/plain")

    async def _uploaded(self, request: web.Request) -> str:
        if request.content_length is None:
            raise web.HTTPLengthRequired
        async with contextlib.aclosing(_pieces(request)) as pieces:
            start = bytearray()
            async for piece in pieces:
                start += piece
                if b"<data>\n" in start or len(start) >= uploads.HEADER_LIMIT:
                    break
            header = uploads.parse_header(bytes(start[: uploads.HEADER_LIMIT]))
            if header.size_wanted:
                return uploads.reply_size(await self._uploads.size(header.name))
            data = _behind(bytes(start[header.length :]), pieces)
            await self._uploads.receive(header, data, request.content_length - header.length)
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
            return _xml(await _in_time(answer(request.query, addresses.of(request))))
        except accounts.Refusal as refusal:
            return _xml(refusal.render())
        except errors.DatabaseError as error:
            self._tell_down(error)
            return _xml(accounts.Refusal(_PROJECT_DOWN, "Project is temporarily offline").render())

    @web.middleware
    async def _guard(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Answer tersely when a request fails."""
        try:
            if request.headers.get(hdrs.CONTENT_ENCODING):
                raise web.HTTPUnsupportedMediaType(text="")
            with connectors.patience(_DATABASE_PATIENCE):
                response = await handler(request)
        except web.HTTPException as error:
            error.text = ""
            error.headers[hdrs.SERVER] = "aioboinc"
            raise
        except asyncio.CancelledError:
            raise
        except (ConnectionError, TimeoutError) as error:
            why = "the connection was lost" if isinstance(error, ConnectionError) else "it took too long"
            self._seldom(logging.WARNING, "request from %s to %r broke off: %s", request.remote, request.path, why)
            if isinstance(error, ConnectionError):
                raise
            raise web.HTTPRequestTimeout(text="", headers={hdrs.SERVER: "aioboinc"}) from None
        except errors.DatabaseError as error:
            self._tell_down(error)
            raise _unavailable() from None
        except Exception as error:
            raise self._unforeseen(request, error) from None
        if not response.prepared:
            response.headers[hdrs.SERVER] = "aioboinc"
        return response

    def _unforeseen(self, request: web.Request, error: Exception) -> web.HTTPException:
        """Log an error that no host should cause; return the answer."""
        if isinstance(error, OSError) and error.errno in {errno.EMFILE, errno.ENFILE}:
            self._seldom(logging.ERROR, "requests are refused: %s: raise the limit (ulimit -n)", error.strerror)
            return _unavailable()
        if self.is_ending:
            return _unavailable()
        _log.error("%s %r", request.method, request.path, exc_info=error)
        return web.HTTPInternalServerError(text="")

    def _tell_down(self, error: errors.DatabaseError) -> None:
        """Log what is wrong with the database; strangers learn only that something is."""
        self._seldom(logging.ERROR, "the project is down: %s", error)


@contextlib.asynccontextmanager
async def running(server: Server, host: str, port: int) -> AsyncIterator[int]:
    """Answer requests at *host* and *port* (0: any free one); yield the port's number.

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
    assert runner.server is not None
    door.Door(door.max_connections()).watch(runner.server)
    try:
        site = web.TCPSite(runner, host, port, backlog=512)
        try:
            await site.start()
        except OSError as error:
            raise errors.UsageError(f"--listen {host}:{port}: {error.strerror or error}") from None
        yield runner.addresses[0][1]
    finally:
        server.is_ending = True
        await runner.cleanup()


def _http_log() -> logging.Logger:
    """Return aiohttp's log, without messages that strangers can cause."""

    def is_ours(record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        return not isinstance(error, http_exceptions.HttpProcessingError | ConnectionError)

    log = logging.getLogger(f"{__name__}.http")
    log.filters = [is_ours]
    return log


async def _pieces(request: web.Request) -> AsyncGenerator[bytes, None]:
    """Yield the body as it comes, as long as it comes fast enough. Raises `uploads.BrokenOff`."""
    loop = asyncio.get_running_loop()
    left = _BODY_SECONDS
    while True:
        begun = loop.time()
        try:
            async with asyncio.timeout(min(left, _IDLE_SECONDS)):
                data = await request.content.readany()
        except TimeoutError:
            why = (
                f"no data for {_IDLE_SECONDS:g} s"
                if left >= _IDLE_SECONDS
                else f"less than {_MIN_RATE} bytes a second"
            )
            raise uploads.BrokenOff(why) from None
        except ConnectionError:
            raise uploads.BrokenOff("the connection was lost") from None
        if not data:
            return
        left += len(data) / _MIN_RATE - (loop.time() - begun)
        yield data


async def _behind(start: bytes, rest: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """Yield *start*, and then the *rest*."""
    if start:
        yield start
    async for data in rest:
        yield data


async def _in_time(answer: Awaitable[T]) -> T:
    """Await an answer that needs the database. Raises `errors.DatabaseError` if the database does not respond."""
    try:
        async with asyncio.timeout(_DATABASE_SECONDS):
            return await answer
    except TimeoutError:
        raise errors.DatabaseError(f"the database has not answered for {_DATABASE_SECONDS:g} s") from None


def _unavailable() -> web.HTTPServiceUnavailable:
    return web.HTTPServiceUnavailable(
        text="", headers={hdrs.SERVER: "aioboinc", hdrs.RETRY_AFTER: str(_DOWN_SECONDS)}
    )


def _xml(text: str) -> web.Response:
    return web.Response(text=text, content_type="text/xml")
