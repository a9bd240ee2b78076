"""Signing in with a browser: a link that works once, a passkey, a password; and what a stranger learns: nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.sync_api import Browser, CDPSession, expect

from tests.browser.tabs import IN_CHROMIUM, Tab, open_tab, signed_in
from tests.support.webfleet.driver import WebFleet

pytestmark = [*IN_CHROMIUM]

FLEET = {"nodes": 2, "devices": 4}
AUTHENTICATOR = {
    "protocol": "ctap2",
    "transport": "internal",
    "hasResidentKey": True,
    "hasUserVerification": True,
    "isUserVerified": True,
    "automaticPresenceSimulation": True,
}


@contextmanager
def outside(browser: Browser, fleet: WebFleet, **options: Any) -> Iterator[Tab]:
    """A browser that has never been here."""
    with open_tab(browser, fleet.address, **options) as tab:
        yield tab


def plug_in(tab: Tab) -> CDPSession:
    """Give the tab a security key with room for passkeys."""
    devtools = tab.page.context.new_cdp_session(tab.page)
    devtools.send("WebAuthn.enable")
    devtools.send("WebAuthn.addVirtualAuthenticator", {"options": AUTHENTICATOR})
    return devtools


def test_link_opens_the_page_once_and_leaves_the_address(browser: Browser, fleet: WebFleet) -> None:
    link = fleet.ask("link", name="ada", role="owner")
    with outside(browser, fleet) as tab:
        tab.page.goto(link)
        tab.wait_shown()
        assert "ada" in tab.text()
        assert tab.page.url == f"{fleet.address}/"
        assert tab.page.evaluate("document.cookie") == "", "the cookie is not the page's to read"
        tab.page.go_back()
        assert "link=" not in tab.page.url
        # Chromium itself notes the answer to who somebody is who is not in yet.
        assert [told for told in tab.complaints if "401" not in told] == []
    with outside(browser, fleet) as tab:
        tab.page.goto(link)
        expect(tab.page.get_by_role("alert")).to_contain_text("used up")
        expect(tab.page.get_by_role("heading", level=1)).to_contain_text("Sign in")
        assert "link=" not in tab.page.url


def test_whoever_stands_outside_learns_which_fleet_it_is_and_no_more(browser: Browser, fleet: WebFleet) -> None:
    fleet_id = fleet.get("/status")["fleet"]["id"]
    with outside(browser, fleet) as tab:
        tab.page.goto(f"{fleet.address}/devices")
        expect(tab.page.get_by_role("button", name="Continue with a passkey")).to_be_focused()
        expect(tab.page.get_by_text("helm admins link")).to_be_visible()
        assert tab.page.title() == "Sign in · PharosVPN"
        tab.page.wait_for_function("id => document.body.innerText.replace(/\\s/g, '').includes(id)", arg=fleet_id)
        assert "device-0" not in tab.text()
        # A name that is unknown and a password that is wrong are told in the same words.
        told = []
        for name in ("nobody", "ada"):
            tab.page.get_by_label("Name").fill(name)
            tab.page.get_by_label("Password").fill("correct horse battery")
            tab.page.keyboard.press("Enter")
            expect(tab.page.get_by_role("alert")).to_be_visible()
            told.append(tab.page.get_by_role("alert").inner_text())
            expect(tab.page.get_by_label("Password")).to_have_value("")
        assert told[0] == told[1]


def test_passkey_is_made_and_signs_in_by_keyboard_alone(browser: Browser, fleet: WebFleet) -> None:
    with outside(browser, fleet) as tab:
        plug_in(tab)
        tab.page.goto(fleet.ask("link", name="grace", role="owner"))
        tab.wait_shown()
        tab.follow("/account")
        tab.page.get_by_role("button", name="Add a passkey").focus()
        tab.page.keyboard.press("Enter")
        dialog = tab.page.get_by_role("dialog")
        expect(dialog.get_by_role("textbox", name="Name")).to_be_focused()
        tab.page.keyboard.press("Control+a")
        tab.page.keyboard.type("desk key")
        tab.page.keyboard.press("Enter")
        expect(dialog).to_have_count(0)
        expect(tab.page.get_by_text("desk key", exact=True)).to_be_visible()
        assert [key["site"] for key in _passkeys(tab)] == ["localhost"]
        tab.page.get_by_role("button", name="Sign out", exact=True).focus()
        tab.page.keyboard.press("Enter")
        expect(tab.page.get_by_role("button", name="Continue with a passkey")).to_be_focused()
        tab.page.keyboard.press("Enter")
        expect(tab.page.get_by_role("button", name="Continue with a passkey")).to_have_count(0)
        tab.wait_shown()
        me = tab.page.evaluate("fetch('/api/v1/session').then(answer => answer.json())")
        assert (me["name"], me["how"]) == ("grace", "passkey")


def _passkeys(tab: Tab) -> list[dict[str, Any]]:
    found: dict[str, Any] = tab.page.evaluate("fetch('/api/v1/session/passkeys').then(answer => answer.json())")
    return list(found["items"])


def test_a65_link_that_another_page_opens_replaces_nobody(browser: Browser, fleet: WebFleet) -> None:
    """Row 65: whoever is in stays who they are, and the link is not used up."""
    planted = fleet.ask("link", name="mallory", role="viewer")
    with outside(browser, fleet, cookie=signed_in(fleet, "mary")) as tab:
        tab.go("/")
        with tab.page.context.expect_page() as opened:
            tab.page.evaluate("link => { open(link) }", planted)
        other = Tab(opened.value, fleet.address)
        other.wait_shown()
        me = other.page.evaluate("fetch('/api/v1/session').then(answer => answer.json())")
        assert me["name"] == "mary"
    with outside(browser, fleet) as tab:
        tab.page.goto(planted)
        tab.wait_shown()
        assert "mallory" in tab.text()


@pytest.mark.parametrize("role", ["viewer", "operator", "admin", "owner"])
def test_role_that_may_not_is_not_offered(browser: Browser, fleet: WebFleet, role: str) -> None:
    """What the role may not do is not listed, in the sidebar and in the palette."""
    with outside(browser, fleet, cookie=signed_in(fleet, f"some {role}", role=role)) as tab:
        tab.go("/")
        sidebar = tab.page.get_by_role("navigation", name="Main").first
        for place, least in (("Devices", "viewer"), ("Audit", "admin"), ("Admins and tokens", "admin")):
            allowed = _rank(role) >= _rank(least)
            expect(sidebar.get_by_role("link", name=place)).to_have_count(1 if allowed else 0)
        tab.page.keyboard.press("Control+k")
        tab.page.get_by_role("combobox").last.fill("> invite")
        invites = tab.page.get_by_role("option", name="Invite")
        if _rank(role) >= _rank("operator"):
            expect(invites.first).to_be_visible()
        else:
            tab.page.wait_for_timeout(300)
            expect(invites).to_have_count(0)


def _rank(role: str) -> int:
    return ["viewer", "operator", "admin", "owner"].index(role)
