"""The wizard that lets a machine join: nothing is sent before the host key was compared; it survives being left."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Browser, expect

from tests.browser.tabs import IN_CHROMIUM, open_tab, signed_in
from tests.support.sshd import needs_sshd, running_sshd
from tests.support.webfleet.driver import WebFleet

pytestmark = [*IN_CHROMIUM, needs_sshd]

FLEET = {"nodes": 1, "devices": 1}


def test_wizard_streams_waits_for_a_person_and_takes_it_back(browser: Browser, fleet: WebFleet, tmp_path: Path) -> None:
    with (
        running_sshd(tmp_path / "sshd") as server,
        open_tab(browser, fleet.address, cookie=signed_in(fleet, "ada")) as tab,
    ):
        tab.go("/nodes/add")
        user, port = server.destination.user, server.port
        tab.page.get_by_label("Machine").fill(f"{user}@127.0.0.1:{port}")
        tab.page.get_by_label("Name", exact=True).fill("amsterdam")
        tab.page.get_by_role("button", name="Add it").click()
        expect(tab.page.get_by_text("Is this the machine’s own key?")).to_be_visible()
        expect(tab.page.get_by_text(server.fingerprint, exact=True)).to_be_visible()
        # Another key is told at once, before anything is sent.
        paste = tab.page.get_by_label("What the machine itself shows")
        paste.fill("SHA256:" + "A" * 43)
        expect(tab.page.get_by_text("This is another key")).to_be_visible()
        paste.fill(server.fingerprint)
        expect(tab.page.get_by_text("They agree")).to_be_visible()
        # The stream is there for whoever comes back.
        where = tab.page.url
        tab.follow("/nodes")
        tab.page.goto(where)
        expect(tab.page.get_by_text(server.fingerprint, exact=True)).to_be_visible()
        tab.page.get_by_role("button", name="It is the same").click()
        # helm's own key is not let in there, so it asks for a password, and is told to stop.
        expect(
            tab.page.get_by_text("Waits for you").or_(tab.page.get_by_text("Did not come to its end")).first
        ).to_be_visible()
        stop = tab.page.get_by_role("button", name="Stop")
        if stop.count():
            stop.first.click()
        assert not fleet.get("/nodes?name=amsterdam")["items"]
        assert (tab.violations, tab.strangers) == ([], [])
    assert "Accepted" not in server.log
