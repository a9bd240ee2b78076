"""What floats keeps WCAG too (ui.md §11: 3, 5): drawers, dialogs, menus and the palette, in both themes."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, expect

from tests.browser import axe
from tests.browser.tabs import IN_CHROMIUM, Findings, Tab, open_tab, signed_in
from tests.support.webfleet.driver import WebFleet

pytestmark = [*IN_CHROMIUM]

FLEET = {"nodes": 3, "devices": 30}


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_what_floats_keeps_wcag_and_gives_the_focus_back(browser: Browser, fleet: WebFleet, theme: str) -> None:
    findings = Findings()
    cookie = signed_in(fleet, f"ada {theme}")
    with open_tab(browser, fleet.address, cookie=cookie, theme=theme, still=True) as tab:
        page = tab.page

        def look(what: str) -> None:
            findings.add(what, axe.violations(page))

        tab.go("/")
        page.keyboard.press("Control+k")
        page.get_by_role("combobox").fill("node")
        expect(page.get_by_role("option").first).to_be_visible()
        look("palette")
        page.keyboard.press("Escape")
        expect(page.get_by_role("combobox")).to_have_count(0)
        page.keyboard.press("?")
        expect(page.get_by_role("dialog")).to_be_visible()
        look("keys")
        page.keyboard.press("Escape")

        tab.follow("/devices?sort=name")
        page.get_by_role("button", name="Columns").click()
        expect(page.get_by_role("menu")).to_be_visible()
        look("menu of columns")
        page.keyboard.press("Escape")
        row = page.locator("tbody tr[data-at='0']")
        row.focus()
        page.keyboard.press("Enter")
        expect(page.get_by_role("complementary", name="device-00000")).to_be_visible()
        look("drawer of a device")
        page.keyboard.press("Escape")
        expect(row).to_be_focused()
        page.keyboard.press("i")
        expect(page.get_by_role("button", name="Make invitation")).to_be_visible()
        look("drawer of an invitation")
        page.keyboard.press("Escape")

        node = fleet.find("nodes", "node-000")["id"]
        tab.follow(f"/nodes/{node}")
        more(tab, "Revoke")
        expect(page.get_by_role("dialog")).to_be_visible()
        look("dialog that asks for the name")
        # What cannot be taken back stays off until the name is typed.
        assert page.get_by_role("dialog").get_by_role("button").last.get_attribute("aria-disabled") == "true"
        page.keyboard.press("Escape")
        findings.add("all of them", tab.violations)
        findings.add("all of them", tab.complaints)
    findings.check()


def more(tab: Tab, act: str) -> None:
    """Choose an act of the menu beside a node's name."""
    tab.page.get_by_role("button", name="More actions").click()
    tab.page.get_by_role("menuitem", name=act).click()
