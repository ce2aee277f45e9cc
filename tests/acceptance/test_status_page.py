"""The status page of a served project, in headless Chromium (Debian: chromium)."""

from __future__ import annotations

import asyncio
import html
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import served
from patience import PATIENCE
from served import Site
from simulated_client import Finished

from aioboinc.serve.pages import status_page

EVIL = "</script><img src=x onerror=alert(1)>"


@pytest.fixture
def chromium(require: Callable[..., Path]) -> Path:
    return require("Chromium", shutil.which("chromium"), "apt-get install chromium")


async def page_at(chromium: Path, url: str, profile: Path) -> str:
    """Return the page at *url* as it is after twelve seconds, which pass as fast as they can."""
    process = await asyncio.create_subprocess_exec(
        chromium,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
        f"--user-data-dir={profile}",
        "--proxy-server=127.0.0.1:9",
        "--proxy-bypass-list=127.0.0.1",
        "--virtual-time-budget=12000",
        "--dump-dom",
        url,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={"PATH": os.environ["PATH"], "HOME": str(profile)},
    )
    async with asyncio.timeout(PATIENCE):
        output, _ = await process.communicate()
    return output.decode()


def text_of(page: str) -> str:
    body = page.partition("<main>")[2].partition("<script>")[0]
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", body)).split())


async def test_the_page_shows_what_there_is_and_refreshes_itself(
    chromium: Path, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0
    look = status_page.StatusPage.status

    async def counted(self: status_page.StatusPage, key: str) -> dict[str, object]:
        nonlocal looks
        looks += 1
        return await look(self, key)

    monkeypatch.setattr(status_page.StatusPage, "status", counted)
    async with site.batch(tmp_path / "proteins", 4, quorum=1) as batch:
        client = site.client(html.escape(EVIL))
        tasks = (await client.call(1e9, 2)).tasks
        await client.call(0, 0, [Finished(tasks[0].name, exit_status=3, state=3, stderr=EVIL)])
        await client.call(0, 0, [await client.compute(tasks[1], served.double)])
        await served.eventually(lambda: asyncio.sleep(0), lambda _: batch.outputs)
        page = await page_at(chromium, f"{site.url}?key={site.status_key}", tmp_path / "profile")
    text = text_of(page)
    assert looks >= 2
    assert "up to date at" in text
    assert "proteins" in text
    assert "1 / 4" in text
    assert "of 4 jobs" in page.replace('"', "")
    assert text.count(EVIL) == 3  # as text: the host's name, twice, and what was written to stderr
    assert page.count("<img") == 0
    assert f"exit status 3 {tasks[0].name} on {EVIL}, just now" in text
    assert f"boinccmd --project_attach {site.url} {site.key}" in text
    assert "1 of 1 host active" in text


async def test_an_empty_page_says_how_to_begin(chromium: Path, site: Site, tmp_path: Path) -> None:
    text = text_of(await page_at(chromium, site.url, tmp_path / "profile"))
    assert "No batch yet." in text
    assert "No computer is attached yet." in text
    assert "None since the server was started." in text
    assert f"boinccmd --project_attach {site.url} ACCOUNT_KEY" in text
