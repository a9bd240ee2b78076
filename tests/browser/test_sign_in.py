"""Signing in with a browser: the real helm edge, the real page, a link that works once."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from pharos.demo.processes import free_port
from pharos.helm.web.app import make_loopback_app, serve_loopback
from tests.browser.chromium import PROGRAM, open_page
from tests.browser.test_overview import PATIENCE, shown
from tests.support.helm import SampleHelm, open_helm
from tests.support.signin import invited

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(PROGRAM is None, reason="no Chromium on this machine"),
    pytest.mark.usefixtures("built_page"),
]


@asynccontextmanager
async def served(tmp_path: Path) -> AsyncIterator[tuple[SampleHelm, str]]:

    port = free_port(socket.SOCK_STREAM)
    hosts = {f"localhost:{port}", f"127.0.0.1:{port}"}
    async with open_helm(tmp_path) as helm, trio.open_nursery() as nursery:
        await nursery.start(serve_loopback, make_loopback_app(helm.context, hosts), "127.0.0.1", port)
        yield helm, f"http://127.0.0.1:{port}"
        nursery.cancel_scope.cancel()


async def test_link_opens_the_page_once_and_leaves_the_address(tmp_path: Path) -> None:
    async with served(tmp_path) as (helm, address):
        link = await invited(helm.context, name="owner")
        async with open_page(f"{address}/#link={link}") as page:
            text = await shown(page, "document.querySelector('.sheet main h1')")
            assert "The fleet is empty" in text
            assert await page.evaluate("location.hash") == ""
            assert await page.evaluate("document.cookie") == "", "the cookie is not the page's to read"
        async with open_page(f"{address}/#link={link}") as page:
            with trio.fail_after(PATIENCE):
                await page.wait_for("document.querySelector('.trouble')?.textContent")
            assert "did not let you in" in await page.text()


async def test_whoever_has_no_link_is_asked_for_name_and_password(tmp_path: Path) -> None:
    async with served(tmp_path) as (_helm, address), open_page(address) as page:
        with trio.fail_after(PATIENCE):
            await page.wait_for("document.querySelector('.door form')")
        text = await page.text()
        assert "Sign in" in text
        assert "helm admins link" in text
        assert await page.evaluate("document.title") == "Sign in · PharosVPN"
