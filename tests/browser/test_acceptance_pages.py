"""What holds for every page of the app (ui.md §11: 1, 2, 3, 5, 11, 13, 14), at Skerry Works."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.browser import axe
from tests.browser.routes import ROUTES
from tests.browser.tabs import IN_CHROMIUM, Findings, Tab, open_tab, signed_in
from tests.support.webfleet.driver import WebFleet

pytestmark = [*IN_CHROMIUM]

FLEET = {"story": "skerry"}
MOST_STOPS = 70
"""Stops of the focus on a page that are looked at; behind them come rows like those before."""


@pytest.fixture(scope="module")
def cookie(fleet: WebFleet) -> dict[str, str]:
    return signed_in(fleet, "Mara Lindqvist")


@pytest.fixture(scope="module")
def places(fleet: WebFleet) -> list[str]:
    """Every page, those about one node too."""
    node = fleet.find("nodes", "fra-1")["id"]
    return [*ROUTES, f"/nodes/{node}"]


def visits(tab: Tab, places: list[str]) -> Iterator[str]:
    """Go from page to page as a reader does."""
    tab.go("/")
    for place in places:
        tab.follow(place)
        yield place


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_pages_keep_wcag_and_the_policy(
    browser: Browser, fleet: WebFleet, cookie: dict[str, str], places: list[str], theme: str
) -> None:
    findings = Findings()
    with open_tab(browser, fleet.address, cookie=cookie, theme=theme, still=True) as tab:
        for place in visits(tab, places):
            assert tab.page.evaluate("document.documentElement.dataset.theme") == theme
            findings.add(place, axe.violations(tab.page))
            findings.add(place, tab.check("times"))
            markup = "document.querySelectorAll('style, script:not([src])').length"
            if tab.page.evaluate(markup):
                findings.add(place, ["there is a script or a style sheet in the document"])
            findings.add(place, tab.violations)
            findings.add(place, tab.complaints)
            findings.add(place, tab.strangers)
            tab.forget()
    findings.check()


@pytest.mark.parametrize("width", [320, 360, 760, 1024, 1440, 2560])
def test_pages_fit_every_width(
    browser: Browser, fleet: WebFleet, cookie: dict[str, str], places: list[str], width: int
) -> None:
    findings = Findings()
    with open_tab(browser, fleet.address, cookie=cookie, width=width, still=True) as tab:
        for place in visits(tab, places):
            findings.add(place, tab.check("smallText", 12))
            findings.add(place, tab.check("sideways"))
            findings.add(place, tab.check("smallTargets", 44 if width <= 760 else 24))
            findings.add(place, tab.check("cutLabels"))
            heights = tab.page.evaluate("checks.rowHeights()")
            wanted = range(48, 57) if width <= 760 else range(40, 41)
            if width < 2560:
                findings.add(place, [f"a row is {height} px high" for height in heights if height not in wanted])
    findings.check()


def test_focus_is_seen_wherever_it_goes(
    browser: Browser, fleet: WebFleet, cookie: dict[str, str], places: list[str]
) -> None:
    findings = Findings()
    with open_tab(browser, fleet.address, cookie=cookie, still=True) as tab:
        for place in visits(tab, places):
            stops = 0
            for _ in range(MOST_STOPS):
                tab.page.keyboard.press("Tab")
                ring = tab.page.evaluate("checks.ring()")
                if ring is None:
                    break
                stops += 1
                if not ring["ringed"]:
                    findings.add(place, [f"no ring: {ring['name']}"])
                if ring["hidden"]:
                    findings.add(place, [f"{ring['name']} has the focus under {ring['over']}"])
            if stops < 10:
                findings.add(place, [f"the keyboard reaches {stops} controls"])
    findings.check()
