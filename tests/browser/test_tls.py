"""The page over TLS in a real browser: the PKCS #12 file in its own store, a session bound to it, and its end."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from pharos.helm.accounts.admins import make_link
from pharos.helm.accounts.browsers import revoke_browser
from pharos.helm.ca.webkey import web_credentials
from pharos.wire.pki.profile import encode_spki
from tests.browser import chromium
from tests.browser.chromium import PROGRAM, Page, open_page
from tests.browser.test_attacks import FETCH, LISTEN, PATIENCE
from tests.support import nssstore
from tests.support.helm import SampleHelm, now, open_helm, sample_act
from tests.support.webtls import new_admin, new_browser, serving_tls

# Where Debian's Chromium looks for its policies. Only there can it be told which certificate to show without asking.
POLICIES = Path("/etc/chromium")


def may_mount() -> bool:
    return subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode == 0


pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(PROGRAM is None, reason="no Chromium on this machine"),
    pytest.mark.skipif(
        os.geteuid() != 0 or not POLICIES.is_dir() or not may_mount(),
        reason="giving Chromium a policy of its own takes root, as CI has it",
    ),
]


@asynccontextmanager
async def looking(helm: SampleHelm, port: int, home: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Page]:
    """Open helm's page in a browser whose home, with its certificates, is ``home``."""
    shows = (await helm.store.run(web_credentials, helm.vault, now=now())).certificate
    pin = base64.b64encode(hashlib.sha256(encode_spki(shows.public_key())).digest()).decode()
    policies = home / "chromium/policies/managed"
    policies.mkdir(parents=True)
    choice = json.dumps({"pattern": f"https://localhost:{port}", "filter": {}})
    (policies / "pharos.json").write_text(json.dumps({"AutoSelectCertificateForUrls": [choice]}))
    program = home / "browser"
    hidden = f'mount --bind {home / "chromium"} {POLICIES} && exec {PROGRAM} "$@"'
    program.write_text(f"#!/bin/sh\nexec unshare -m sh -c '{hidden}' sh \"$@\"\n")
    program.chmod(0o755)
    with monkeypatch.context() as patched:
        patched.setenv("HOME", str(home))
        patched.setattr(chromium, "PROGRAM", str(program))
        # As if localhost.pem had been imported: this key is believed, and no other.
        patched.setattr(chromium, "FLAGS", (*chromium.FLAGS, f"--ignore-certificate-errors-spki-list={pin}"))
        async with open_page(f"https://localhost:{port}/api/v1/session") as page:
            yield page


def take_home(home: Path, store: bytes, password: str) -> None:
    """Import a file into the store of the browser whose home this is."""
    folder = home / ".pki/nssdb"
    folder.mkdir(parents=True)
    (home / "ada.p12").write_bytes(store)
    command = [sys.executable, nssstore.__file__, str(home / "ada.p12"), str(folder)]
    subprocess.run(command, input=password + "\n", text=True, check=True)


async def run(page: Page, script: str, **values: object) -> str:
    with trio.fail_after(PATIENCE):
        return str(await page.evaluate(script.format(**{name: json.dumps(value) for name, value in values.items()})))


async def test_certificate_opens_the_page_binds_the_session_and_ends_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state, home = tmp_path / "state", tmp_path / "home"
    state.mkdir(mode=0o700)
    async with open_helm(state) as helm, serving_tls(helm) as edge:
        bob = await new_admin(helm, "bob")
        made, _ = await new_browser(helm, bob)
        await trio.to_thread.run_sync(take_home, home, made.store, made.password)
        async with looking(helm, edge.port, home, monkeypatch) as page:
            site = f"https://localhost:{edge.port}"
            assert "sign in" in await page.text()
            options = {
                "method": "POST",
                "headers": {"Content-Type": "application/json"},
                "body": json.dumps({"link": await helm.store.run(make_link, sample_act(), bob)}),
            }
            me = json.loads((await run(page, FETCH, url=f"{site}/api/v1/session", options=options))[5:])
            cookies = (await page.command("Network.getCookies"))["cookies"]
            assert [(c["name"], c["secure"], c["httpOnly"], c["path"], c["sameSite"]) for c in cookies] == [
                ("__Host-pharos_session", True, True, "/", "Strict")
            ]
            bound = await helm.store.run(lambda db: [row[0] for row in db.execute("SELECT bound FROM admin_sessions")])
            assert bound == [made.certificate.id]
            feed = f"wss://localhost:{edge.port}/api/v1/live"
            assert "snapshot" in await run(page, LISTEN, url=feed, first=me["csrf"])
            await page.evaluate(f"window.feed = new WebSocket({feed!r})")
            await page.evaluate("feed.onclose = event => { window.ended = event.code }")
            with trio.fail_after(PATIENCE):
                await page.wait_for("feed.readyState === WebSocket.OPEN")
                await helm.store.run(lambda db: revoke_browser(db, sample_act(), bob, made.certificate.id))
                await page.wait_for("window.ended === 1006")
            assert "kept out" in await run(page, FETCH, url=f"{site}/api/v1/session", options={})


async def test_browser_without_a_certificate_is_shown_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state, home = tmp_path / "state", tmp_path / "home"
    state.mkdir(mode=0o700)
    home.mkdir()
    async with open_helm(state) as helm, serving_tls(helm) as edge:
        async with looking(helm, edge.port, home, monkeypatch) as page:
            assert (await run(page, "location.href")).startswith("chrome-error:")
            assert "sign in" not in await page.text()
