"""The desk on three machines: at helm's own, and on two admins' by `caravel admin ui`, each in a network of its own."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import attrs
import pytest
import trio
from playwright.sync_api import Browser, Playwright, expect, sync_playwright

from tests.browser.tabs import FLAGS, IN_CHROMIUM, PROGRAM, Tab, open_tab
from tests.system.lab.fleet import LabFleet, running_fleet
from tests.system.needs import missing_for_lab

pytestmark = [*IN_CHROMIUM]

HELM = "http://localhost:8440"
CLIENTS = ("clienta", "clientb")


@attrs.frozen
class Desk:
    """A machine with a browser: where the page is there, and what lets its admin in."""

    host: str
    address: str
    door: str
    """The link that `caravel admin ui` printed; helm's own page needs none."""
    secret: str
    """Of the admin's one-time link."""


@pytest.fixture(autouse=True)
def in_a_lab(built_page: None) -> None:
    if missing := missing_for_lab():
        pytest.skip(missing)


async def make_admin(fleet: LabFleet, name: str, device_id: str | None) -> str:
    admin = await fleet.ask("POST", "/api/v1/admins", {"name": name, "role": "owner"})
    if device_id is not None:
        await fleet.ask("POST", f"/api/v1/admins/{admin['id']}/give-device", {"device": device_id})
    return str((await fleet.ask("POST", f"/api/v1/admins/{admin['id']}/link"))["link"])


async def open_desk(fleet: LabFleet, host: str) -> Desk:
    """Enrol the machine, give it to an admin of its name, and serve the page on its loopback."""
    await fleet.enrol(host)
    (device,) = (await fleet.ask("GET", f"/api/v1/devices?name={host}"))["items"]
    secret = await make_admin(fleet, f"admin of {host}", device["id"])
    state = str(fleet.lab.folder / f"caravel-{host}")
    words = [sys.executable, "-m", "pharos", "caravel", "admin", "ui", "--no-open", "--json", "--state", state]
    serving = await fleet.lab.start(host, *words)
    while not (said := serving.log.read_text()).rstrip().endswith("}"):
        fleet.lab.check()
        await trio.sleep(0.05)
    told = json.loads(said)
    return Desk(host, told["address"], told["link"], secret)


@contextmanager
def chromium_at(playwright: Playwright, fleet: LabFleet, host: str) -> Iterator[Browser]:
    """Run a browser in the network of a host; it is spoken to by a pipe, which needs none."""
    assert PROGRAM is not None
    wrapper = fleet.lab.folder / f"chromium-{host}"
    wrapper.write_text(f'#!/bin/sh\nexec {shlex.join(fleet.lab.words(host, [PROGRAM]))} "$@"\n')
    wrapper.chmod(0o755)
    browser = playwright.chromium.launch(executable_path=str(wrapper), args=[*FLAGS])
    try:
        yield browser
    finally:
        browser.close()


@contextmanager
def signed_in_at(playwright: Playwright, fleet: LabFleet, desk: Desk) -> Iterator[Tab]:
    with chromium_at(playwright, fleet, desk.host) as browser, open_tab(browser, desk.address) as tab:
        tab.page.on(
            "response",
            lambda r: (
                "api" in r.url
                and print(desk.host, r.status, r.request.method, r.url, r.text()[:200] if r.status >= 400 else "")
            ),
        )
        if desk.door:
            tab.page.goto(desk.door)
            expect(tab.page.get_by_role("button", name="Sign in", exact=True)).to_be_visible()
        tab.page.goto(f"{desk.address}/#link={desk.secret}")
        expect(tab.page.locator("[data-live=live]")).to_be_visible()
        yield tab


def agree(fleet: LabFleet, desks: list[Desk], ask: trio.lowlevel.TrioToken) -> None:
    """Look from all three at what one of them, a terminal and the fleet itself do."""

    def at_helm(method: str, path: str, body: object = None) -> dict[str, object]:
        return trio.from_thread.run(fleet.ask, method, path, body, trio_token=ask)

    with sync_playwright() as playwright, ExitStack() as stack:
        tabs = [stack.enter_context(signed_in_at(playwright, fleet, desk)) for desk in desks]
        for tab in tabs:
            tab.follow("/devices?sort=name")
            expect(tab.page.locator("tbody tr[data-id]")).to_have_count(2)
        # A terminal at helm adds somebody; everybody's count moves.
        at_helm("POST", "/api/v1/users", {"name": "Ada"})
        for tab in tabs:
            expect(tab.page.locator('.side a[href="/users"] .n')).to_have_text("1")
        # One admin, on a machine of their own, disables the other's neighbour: two machines see it, and helm's own.
        far = tabs[1].page
        far.locator("tbody tr[data-id]", has_text="clientb").click()
        far.get_by_role("complementary").get_by_role("button", name="Disable").first.click()
        for tab in (tabs[0], tabs[1]):
            expect(tab.page.locator("tbody tr[data-id]", has_text="clientb")).to_contain_text("Disabled")
        # And the disabled machine's own desk is shut, for its passage is cut.
        expect(tabs[2].page.locator("[data-live=live]")).to_have_count(0)
        told = [tab.page.locator("tbody tr[data-id] td:first-child").all_inner_texts() for tab in tabs[:2]]
        assert told[0] == told[1]
        assert [tab.violations for tab in tabs] == [[], [], []]


async def test_three_machines_agree(tmp_path: Path) -> None:
    async with running_fleet(tmp_path, timeout=180) as fleet:
        desks = [Desk("helm", HELM, "", await make_admin(fleet, "admin of helm", None))]
        for host in CLIENTS:
            desks.append(await open_desk(fleet, host))
        # Nobody but the machine itself reaches a desk.
        elsewhere = await fleet.lab.run(
            "buoya", "sh", "-c", f"curl -s -m 3 http://{fleet.lab.host('clienta').address(4)}:8440/; echo $?"
        )
        assert elsewhere.strip() != "0"
        await trio.to_thread.run_sync(agree, fleet, desks, trio.lowlevel.current_trio_token())
