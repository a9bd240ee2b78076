"""An admin at the desk from another machine: helm's page and API over the device's passage, through a real beacon."""

from __future__ import annotations

import functools
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
from click.testing import CliRunner, Result
from wsproto.events import TextMessage

from pharos.caravel.admin.page import AdminPage, open_admin
from pharos.caravel.cli import main
from pharos.caravel.errors import HelmRefusedError
from pharos.wire.console import Exit
from pharos.wire.seal.ticket import TicketLink
from tests.support.fleet import Fleet, running_fleet
from tests.support.http import WebSocket, open_websocket

pytestmark = pytest.mark.journey

SESSION = "/api/v1/session"
PASSWORD = "correct horse battery"


class Browser:
    """A browser on the admin's machine, which has opened the link."""

    def __init__(self, page: AdminPage, client: httpx.AsyncClient) -> None:
        self.page = page
        self.client = client
        self.csrf = ""

    @property
    def host(self) -> str:
        return self.page.address.removeprefix("http://")

    async def sign_in(self, link: str) -> None:
        answer = await self.client.post(SESSION, json={"link": link})
        assert answer.status_code == 200, answer.text
        self.csrf = answer.json()["csrf"]
        self.client.headers["X-Pharos-CSRF"] = self.csrf

    @property
    def cookies(self) -> tuple[str, str]:
        return "Cookie", "; ".join(f"{name}={value}" for name, value in self.client.cookies.items())

    @asynccontextmanager
    async def live(self) -> AsyncIterator[WebSocket]:
        headers = [self.cookies, ("Origin", self.page.address)]
        opened = open_websocket(self.page.guard.port, "/api/v1/live?snapshot=no", *headers, host=self.host)
        async with opened as feed:
            assert isinstance(feed, WebSocket), feed
            await feed.send(TextMessage(data=self.csrf))
            yield feed


@asynccontextmanager
async def browsing(fleet: Fleet, device: str = "laptop") -> AsyncIterator[Browser]:
    async with (
        fleet.client(device) as client,
        open_admin(client, port=0) as page,
        httpx.AsyncClient(base_url=page.address, timeout=20) as browser,
    ):
        opened = await browser.get(page.link)
        assert (opened.status_code, opened.headers["location"]) == (303, "/")
        yield Browser(page, browser)


async def give(fleet: Fleet, device_id: str, *, name: str = "ada", role: str = "owner") -> str:
    """Make an admin whose device this is; return the secret of a link."""
    admin = await fleet.ask("POST", "/api/v1/admins", {"name": name, "role": role})
    await fleet.ask("POST", f"/api/v1/admins/{admin['id']}/give-device", {"device": device_id})
    return str((await fleet.ask("POST", f"/api/v1/admins/{admin['id']}/link"))["link"])


async def delta(feed: WebSocket, kind: str) -> dict[str, Any]:
    while True:
        message = await feed.receive()
        assert isinstance(message, str), message
        for found in json.loads(message).get("deltas", ()):
            if found["kind"] == kind:
                return dict(found)


async def caravel_admin(fleet: Fleet, *arguments: str, stdin: str = "", device: str = "laptop") -> Result:
    runner, state = CliRunner(), str(fleet.folder / f"device-{device}")
    return await trio.to_thread.run_sync(
        lambda: runner.invoke(main, ["admin", *arguments, "--state", state], input=stdin)
    )


async def test_admin_reads_follows_and_acts_from_elsewhere(tmp_path: Path) -> None:
    async with running_fleet(tmp_path, reality=False, timeout=120) as fleet:
        laptop, phone = await fleet.enrol(), await fleet.enrol("phone")
        async with fleet.client() as client:
            with pytest.raises(HelmRefusedError, match="no admin's"):
                async with open_admin(client, port=0):
                    pass
        link = await give(fleet, laptop.device_id)
        async with browsing(fleet) as browser:
            assert (await browser.client.get("/api/v1/devices")).status_code == 401
            await browser.sign_in(link)
            for _ in range(20):
                listed = await browser.client.get("/api/v1/devices?sort=name")
                assert [device["name"] for device in listed.json()["items"]] == ["laptop", "phone"]
            async with browser.live() as feed:
                device = (await browser.client.get(f"/api/v1/devices/{phone.device_id}")).json()
                acted = await browser.client.post(
                    f"/api/v1/devices/{phone.device_id}/disable", headers={"If-Match": f'"{device["version"]}"'}
                )
                assert acted.json()["state"] == "disabled"
                assert (await delta(feed, "device_disabled"))["actor"] == "ada"
                # Whose passage it is that stays in touch is another matter: a sync puts no page out.
                async with fleet.client() as client:
                    await client.sync()
                await fleet.move_device("phone", "enable")
                assert (await delta(feed, "device_enabled"))["actor"] == "operator"
            assert (await browser.client.put(f"{SESSION}/password", json={"password": PASSWORD})).status_code == 204
            await act_by_commands(fleet)
            async with browser.live() as feed:
                assert isinstance(await feed.receive(), str)
                await fleet.move_device("laptop", "revoke")
                with trio.fail_after(2):
                    while isinstance(await feed.receive(), str):
                        pass
            assert (await browser.client.get("/api/v1/devices")).status_code in (403, 503)
        for verb, via in (("device_disabled", "session"), ("device_enabled", "socket")):
            (row,) = (await fleet.ask("GET", f"/api/v1/audit?verb={verb}"))["items"]
            assert (row["via"], row["subject"]) == (via, phone.device_id)


async def act_by_commands(fleet: Fleet) -> None:
    """Sign in, look and act by commands, which have a passage of their own beside the page's."""
    nobody = await caravel_admin(fleet, "status")
    assert (nobody.exit_code, "caravel admin login" in nobody.stderr) == (Exit.REFUSED, True)
    wrong = await caravel_admin(fleet, "login", "ada", "--stdin", stdin="hunter22222\n\n")
    assert wrong.exit_code == Exit.REFUSED
    came = await caravel_admin(fleet, "login", "ada", "--stdin", "--json", stdin=f"{PASSWORD}\n\n")
    assert json.loads(came.stdout)["role"] == "owner", came.output
    seen = json.loads((await caravel_admin(fleet, "status", "--json")).stdout)
    assert (seen["nodes"], seen["relays"]["down"]) == ({"up": 1, "down": []}, [])
    assert "phone" in (await caravel_admin(fleet, "devices")).stdout
    invited = await caravel_admin(fleet, "invite", "tablet")
    TicketLink.parse(invited.stdout.strip())
    assert (await caravel_admin(fleet, "revoke", "phone")).stdout == "phone is revoked\n"
    assert (await caravel_admin(fleet, "revoke", "nothing")).exit_code == Exit.FAILED
    assert (await caravel_admin(fleet, "logout")).exit_code == Exit.DONE
    assert (await caravel_admin(fleet, "devices")).exit_code == Exit.REFUSED
    await open_by_command(fleet)


async def open_by_command(fleet: Fleet) -> None:
    """Let the command serve the page, and end it as people do."""
    command = [sys.executable, "-c", "from pharos.caravel.cli import main; main()", "admin", "ui", "--no-open"]
    options = ["--port", "0", "--state", str(fleet.folder / "device-laptop")]
    async with trio.open_nursery() as nursery:
        process: trio.Process = await nursery.start(
            functools.partial(trio.run_process, [*command, *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        )
        assert process.stdout is not None
        link = (await process.stdout.receive_some()).decode().strip()
        async with httpx.AsyncClient(follow_redirects=True) as browser:
            # Whoever has built no page is told so, by helm.
            assert (await browser.get(link)).status_code in (200, 404)
            assert (await browser.get(f"{httpx.URL(link).copy_with(path='/api/v1/session')}")).status_code == 401
        process.send_signal(signal.SIGINT)
