"""Rows 46, 47, 48 and 53 in a real browser: what a page of another port, or of another name, can do with helm.

Each attack is done first against helm without what stops it, so that it is known that Chromium would go along.
"""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest
import trio
from quart_trio import QuartTrio

from pharos.demo.processes import free_port
from pharos.helm.store.database import Database
from pharos.helm.web import app as module
from pharos.helm.web import live, session
from pharos.helm.web.app import make_loopback_app, serve_loopback
from tests.attacks.test_a48_websocket_hijack import believe
from tests.browser import chromium
from tests.browser.chromium import PROGRAM, Page, open_page
from tests.support.helm import SampleHelm, open_helm
from tests.support.http import serving
from tests.support.signin import invited

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(PROGRAM is None, reason="no Chromium on this machine"),
]

PATIENCE = 30
"""Seconds until Chromium has done what it was told to."""
ATTACKER = """<!doctype html><title>Win a prize</title><body><p>Nothing to see here</p></body>"""
# Resolves to what the page could read, and never fails.
FETCH = "fetch({url}, {options}).then(a => a.text()).then(t => 'read ' + t, e => 'kept out: ' + e)"
FORM = """new Promise(resolve => {{
    const frame = Object.assign(document.createElement('iframe'), {{name: 'hidden'}})
    document.body.append(frame)
    const form = Object.assign(document.createElement('form'), {{method: 'POST', action: {url}, target: 'hidden'}})
    document.body.append(form)
    frame.onload = () => resolve('sent')
    form.submit()
}})"""
LISTEN = """new Promise(resolve => {{
    const feed = new WebSocket({url})
    feed.onopen = () => feed.send({first})
    feed.onmessage = event => resolve(event.data)
    feed.onclose = event => resolve('closed ' + event.code)
}})"""


@attrs.frozen
class Scene:
    """helm, a browser that is signed in there, and a page of somebody else's on another port of the same machine."""

    helm: SampleHelm
    address: str
    evil: str
    page: Page

    async def run(self, script: str, **values: object) -> str:
        """Run a script of the page that is open, and return what it says."""
        with trio.fail_after(PATIENCE):
            words = {name: json.dumps(value) for name, value in values.items()}
            return str(await self.page.evaluate(script.format(**words)))

    async def links(self) -> int:
        """Return how many one-time links lie about: what the attacker wants to be made."""

        def count(db: Database) -> int:
            return int(db.execute("SELECT COUNT(*) FROM admin_links WHERE used_at IS NULL").fetchone()[0])

        return await self.helm.store.run(count)

    async def link_path(self) -> str:
        admin = await self.helm.store.run(lambda db: str(db.execute("SELECT id FROM admins").fetchone()[0]))
        return f"{self.address}/api/v1/admins/{admin}/link"


def folder(tmp_path: Path, name: str) -> Path:
    """Make another state directory."""
    path = tmp_path / name
    path.mkdir(mode=0o700)
    return path


@asynccontextmanager
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    """Sign in at helm, and leave for the attacker's page: cookies know no ports, so it is sent along there too."""
    port = free_port(socket.SOCK_STREAM)
    address = f"http://127.0.0.1:{port}"
    evil = QuartTrio(__name__, static_folder=None)
    evil.add_url_rule("/", "prize", lambda: ATTACKER)
    async with open_helm(tmp_path) as helm, serving(evil) as evil_port, trio.open_nursery() as nursery:
        app = make_loopback_app(helm.context, {f"127.0.0.1:{port}"})
        await nursery.start(serve_loopback, app, "127.0.0.1", port)
        # Any answer is a document of helm's origin; the built page is not needed to sign in.
        async with open_page(f"{address}/api/v1/session") as page:
            here = Scene(helm, address, f"http://127.0.0.1:{evil_port}", page)
            options = {
                "method": "POST",
                "headers": {"Content-Type": "application/json"},
                "body": json.dumps({"link": await invited(helm.context)}),
            }
            assert "csrf" in await here.run(FETCH, url=f"{address}/api/v1/session", options=options)
            await page.go(here.evil)
            yield here
        nursery.cancel_scope.cancel()


def without_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "guard_loopback", lambda _app, _hosts, scheme: None)


async def forge(here: Scene) -> int:
    """Do what a page of another origin can do to change something; return how much changed."""
    before, path = await here.links(), await here.link_path()
    simple = {"method": "POST", "mode": "no-cors", "credentials": "include"}
    await here.run(FETCH, url=path, options=simple)
    await here.run(FORM, url=path)
    # This one is asked about first (a CORS preflight), for no form could send it.
    loud = {"method": "POST", "credentials": "include", "headers": {"Content-Type": "application/json"}, "body": "{}"}
    assert "kept out" in await here.run(FETCH, url=path, options=loud)
    return await here.links() - before


async def test_a47_page_of_another_port_changes_nothing(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        assert await forge(here) == 0
        # Nor does it read anything.
        reading = {"credentials": "include"}
        assert "kept out" in await here.run(FETCH, url=f"{here.address}/api/v1/status", options=reading)


async def test_a47_turns_red_for_a_page_of_another_port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_guard(monkeypatch)
    with monkeypatch.context() as weakened:
        weakened.setattr(session, "_SAFE", frozenset(("GET", "POST")))
        async with scene(folder(tmp_path, "weakened")) as here:
            assert await forge(here) == 1
    # The token alone is enough.
    async with scene(folder(tmp_path, "token")) as here:
        assert await forge(here) == 0


@pytest.mark.red_inside
async def test_a48_page_of_another_port_hears_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def overhear(here: Scene) -> str:
        return await here.run(LISTEN, url=f"{here.address.replace('http', 'ws')}/api/v1/live", first="resync")

    async with scene(folder(tmp_path, "whole")) as here:
        # Refused before there is a WebSocket: 1006, abnormal closure.
        assert await overhear(here) == "closed 1006"
    without_guard(monkeypatch)
    async with scene(folder(tmp_path, "token")) as here:
        assert await overhear(here) == "closed 4408"
    monkeypatch.setattr(live, "wait_proven", believe)
    async with scene(folder(tmp_path, "weakened")) as here:
        assert "snapshot" in await overhear(here)


async def test_a48_own_page_hears_the_fleet(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        await here.page.go(f"{here.address}/api/v1/session")
        me = await here.run(FETCH, url=f"{here.address}/api/v1/session", options={})
        token = json.loads(me.removeprefix("read "))["csrf"]
        feed = f"{here.address.replace('http', 'ws')}/api/v1/live"
        assert "snapshot" in await here.run(LISTEN, url=feed, first=token)
        assert await here.run(LISTEN, url=feed, first="guess") == "closed 4408"


async def framed(here: Scene) -> str:
    """Put helm into a frame of the attacker's page; return the address of what is shown there."""
    show = """new Promise(resolve => {{
        const frame = Object.assign(document.createElement('iframe'), {{src: {url}}})
        frame.onload = () => resolve('loaded')
        document.body.append(frame)
    }})"""
    await here.run(show, url=f"{here.address}/api/v1/session")
    tree = await here.page.command("Page.getFrameTree")
    (child,) = tree["frameTree"]["childFrames"]
    return str(child["frame"]["url"])


@pytest.mark.red_inside
async def test_a53_frame_of_another_page_stays_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with scene(folder(tmp_path, "whole")) as here:
        assert (await framed(here)).startswith("chrome-error:")
        # What no frame shows, a script or a picture does not get either.
        blocked = {"mode": "no-cors", "credentials": "include"}
        assert "kept out" in await here.run(FETCH, url=f"{here.address}/", options=blocked)
    without_guard(monkeypatch)
    async with scene(folder(tmp_path, "weakened")) as here:
        assert await framed(here) == f"{here.address}/api/v1/session"


@pytest.mark.red_inside
async def test_a46_rebound_name_gets_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rules = "--host-resolver-rules=MAP rebound.example 127.0.0.1"
    monkeypatch.setattr(chromium, "FLAGS", (*chromium.FLAGS, rules))

    async def rebind(here: Scene) -> str:
        name = here.address.replace("127.0.0.1", "rebound.example")
        await here.page.go(f"{name}/api/v1/session")
        # By now the page is of helm's origin, as far as the browser can tell.
        return await here.run(FETCH, url=f"{name}/api/v1/session", options={"credentials": "include"})

    async with scene(folder(tmp_path, "whole")) as here:
        assert "this helm is not" in await rebind(here)
    without_guard(monkeypatch)
    async with scene(folder(tmp_path, "weakened")) as here:
        assert "sign in" in await rebind(here)
