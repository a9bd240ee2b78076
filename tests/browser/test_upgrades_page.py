"""Upgrades from the page: nodes are chosen in the list, a look changes nothing, a failure is told, and it stops."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, expect

from pharos.demo.processes import free_port
from tests.browser.tabs import IN_CHROMIUM, Tab
from tests.browser.watched import watched
from tests.support.sshd import needs_sshd, running_sshd
from tests.support.webfleet.driver import WebFleet

pytestmark = [*IN_CHROMIUM]

FLEET = {"nodes": 3, "devices": 1}


def reach_by(fleet: WebFleet, name: str, port: int) -> dict[str, Any]:
    """Say by which port of this machine ssh reaches a node."""
    node = fleet.find("nodes", name)
    fleet.act("PATCH", f"/nodes/{node['id']}", {"ssh_destination": f"root@127.0.0.1:{port}"}, version=node["version"])
    return node


def choose(tab: Tab, *names: str) -> None:
    """Choose nodes in the list, and go to their upgrade."""
    tab.go("/nodes")
    for name in names:
        tab.page.locator("tbody tr[data-id]", has_text=name).get_by_role("checkbox").check()
    group = tab.page.get_by_role("group", name="selected")
    group.get_by_role("button", name=f"Upgrade {len(names)}").click()
    tab.page.wait_for_url("**/nodes/upgrades?*")
    who = tab.page.get_by_role("group", name="Who is upgraded").last
    expect(who.get_by_role("checkbox", checked=True)).to_have_count(len(names))
    for name in names:
        expect(who.get_by_role("checkbox", name=name)).to_be_checked()


@needs_sshd
def test_look_and_upgrade_tell_why_nobody_is_upgraded(browser: Browser, fleet: WebFleet, tmp_path: Path) -> None:
    """Nobody has compared that machine's host key, and helm takes none by itself."""
    with running_sshd(tmp_path / "sshd") as server, watched(browser, fleet, "ada", role="admin") as tab:
        for name in ("node-000", "node-001"):
            reach_by(fleet, name, server.port)
        choose(tab, "node-000", "node-001")
        for button, state in (("Only look", "Rehearsal"), ("Upgrade 2 to", "Not all went well")):
            tab.page.get_by_role("button", name=button).click()
            run = tab.page.get_by_role("region", name="This upgrade")
            expect(run.get_by_role("status")).to_contain_text(state)
            expect(run.get_by_role("status")).to_contain_text("2 of 2 have ended, by ada")
            canary, other = run.locator("li", has_text="node-000"), run.locator("li", has_text="node-001")
            expect(canary).to_contain_text("nothing was changed")
            expect(canary).to_contain_text("host key")
            # The canary was not well, so nobody else is touched.
            expect(other).to_contain_text("not begun: another one had failed")
        newest, first = fleet.get("/upgrades")["items"]
        assert (newest["state"], newest["dry_run"], first["dry_run"]) == ("failed", False, True)
        assert newest["members"] == ["node-000", "node-001"]
        # The one before is told of below.
        expect(tab.page.get_by_role("region", name="Before")).to_contain_text("Rehearsal")
    assert "Accepted" not in server.log


def test_machine_that_cannot_be_reached_is_told_of_and_tried_until_stopped(browser: Browser, fleet: WebFleet) -> None:
    reach_by(fleet, "node-002", free_port(socket.SOCK_STREAM))
    with watched(browser, fleet, "bob", role="admin") as tab:
        choose(tab, "node-002")
        tab.page.get_by_role("button", name="Upgrade 1 to").click()
        run = tab.page.get_by_role("region", name="Under way")
        expect(run.locator("li", has_text="node-002")).to_contain_text("connects")
        expect(run.get_by_role("log")).to_contain_text("Connection refused")
        # There is one at a time.
        expect(tab.page.get_by_role("button", name="Upgrade 1 to")).to_have_attribute("aria-disabled", "true")
        run.get_by_role("button", name="Stop").click()
        ended = tab.page.get_by_role("region", name="This upgrade")
        expect(ended.get_by_role("status")).to_contain_text("Stopped")
        expect(ended).to_contain_text("the same upgrade again goes on where this one was")
        expect(ended.locator("li", has_text="node-002")).to_contain_text("was stopped here")
        assert fleet.get("/upgrades")["items"][0]["state"] == "stopped"
        expect(tab.page.get_by_role("button", name="Upgrade 1 to")).not_to_have_attribute("aria-disabled", "true")
