"""What strangers and broken clients send to a served project: it answers, or hangs up, and nothing changes."""

from __future__ import annotations

import asyncio
import gzip
import io
import sqlite3
from pathlib import Path

import pytest
import served
from patience import PATIENCE
from served import Site
from simulated_client import Finished

from aioboinc.serve import server

BOMB = (
    '<?xml version="1.0"?>\n<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">'
    + "".join(f'<!ENTITY {chr(98 + n)} "{f"&{chr(97 + n)};" * 10}">' for n in range(9))
    + "]>\n"
)


def rows(site: Site) -> list[tuple[object, ...]]:
    """Return all that requests could change."""
    with sqlite3.connect(site.root / "project.sqlite") as database:
        return [
            row
            for table in ("user", "host", "result", "workunit", "host_app_version")
            for row in database.execute(f"SELECT * FROM {table}")
        ]


async def post(site: Site, body: bytes, **headers: str) -> str:
    async with site.session.post(f"{site.url}scheduler", data=io.BytesIO(body), headers=headers) as response:
        return f"{response.status} {await response.text()}"


async def test_bad_scheduler_requests_change_nothing(site: Site, tmp_path: Path) -> None:
    async with site.batch(tmp_path / "batch", 1, quorum=1):
        request = site.client().request(1e9, 1)
        before = rows(site)
        for body in (
            "",
            "<",
            "nonsense",
            "<scheduler_request>",
            "<other_request></other_request>",
            request.replace("<scheduler_request>", f"{BOMB}<scheduler_request>&j;", 1),
            request.replace(
                "<scheduler_request>", '<!DOCTYPE x SYSTEM "file:///etc/passwd"><scheduler_request>', 1
            ),
            request.replace("</scheduler_request>", "<a>" * 50 + "</a>" * 50 + "</scheduler_request>"),
            request.replace("</scheduler_request>", "<stderr_out>" * 100_000 + "</scheduler_request>"),
            request[:-30],
            "\0" * 1000,
        ):
            reply = await post(site, body.encode())
            assert reply.startswith("200 <scheduler_reply>")
            assert "Error in request message" in reply
            assert "<hostid>" not in reply
        assert rows(site) == before


async def test_odd_scheduler_requests_are_understood(site: Site) -> None:
    request = site.client("Anna & Bert's <host>").request(0, 0)
    request = request.replace("<domain_name>Anna & Bert's <host>", "<domain_name>Anna & Bert's host\x07")
    for body in (
        request.encode(),
        b'<?xml version="1.0" encoding="UTF-8"?>\n' + request.encode(),
        request.replace("Bert", "B\xe9rt").encode("latin-1"),
        request.replace("<p_fpops>1000000000.000000<", "<p_fpops>nan<").encode(),
        request.replace("<p_ncpus>2<", "<p_ncpus>99999999999999<").encode(),
        request.replace("<hostid>0<", "<hostid>-5<").encode(),
        request.replace("<m_nbytes>", "<m_nbytes>x").encode(),
    ):
        assert "<hostid>" in await post(site, body)
    status = await site.get_json(f"status.json?key={site.status_key}")
    names = {host["name"] for host in status["hosts"]}  # type: ignore[attr-defined]
    assert "Anna & Bert's host" in names


async def test_strangers_send_little(site: Site) -> None:
    request = site.client(key="0" * 32).request(0, 0)
    padding = f"<client_opaque>{'x' * 200_000}</client_opaque></scheduler_request>"
    stranger = request.replace("</scheduler_request>", padding)
    assert "too large" in await post(site, stranger.encode())
    ours = stranger.replace("0" * 32, site.key, 1)
    assert "<hostid>" in await post(site, ours.encode())
    hidden = ours.replace(f"<authenticator>{site.key}</authenticator>", "").replace(
        "</scheduler_request>", f"<authenticator>{site.key}</authenticator></scheduler_request>"
    )
    assert "too large" in await post(site, hidden.encode())


async def test_no_compressed_requests(site: Site) -> None:
    body = gzip.compress(site.client().request(0, 0).encode())
    reply = await post(site, body, **{"Content-Encoding": "gzip"})
    assert reply == "415 "


async def test_half_open_and_slow_connections_are_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_IDLE_SECONDS", 0.3)
    monkeypatch.setattr(server, "_BODY_SECONDS", 0.3)
    monkeypatch.setattr(server, "_LINGER_SECONDS", 0.1)
    async with served.serving_site(tmp_path / "project") as site, asyncio.timeout(PATIENCE):
        host, port = site.url.removeprefix("http://").rstrip("/").split(":")
        starts = (
            b"",
            b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-",
            b"POST /scheduler HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\n<scheduler_request>",
            b"POST /file_upload_handler HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\n<file_upload>",
            b"GET /" + b"x" * 100_000,
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        )
        connections = []
        for start in starts:
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(start)
            connections.append((reader, writer))
        for reader, writer in connections:
            await reader.read()  # to its end: the server has closed it
            writer.close()
        monkeypatch.undo()
        assert (await site.client().call()).text("userid")


async def test_the_page_for_everybody_tells_no_names(site: Site, tmp_path: Path) -> None:
    async with site.batch(tmp_path / "secret_folder", 3, quorum=1):
        client = site.client("secret_host")
        (task, *_) = (await client.call(1e9, 1)).tasks
        await client.call(0, 0, [Finished(task.name, exit_status=1, state=3, stderr="secret_text")])
        for key in ("", "?key=", "?key=wrong", f"?key={site.key}", "?key=%C3%A9"):
            async with site.session.get(f"{site.url}status.json{key}") as response:
                text = await response.text()
            assert "secret_host" not in text
            assert "secret_text" not in text
            assert str(tmp_path) not in text
            assert site.key not in text
        async with site.session.get(f"{site.url}status.json?key={site.status_key}") as response:
            text = await response.text()
        assert "secret_host" in text
        assert "secret_text" in text
        assert site.key in text
    async with site.session.get(site.url) as response:
        page = await response.text()
        assert response.headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert f'<link rel="boinc_scheduler" href="{site.url}scheduler">' in page
    assert site.key not in page


async def test_only_the_owner_reads_the_project(site: Site) -> None:
    for name in ("project.sqlite", "account_key", "keys/status_key", "keys/code_sign_private"):
        assert (site.root / name).stat().st_mode & 0o077 == 0, name
    assert site.root.stat().st_mode & 0o077 == 0
