"""Whom single sign-on does not let in: back at helm's door, which says so in a sentence and nothing more."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import trio

from pharos.demo.processes import free_port
from pharos.helm.web.app import make_loopback_app, serve_loopback
from tests.browser.chromium import PROGRAM, open_page
from tests.browser.test_oidc import PATIENCE
from tests.helm.web.test_oidc import MAPPING, put_all
from tests.support.helm import open_helm
from tests.support.oidcprovider import CLIENT, running_provider

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(PROGRAM is None, reason="no Chromium on this machine"),
    pytest.mark.usefixtures("built_page"),
]

ALERT = "(document.querySelector('[role=alert]')?.textContent.trim() ?? '')"
SENTENCE = "Single sign-on did not let you in. Try again, or come in another way."


async def test_person_without_a_group_is_back_at_the_door(tmp_path: Path) -> None:
    port = free_port(socket.SOCK_STREAM)
    page_address = f"http://localhost:{port}"
    async with (
        running_provider("127.0.0.1", asks=True, claims={"groups": ["strangers"]}) as provider,
        open_helm(tmp_path) as helm,
        trio.open_nursery() as nursery,
    ):
        settings = {"oidc.issuer": provider.issuer, "oidc.client_id": CLIENT, "oidc.roles": MAPPING}
        await helm.store.run(put_all, settings)
        app = make_loopback_app(helm.context, {f"localhost:{port}"})
        await nursery.start(serve_loopback, app, "127.0.0.1", port)
        async with open_page(page_address) as page:
            with trio.fail_after(PATIENCE):
                single = "document.querySelector('a[href$=\"/session/oidc\"]')"
                await page.wait_for(f"{single} !== null")
                await page.evaluate(f"{single}.click()")
                await page.wait_for("document.querySelector('button')?.textContent === 'It is me'")
                await page.evaluate("document.querySelector('button').click()")
                await page.wait_for(f"{ALERT} === '{SENTENCE}'")
                # The word that brought the sentence is gone from the address: a reload says nothing.
                assert await page.evaluate("location.href") == f"{page_address}/"
                assert "oidc.roles" not in await page.text()
                await page.go(page_address)
                await page.wait_for(f"{single} !== null")
                assert await page.evaluate(ALERT) == ""
        nursery.cancel_scope.cancel()
