"""Whole stories of an admin, without a pointer, with a device that really enrols (ui.md §6 and §11: 5, 15)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.keyboard import fill, press, reach
from tests.browser.qrcodes import read
from tests.browser.tabs import IN_CHROMIUM, Tab, open_tab, signed_in
from tests.support.webfleet.driver import WebFleet

pytestmark = [*IN_CHROMIUM]

FLEET = {"nodes": 1, "devices": 3}
NODE = "harbour"
LINK = "pharosvpn://"
# Wherever a text can be: in what is shown, in attributes, in fields.
EVERYWHERE = """() => document.documentElement.outerHTML
  + [...document.querySelectorAll('input, textarea')].map(field => field.value).join()"""


@pytest.fixture(scope="module")
def real(fleet: WebFleet) -> WebFleet:
    """The module's fleet with a real beacon, and a real node of that name."""
    fleet.ask("add_beacon")
    fleet.ask("add_buoy", name=NODE)
    return fleet


@pytest.fixture
def tab(browser: Browser, real: WebFleet, request: pytest.FixtureRequest) -> Iterator[Tab]:
    cookie = signed_in(real, f"ada {request.node.name[:40]}")
    with open_tab(browser, real.address, cookie=cookie, permissions=["clipboard-read", "clipboard-write"]) as tab:
        yield tab
        # Chromium notes each answer that is a refusal; that of a conflict is meant.
        assert [told for told in tab.complaints if "status of 409" not in told] == []
        assert tab.violations == []
        assert tab.strangers == []


def invite(tab: Tab, name: str) -> str:
    """Make an invitation by keyboard; return the link that the page shows."""
    tab.go("/devices")
    tab.page.keyboard.press("i")
    fill(tab, "Name of the device", name)
    tab.page.keyboard.press("Enter")
    expect(tab.page.get_by_role("img", name="QR code of the enrolment link")).to_be_visible()
    link = tab.page.get_by_text(LINK).first.inner_text()
    assert read(tab.page.locator("svg.code")) == link
    return link


def test_device_is_invited_comes_in_live_and_is_revoked(tab: Tab, real: WebFleet) -> None:
    link = invite(tab, "gate phone")
    press(tab, "Copy link")
    assert tab.page.evaluate("navigator.clipboard.readText()") == link
    # The device enrols with what the page shows, through a real beacon.
    real.ask("enrol", link=link, name="gate phone")
    card = tab.page.get_by_role("complementary").last
    expect(card).to_contain_text("gate phone is in")
    expect(card).to_contain_text("Keys made on the device")
    assert LINK not in tab.page.evaluate(EVERYWHERE)
    device = real.find("devices", "gate phone")["id"]
    expect(card).to_contain_text(device)
    press(tab, "Done")
    # It shakes hands with a real node, and the list says so.
    real.ask("open_tunnel", name="gate phone", node=NODE)
    row = tab.page.locator("tbody tr[data-id]", has_text="gate phone")
    expect(row.or_(tab.page.get_by_role("button", name="1 new")).first).to_be_visible()
    tab.page.keyboard.press("r")
    expect(row).to_contain_text("Online")
    expect(row).to_contain_text(NODE)
    # For ever: the name has to be typed.
    row.focus()
    tab.page.keyboard.press("Enter")
    press(tab, "Revoke…")
    dialog = tab.page.get_by_role("dialog")
    revoke = dialog.get_by_role("button", name="Revoke for ever")
    expect(revoke).to_have_attribute("aria-disabled", "true")
    expect(dialog).to_contain_text("1 session ends now")
    fill(tab, "Type gate phone to go on", "gate phon")
    expect(revoke).to_have_attribute("aria-disabled", "true")
    tab.page.keyboard.type("e")
    expect(revoke).not_to_have_attribute("aria-disabled", "true")
    press(tab, "Revoke for ever")
    expect(dialog).to_have_count(0)
    expect(row).to_contain_text("Revoked")
    assert real.get(f"/devices/{device}")["state"] == "revoked"
    real.ask("close_tunnel", name="gate phone")


def test_code_is_gone_when_its_card_closes_and_back_does_not_bring_it(tab: Tab, real: WebFleet) -> None:
    link = invite(tab, "never used")
    secret = link.rpartition("/")[2][-20:]
    assert secret in tab.page.evaluate(EVERYWHERE)
    tab.page.keyboard.press("Escape")
    # It asks once: the code cannot be shown again.
    dialog = tab.page.get_by_role("dialog")
    expect(dialog).to_contain_text("cannot be shown again")
    press(tab, "Close it")
    expect(tab.page.get_by_role("img", name="QR code of the enrolment link")).to_have_count(0)
    for act in (lambda: None, tab.page.go_back, tab.page.go_forward, tab.page.reload):
        act()
        tab.page.wait_for_timeout(300)
        assert secret not in tab.page.evaluate(EVERYWHERE)
        assert secret not in tab.page.url
        kept = "JSON.stringify([{...localStorage}, {...sessionStorage}, history.state])"
        assert secret not in tab.page.evaluate(kept)


def test_token_is_shown_once(tab: Tab, real: WebFleet) -> None:
    tab.go("/admins")
    press(tab, "Make a token…")
    fill(tab, "Name", "ci-deploy")
    tab.page.keyboard.press("Enter")
    dialog = tab.page.get_by_role("dialog", name="The token ci-deploy")
    secret = dialog.locator(".copy .mono").inner_text()
    assert len(secret) > 30
    press(tab, "Copy")
    assert tab.page.evaluate("navigator.clipboard.readText()") == secret
    press(tab, "Done")
    expect(dialog).to_have_count(0)
    for act in (lambda: None, tab.page.go_back, tab.page.go_forward):
        act()
        assert secret not in tab.page.evaluate(EVERYWHERE)
    assert [token["name"] for token in real.get("/tokens")["items"]] == ["ci-deploy"]


def test_two_changes_of_one_device_are_merged_by_keyboard(tab: Tab, real: WebFleet) -> None:
    device = real.find("devices", "device-00001")
    tab.go(f"/devices?device={device['id']}")
    tab.page.keyboard.press("e")
    fill(tab, "Name", "gate")
    fill(tab, "Note", "by the door")
    # Meanwhile somebody else saves the name and the rate limit, at a terminal.
    changes = {"name": "port", "rate_limit": 20_000_000}
    version = real.get(f"/devices/{device['id']}")["version"]
    real.act("PATCH", f"/devices/{device['id']}", changes, version=version)
    press(tab, "Save")
    dialog = tab.page.get_by_role("dialog")
    expect(dialog).to_contain_text("while you were editing")
    expect(dialog.get_by_text("was device-00001")).to_be_visible()
    # Of what both changed the stored one is chosen, mine is one key away; what one changed is chosen already.
    name = dialog.get_by_role("radiogroup", name="Name")
    expect(name.get_by_role("radio", name="port")).to_be_checked()
    expect(dialog.get_by_role("radiogroup", name="Note").get_by_role("radio", name="by the door")).to_be_checked()
    reach(tab, "port")
    tab.page.keyboard.press("ArrowRight")
    expect(name.get_by_role("radio", name="gate")).to_be_checked()
    # A second conflict keeps the choices.
    real.act("PATCH", f"/devices/{device['id']}", {"quota_bytes": 10**10}, version=version + 1)
    press(tab, f"Save as version {version + 2}")
    expect(dialog.get_by_role("button", name=f"Save as version {version + 3}")).to_be_visible()
    expect(name.get_by_role("radio", name="gate")).to_be_checked()
    press(tab, f"Save as version {version + 3}")
    expect(dialog).to_have_count(0)
    merged = real.get(f"/devices/{device['id']}")
    assert (merged["name"], merged["note"]) == ("gate", "by the door")
    assert (merged["rate_limit"], merged["quota_bytes"]) == (20_000_000, 10**10)
    assert merged["version"] == version + 3


def test_palette_goes_finds_and_does(tab: Tab, real: WebFleet) -> None:
    tab.go("/")
    tab.page.keyboard.press("Control+k")
    field = tab.page.get_by_role("combobox").last
    expect(field).to_be_focused()
    tab.page.keyboard.type("device-00002")
    expect(tab.page.get_by_role("option", name="device-00002")).to_be_visible()
    tab.page.keyboard.press("Enter")
    expect(tab.page.get_by_role("complementary").last).to_contain_text("device-00002")
    assert "/devices" in tab.page.url
    tab.page.keyboard.press("Escape")
    tab.page.keyboard.press("g")
    tab.page.keyboard.press("n")
    tab.page.wait_for_url(f"{real.address}/nodes")
    expect(tab.page.locator("tbody tr[data-at='0']")).to_be_visible()
    tab.page.keyboard.press("j")
    expect(tab.page.locator("tbody tr[data-at='0']")).to_be_focused()
    tab.page.keyboard.press("Enter")
    tab.page.wait_for_url(f"{real.address}/nodes/*")
    tab.page.keyboard.press("t")
    expect(tab.page.locator("html[data-theme=dark]")).to_be_attached()
    tab.page.keyboard.press("?")
    expect(tab.page.get_by_role("dialog")).to_contain_text("Light or dark")
    # Letters are dead where one writes.
    tab.page.keyboard.press("Escape")
    tab.page.keyboard.press("Control+k")
    expect(field).to_be_focused()
    tab.page.keyboard.type("t?gn")
    expect(field).to_have_value("t?gn")
    expect(tab.page.locator("html[data-theme=dark]")).to_be_attached()
