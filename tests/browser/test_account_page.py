"""One's own account: password and code, sessions in other browsers, the page's theme and language."""

from __future__ import annotations

import time

import pyotp
from playwright.sync_api import Browser, Locator, expect

from tests.browser.qrcodes import read
from tests.browser.tabs import IN_CHROMIUM, Tab
from tests.browser.test_journeys import EVERYWHERE
from tests.browser.watched import watched
from tests.support.webfleet.driver import WebFleet

pytestmark = [*IN_CHROMIUM]

FLEET = {"nodes": 1, "devices": 1}
PASSWORD = "a quiet harbour at night"
REFUSAL = "Failed to load resource"
# A session that has ended takes the open link to helm with it.
CUT = "WebSocket"
HEARD = 25_000
"""Milliseconds; a tab whose session has ended may hear of it by helm's next look at its feed only, 15 s later."""
STEP = 30
"""Seconds for which a code holds (RFC 6238)."""


def door(tab: Tab) -> Locator:
    """Return what only who stands outside sees."""
    return tab.page.get_by_role("button", name="Continue with a passkey")


def set_up(tab: Tab, what: str) -> Locator:
    """Open the dialog of a way in; return it."""
    line = tab.page.locator(".set", has=tab.page.get_by_text(what, exact=True))
    line.get_by_role("button", name="Set up").click()
    return tab.page.get_by_role("dialog")


def test_password_and_code_let_in_and_end_other_sessions(browser: Browser, fleet: WebFleet) -> None:
    with (
        watched(browser, fleet, "ada") as tab,
        watched(browser, fleet, "ada", meant=(REFUSAL, CUT)) as other,
    ):
        tab.go("/account")
        other.go("/devices")
        # What does not fit is told beside the field, before helm is asked.
        dialog = set_up(tab, "Password")
        dialog.get_by_label("New password").fill("short")
        tab.page.keyboard.press("Enter")
        expect(dialog).to_contain_text("A password has at least 10 characters.")
        dialog.get_by_label("New password").fill(PASSWORD)
        dialog.get_by_label("The same again").fill(PASSWORD + "!")
        tab.page.keyboard.press("Enter")
        expect(dialog).to_contain_text("This is not the same.")
        dialog.get_by_label("The same again").fill(PASSWORD)
        tab.page.keyboard.press("Enter")
        expect(dialog).to_have_count(0)
        expect(tab.page.get_by_text("The new password holds")).to_be_visible()
        expect(door(other)).to_be_visible(timeout=HEARD)
        # The code: what is scanned is what is shown to be typed, and leaves the page with the dialog.
        dialog = set_up(tab, "Six-digit code")
        code = dialog.get_by_role("img", name="The secret for the authenticator app")
        totp = pyotp.parse_uri(read(code))
        assert isinstance(totp, pyotp.TOTP)
        assert dialog.locator(".copy .mono").inner_text().replace(" ", "") == totp.secret
        assert totp.name == "ada"
        now = time.time()
        dialog.get_by_label("Code that the app shows").fill(totp.at(now))
        tab.page.keyboard.press("Enter")
        expect(dialog).to_have_count(0)
        expect(tab.page.get_by_text("From now on the password asks for a code")).to_be_visible()
        assert totp.secret not in tab.page.evaluate(EVERYWHERE)
        # The password alone lets nobody in any more; with the code it does.
        for digits, inside in (("", False), (totp.at(now + STEP), True)):
            other.page.get_by_label("Name").fill("ada")
            other.page.get_by_label("Password").fill(PASSWORD)
            other.page.get_by_label("Six-digit code").fill(digits)
            other.page.keyboard.press("Enter")
            expect(
                other.page.get_by_role("alert") if not inside else other.page.locator("[data-live=live]")
            ).to_have_count(1)
        assert other.page.request.get(f"{other.address}/api/v1/session").json()["how"] == "password"


def test_session_of_another_browser_is_ended(browser: Browser, fleet: WebFleet) -> None:
    with (
        watched(browser, fleet, "grace") as tab,
        watched(browser, fleet, "grace", meant=(REFUSAL, CUT)) as other,
    ):
        other.go("/devices")
        tab.go("/account")
        rows = tab.page.locator("ul.things > li", has_text="By a one-time link")
        expect(rows).to_have_count(2)
        own = rows.filter(has_text="This browser")
        expect(own).to_have_count(1)
        expect(own.get_by_role("button", name="End")).to_have_count(0)
        rows.get_by_role("button", name="End").click()
        expect(tab.page.get_by_text("The session has ended")).to_be_visible()
        expect(rows).to_have_count(1)
        # That tab shows the door by itself, and nothing of the fleet.
        expect(door(other)).to_be_visible(timeout=HEARD)
        assert "device-0" not in other.page.evaluate(EVERYWHERE)
        tab.page.reload()
        tab.wait_shown()
        expect(rows).to_have_count(1)


def test_language_and_theme_are_kept(browser: Browser, fleet: WebFleet) -> None:
    with watched(browser, fleet, "mary") as tab:
        tab.go("/account")
        page = tab.page
        expect(page.locator("html[data-theme=light]")).to_be_attached()
        page.get_by_role("group", name="Theme").get_by_role("button", name="Dark").click()
        expect(page.locator("html[data-theme=dark]")).to_be_attached()
        page.get_by_role("group", name="Language").get_by_role("button", name="Deutsch").click()
        expect(page.locator("html[lang=de]")).to_be_attached()
        expect(page.get_by_role("heading", name="Passwort")).to_be_visible()
        for act in (page.reload, lambda: tab.go("/devices"), lambda: tab.go("/account")):
            act()
            tab.wait_shown()
            expect(page.locator("html[lang=de][data-theme=dark]")).to_be_attached()
            expect(page.get_by_role("navigation").first).to_contain_text("Geräte")
        pressed = page.locator("button[aria-pressed=true]")
        expect(pressed.filter(has_text="Deutsch")).to_have_count(1)
        expect(pressed.filter(has_text="Dunkel")).to_have_count(1)
