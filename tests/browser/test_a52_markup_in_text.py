"""Row 52 in Chromium: more than sixty payloads in every text that a page shows, and none of them is more than text.

What stops them is shown layer by layer, each time with the layers before it taken away: a page that takes text for
markup is stopped by Trusted Types, without those by the rest of the policy, and without a policy by nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from playwright.sync_api import Browser, Dialog, Route, ViewportSize

from tests.browser.payloads import PAYLOADS
from tests.browser.routes import ROUTES
from tests.browser.tabs import IN_CHROMIUM, Findings, Tab, open_tab, signed_in
from tests.support.webfleet.driver import WebFleet, open_web_fleet

pytestmark = [*IN_CHROMIUM]

FLEET: Final[dict[str, Any]] = {"nodes": 12, "devices": 64, "users": 8}
TALL: Final[ViewportSize] = {"width": 1440, "height": 4_000}
"""So that the windows of long lists show every payload at once."""
OWNED: Final = "window.owned === undefined ? '' : 'a payload ran'"
# A page with a hole: what it writes into a text goes in as markup.
HOLE: Final = """{
  const text = Object.getOwnPropertyDescriptor(Node.prototype, 'nodeValue');
  Object.defineProperty(Text.prototype, 'nodeValue', {
    get() { return text.get.call(this) },
    set(value) {
      text.set.call(this, value);
      if (this.parentElement && String(value).includes('<')) {
        try { this.parentElement.insertAdjacentHTML('beforeend', value) } catch { /* refused, and reported */ }
      }
    },
  });
}"""
LISTS: Final = ("/users", "/groups", "/devices", "/relays")
"""Pages that show all payloads of their kind."""


@contextmanager
def planted(folder: Path, browser: Browser, *, without: str = "") -> Iterator[tuple[WebFleet, Tab]]:
    """Run a fleet full of payloads, and open a tab that is signed in there and reaches nobody else."""
    weak = {"without": without} if without else None
    with open_web_fleet(folder, weak=weak, **FLEET) as fleet:
        fleet.ask("plant", payloads=list(PAYLOADS))
        with open_tab(browser, fleet.address, cookie=signed_in(fleet, "ada")) as tab:
            yield fleet, tab


@pytest.fixture(scope="module")
def full(fleet: WebFleet) -> WebFleet:
    """The module's fleet with payloads in it."""
    assert len(PAYLOADS) >= 60
    assert fleet.ask("plant", payloads=list(PAYLOADS)) > 15 * len(PAYLOADS)
    return fleet


def test_a52_payloads_are_text_on_every_page(browser: Browser, full: WebFleet) -> None:
    findings = Findings()
    node = full.get("/nodes?limit=1")["items"][0]["id"]
    with open_tab(browser, full.address, cookie=signed_in(full, "grace"), size=TALL) as tab:
        dialogs: list[str] = []

        def dismiss(dialog: Dialog) -> None:
            dialogs.append(dialog.message)
            dialog.dismiss()

        tab.page.on("dialog", dismiss)
        tab.go("/")
        for place in [*ROUTES, f"/nodes/{node}"]:
            tab.follow(place)
            if place in LISTS:
                text = tab.text()
                findings.add(place, [f"is not there to read: {one}" for one in PAYLOADS if one.strip() not in text])
            for tabbed in range(tab.page.get_by_role("tab").count()):
                tab.page.get_by_role("tab").nth(tabbed).click()
            rows = tab.page.locator("tbody tr[data-id]")
            if rows.count():
                rows.first.click()
                tab.page.wait_for_timeout(300)
            findings.add(place, filter(None, [tab.page.evaluate(OWNED)]))
            findings.add(place, tab.violations)
            findings.add(place, tab.complaints)
            findings.add(place, tab.strangers)
            findings.add(place, dialogs)
    findings.check()


def test_a52_payloads_are_text_as_they_arrive(browser: Browser, full: WebFleet) -> None:
    """In the feed, in the palette, in what is typed."""
    with open_tab(browser, full.address, cookie=signed_in(full, "mary")) as tab:
        tab.go("/")
        full.ask("tell", per_second=20)
        tab.page.wait_for_timeout(3_000)
        full.ask("tell", per_second=0)
        tab.page.keyboard.press("Control+k")
        for payload in PAYLOADS[::8]:
            tab.page.get_by_role("combobox").last.fill(payload[:40])
            tab.page.wait_for_timeout(150)
        tab.page.keyboard.press("Escape")
        for payload in PAYLOADS[::8]:
            tab.follow("/devices")
            tab.page.keyboard.press("/")
            tab.page.keyboard.type(payload)
            tab.page.wait_for_timeout(300)
        assert tab.page.evaluate(OWNED) == ""
        assert (tab.violations, tab.complaints, tab.strangers) == ([], [], [])


def look(tab: Tab) -> list[str]:
    """Look at a page with a hole for a while; return what it would have fetched from elsewhere."""
    fetched: list[str] = []

    def turn_away(route: Route) -> None:
        # No policy keeps a page from sending its own window elsewhere.
        if route.request.resource_type != "document":
            fetched.append(route.request.url)
        route.abort()

    tab.page.context.route("**/*evil.invalid/**", turn_away)
    tab.page.context.add_init_script(HOLE)
    tab.page.goto(f"{tab.address}/users", wait_until="commit")
    tab.page.wait_for_timeout(4_000)
    return fetched


@pytest.mark.parametrize(("without", "directive"), [("", "require-trusted-types-for"), ("trusted-types", "script-src")])
def test_a52_page_with_a_hole_is_stopped_by_the_policy(
    browser: Browser, built_page: None, tmp_path: Path, without: str, directive: str
) -> None:
    with planted(tmp_path, browser, without=without) as (_fleet, tab):
        fetched = look(tab)
        assert any(told.startswith(directive) for told in tab.violations), tab.violations[:5]
        assert tab.page.evaluate(OWNED) == ""
        assert fetched == []


def test_a52_turns_red_with_a_hole_and_no_policy(browser: Browser, built_page: None, tmp_path: Path) -> None:
    with planted(tmp_path, browser, without="policy") as (_fleet, tab):
        ran: list[str] = []
        tab.page.context.expose_binding("tellOwned", lambda _source: ran.append("a payload ran"))
        tab.page.context.add_init_script("Object.defineProperty(window, 'owned', {set: () => tellOwned()})")
        fetched = look(tab)
        assert ran
        assert fetched
