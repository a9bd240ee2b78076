"""Passkeys with a browser: Chromium's own WebAuthn, with its virtual authenticator, against the real helm edge."""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from pharos.demo.processes import free_port
from pharos.helm.web.app import make_loopback_app, serve_loopback
from tests.attacks.test_a58_phished_passkey import believe_any_origin
from tests.browser.chromium import PROGRAM, Page, PageError, open_page
from tests.support.helm import SampleHelm, open_helm
from tests.support.signin import invited

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(PROGRAM is None, reason="no Chromium on this machine"),
    pytest.mark.usefixtures("built_page"),
]

# What a page does: ask helm, let the browser make or sign, and give helm the browser's own JSON.
SCRIPT = """
window.ask = async (method, path, body) => {
  const headers = {'Content-Type': 'application/json'};
  if (window.csrf) headers['X-Pharos-CSRF'] = window.csrf;
  const answer = await fetch('/api/v1/session' + path, {method, headers, body: JSON.stringify(body)});
  const text = await answer.text();
  const said = text ? JSON.parse(text) : {};
  if (said.csrf) window.csrf = said.csrf;
  return {status: answer.status, said};
};
window.make = async (name) => {
  const {said} = await ask('POST', '/passkeys/options', {});
  const publicKey = PublicKeyCredential.parseCreationOptionsFromJSON(said);
  const credential = await navigator.credentials.create({publicKey});
  return await ask('POST', '/passkeys', {name, credential: credential.toJSON()});
};
window.sign = async (asked) => {
  const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON(asked);
  return (await navigator.credentials.get({publicKey})).toJSON();
};
window.enter = async (path, body) => {
  const {said} = await ask('POST', path + '/options', body);
  return await ask('POST', path, {credential: await sign(said)});
};
"""


@asynccontextmanager
async def served(tmp_path: Path) -> AsyncIterator[tuple[SampleHelm, int]]:
    port = free_port(socket.SOCK_STREAM)
    hosts = {f"localhost:{port}", f"127.0.0.1:{port}"}
    async with open_helm(tmp_path) as helm, trio.open_nursery() as nursery:
        await nursery.start(serve_loopback, make_loopback_app(helm.context, hosts), "127.0.0.1", port)
        yield helm, port
        nursery.cancel_scope.cancel()


async def plug_in(page: Page, *, verified: bool = True) -> str:
    """Give the tab a security key with room for passkeys; return its id."""
    await page.command("WebAuthn.enable")
    options = {
        "protocol": "ctap2",
        "transport": "internal",
        "hasResidentKey": True,
        "hasUserVerification": True,
        "isUserVerified": verified,
        "automaticPresenceSimulation": True,
    }
    added = await page.command("WebAuthn.addVirtualAuthenticator", options=options)
    return str(added["authenticatorId"])


async def does(page: Page, call: str) -> dict[str, Any]:
    with trio.fail_after(20):
        return dict(await page.evaluate(call))


async def test_chromium_makes_a_passkey_and_signs_in_by_it(tmp_path: Path) -> None:
    async with served(tmp_path) as (helm, port), open_page(f"http://127.0.0.1:{port}/devices") as page:
        assert await page.evaluate("location.href") == f"http://localhost:{port}/devices"
        await plug_in(page)
        await page.evaluate(SCRIPT)
        link = json.dumps({"link": await invited(helm.context)})
        assert (await does(page, f"ask('POST', '', {link})"))["status"] == 200
        made = await does(page, "make('chromium')")
        assert (made["status"], made["said"]["site"], made["said"]["synced"]) == (201, "localhost", False)
        with pytest.raises(PageError, match="registered"):
            await does(page, "make('the same again')")
        proof = await does(page, "enter('/passkeys/prove', {})")
        assert proof["status"] == 204
        for body in ("{}", "{name: 'ada'}"):
            assert (await does(page, "ask('DELETE', '')"))["status"] == 204
            await page.evaluate("window.csrf = ''")
            entered = await does(page, f"enter('/passkeys/sign-in', {body})")
            assert (entered["status"], entered["said"]["how"]) == (200, "passkey")


@pytest.mark.row(58)
@pytest.mark.red_inside
async def test_page_of_another_port_gets_a_signature_that_helm_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 58, with the browser that would be phished: it offers the passkey to any page of localhost."""
    folders = [tmp_path / name for name in ("helm", "elsewhere")]
    for folder in folders:
        folder.mkdir(mode=0o700)
    async with served(folders[0]) as (helm, port), served(folders[1]) as (_other, elsewhere):
        async with open_page(f"http://localhost:{port}/devices") as page:

            async def phished() -> int:
                """Let another program's page, which the admin opens, have helm's question answered; bring it home."""
                asked = (await does(page, "ask('POST', '/passkeys/prove/options', {})"))["said"]
                csrf = await page.evaluate("window.csrf")
                await page.go(f"http://localhost:{elsewhere}/devices")
                await page.evaluate(SCRIPT)
                signed = await does(page, f"sign({json.dumps(asked)})")
                await page.go(f"http://localhost:{port}/devices")
                await page.evaluate(SCRIPT + f"window.csrf = {json.dumps(csrf)};")
                answer = await does(page, f"ask('POST', '/passkeys/prove', {{credential: {json.dumps(signed)}}})")
                return int(answer["status"])

            await plug_in(page)
            await page.evaluate(SCRIPT)
            link = json.dumps({"link": await invited(helm.context)})
            await does(page, f"ask('POST', '', {link})")
            assert (await does(page, "make('chromium')"))["status"] == 201
            assert await phished() == 401
            believe_any_origin(monkeypatch, f"http://localhost:{elsewhere}")
            assert await phished() == 204
