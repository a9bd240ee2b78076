"""Single sign-on with a browser: from helm's page to a provider on another site, and back with a session."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import trio

from pharos.demo.processes import free_port
from pharos.helm.web.app import make_loopback_app, serve_loopback
from tests.browser.chromium import PROGRAM, open_page
from tests.helm.web.test_oidc import MAPPING, put_all
from tests.support.helm import open_helm
from tests.support.oidcprovider import CLIENT, running_provider

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(PROGRAM is None, reason="no Chromium on this machine"),
    pytest.mark.usefixtures("built_page"),
]

PATIENCE = 60
"""Seconds; a browser starts slowly on a machine that is busy with the rest of the suite."""


async def test_person_comes_back_from_another_site_signed_in(tmp_path: Path) -> None:
    """The guard, SameSite and the browser's own idea of where a request comes from, all at once."""
    port = free_port(socket.SOCK_STREAM)
    page_address = f"http://localhost:{port}"
    async with (
        running_provider("127.0.0.1", asks=True) as provider,
        open_helm(tmp_path) as helm,
        trio.open_nursery() as nursery,
    ):
        settings = {"oidc.issuer": provider.issuer, "oidc.client_id": CLIENT, "oidc.roles": MAPPING}
        await helm.store.run(put_all, settings)
        app = make_loopback_app(helm.context, {f"localhost:{port}"})
        await nursery.start(serve_loopback, app, "127.0.0.1", port)
        async with open_page(page_address) as page:
            with trio.fail_after(PATIENCE):
                await page.evaluate("location.href = '/api/v1/session/oidc'")
                await page.wait_for("document.querySelector('button')?.textContent === 'It is me'")
                assert await page.evaluate("location.host") == provider.issuer.removeprefix("http://")
                await page.evaluate("document.querySelector('button').click()")
                await page.wait_for(f"location.href === '{page_address}/'")
                me = await page.evaluate("fetch('/api/v1/session').then(answer => answer.json())")
            assert (me["name"], me["role"], me["how"]) == ("ada@example.org", "operator", "oidc")
            # Another site's page makes no browser begin: it says so, and nothing is pending.
            with trio.fail_after(PATIENCE):
                await page.go(f"{provider.issuer}/keys")
                await page.evaluate(f"location.href = '{page_address}/api/v1/session/oidc'")
                await page.wait_for("document.body.innerText.includes('another site')")
        nursery.cancel_scope.cancel()
