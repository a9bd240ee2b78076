"""An owner exchanges the fleet's keys: by the recovery kit, with a fresh proof, and sees whom it waits for."""

from __future__ import annotations

from typing import Final

from playwright.sync_api import Browser, Locator, expect

from pharos.helm.ca.vault import RecoveryKit
from pharos.wire.link import DELAY_CAP
from tests.browser.tabs import IN_CHROMIUM, PATIENCE, Tab
from tests.browser.test_journeys import EVERYWHERE
from tests.browser.watched import watched
from tests.support.webfleet.driver import WebFleet

pytestmark = [*IN_CHROMIUM]

FLEET = {"nodes": 2, "devices": 2}
PASSWORD = "a quiet harbour at night"
REDIALLED: Final = 1_000 * DELAY_CAP
"""Milliseconds after which helm has dialled again for sure."""
REFUSAL = "Failed to load resource"


def set_password(tab: Tab) -> None:
    """Give the admin a password, as their account page would."""
    session = f"{tab.address}/api/v1/session"
    csrf = tab.page.request.get(session).json()["csrf"]
    done = tab.page.request.put(f"{session}/password", data={"password": PASSWORD}, headers={"X-Pharos-CSRF": csrf})
    assert done.ok, done.text()


def open_kit_step(tab: Tab) -> Locator:
    """Go to where the kit is asked for."""
    tab.page.get_by_role("button", name="Rotate keys").click()
    dialog = tab.page.get_by_role("dialog")
    expect(dialog.get_by_role("checkbox")).to_have_count(4)
    dialog.get_by_role("button", name="Next").click()
    return dialog


def test_rotation_takes_kit_and_proof_and_tells_whom_it_waits_for(browser: Browser, fleet: WebFleet) -> None:
    kit = str(fleet.ask("kit"))
    with watched(browser, fleet, "ada", meant=(REFUSAL,)) as tab:
        set_password(tab)
        fleet.ask("age_proofs")
        tab.go("/certificates")
        expect(tab.page.get_by_text("No rotation is under way.")).to_be_visible()
        dialog = open_kit_step(tab)
        # Another fleet's kit is well written, and opens nothing here.
        dialog.get_by_label("Recovery kit").fill(RecoveryKit.create().printed())
        dialog.get_by_role("button", name="Begin the rotation").click()
        proof = tab.page.get_by_role("dialog", name="Show that it is you")
        # Whoever does not show who they are has changed nothing.
        expect(proof.get_by_label("Password")).to_be_focused()
        tab.page.keyboard.press("Escape")
        expect(proof).to_have_count(0)
        expect(tab.page.get_by_text("there was no fresh proof")).to_be_visible()
        dialog.get_by_role("button", name="Begin the rotation").click()
        proof.get_by_label("Password").fill(PASSWORD)
        tab.page.keyboard.press("Enter")
        expect(tab.page.get_by_text("not the recovery kit of this fleet")).to_be_visible()
        expect(dialog).to_be_visible()
        assert fleet.get("/ca")["rotation"] is None
        # The right one does; the proof of a moment ago counts. One node is away meanwhile.
        fleet.ask("cut", node="node-001")
        dialog.get_by_label("Recovery kit").fill(kit)
        dialog.get_by_role("button", name="Begin the rotation").click()
        expect(dialog).to_have_count(0)
        expect(tab.page.get_by_text("The rotation has begun")).to_be_visible()
        phase = tab.page.locator("li[aria-current=step]")
        expect(phase).to_contain_text("Everybody is told to believe the new beside the old")
        # The node that is there acknowledges by itself; the one that is away is named.
        expect(phase).not_to_contain_text("node-000", timeout=PATIENCE)
        expect(phase).to_contain_text("node-001")
        expect(tab.page.get_by_role("button", name="Rotate keys")).to_have_attribute("aria-disabled", "true")
        rotation = fleet.get("/ca")["rotation"]
        assert rotation["state"] == "distributing"
        assert sorted(rotation["subjects"]) == ["device_ca", "fleet_ca", "noise_key", "signing_key"]
        assert "node-001" in [one["name"] for one in rotation["waiting"]]
        assert kit not in tab.page.evaluate(EVERYWHERE)
        # Back again, it is told, and page and record agree.
        tab.page.reload()
        tab.wait_shown()
        expect(phase).to_contain_text("node-001")
        # Once it has acknowledged, too, helm goes on, and the page says so by itself.
        fleet.ask("mend", node="node-001")
        expect(phase).to_contain_text("helm signs with the new", timeout=REDIALLED + PATIENCE)
        assert fleet.get("/ca")["rotation"]["state"] == "switching"


def test_who_is_no_owner_is_not_offered_it(browser: Browser, fleet: WebFleet) -> None:
    with watched(browser, fleet, "bob", role="admin") as tab:
        tab.go("/certificates")
        expect(tab.page.get_by_role("heading", name="Keys")).to_be_visible()
        expect(tab.page.get_by_role("button", name="Rotate keys")).to_have_count(0)
