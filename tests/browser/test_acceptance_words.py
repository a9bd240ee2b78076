"""Every text comes from the catalogue, and German fits (ui.md §11: 17)."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.routes import ROUTES
from tests.browser.tabs import IN_CHROMIUM, Findings, open_tab, signed_in
from tests.support.webfleet.driver import WebFleet, open_web_fleet

pytestmark = [*IN_CHROMIUM]

FLEET = {"story": "skerry"}
CATALOGUE = Path(__file__).resolve().parents[2] / "frontend/src/lib/i18n"


@cache
def catalogue(language: str) -> dict[str, str]:
    files = sorted((CATALOGUE / language).glob("*.json"))
    return {key: text for file in files for key, text in json.loads(file.read_text()).items()}


@cache
def english_only() -> set[str]:
    """Whole texts of the English catalogue that mean nothing in German."""
    german = set(catalogue("de").values())
    return {text for text in catalogue("en").values() if "{" not in text and re.search("[a-z]", text)} - german


def test_catalogues_have_the_same_keys_and_arguments() -> None:
    english, german = catalogue("en"), catalogue("de")
    assert english.keys() == german.keys()
    for key, text in english.items():
        assert arguments(text) == arguments(german[key]), key


def arguments(message: str) -> set[str]:
    """Return the names that an ICU message takes, those in its branches too."""
    found: set[str] = set()
    depth, begin = 0, 0
    for at, letter in enumerate(message):
        if letter == "{":
            depth += 1
            begin = at + 1
        elif letter == "}":
            depth -= 1
        # Every other brace opens a branch, whose text begins with any word.
        if letter in ",}" and begin and (depth + (letter == "}")) % 2 == 1:
            name = message[begin:at].strip()
            if name.isidentifier():
                found.add(name)
        if letter in ",}":
            begin = 0
    return found


def test_first_page_lacks_no_text(browser: Browser, built_page: None, tmp_path: Path) -> None:
    """What a small fleet's overview says comes in two parts; none of it is ever seen as a key."""
    keys = catalogue("en").keys()
    with open_web_fleet(tmp_path, nodes=2, devices=4) as fleet:
        cookie = signed_in(fleet, "ada")
        with open_tab(browser, fleet.address, cookie=cookie) as tab:
            tab.go("/")
            expect(tab.page.locator("tbody tr[data-id]").first).to_contain_text("device-")
            text = tab.page.locator("body").text_content()
            assert not [key for key in keys if key in text]
            assert "Down" in tab.page.locator("tbody").first.text_content()


@pytest.mark.parametrize("width", [360, 1440])
def test_german_is_complete_and_fits(browser: Browser, fleet: WebFleet, width: int) -> None:
    findings = Findings()
    cookie = signed_in(fleet, "Mara Lindqvist")
    node = fleet.find("nodes", "fra-1")["id"]
    keys = catalogue("en").keys()
    with open_tab(browser, fleet.address, cookie=cookie, width=width, still=True, locale="de-DE") as tab:
        tab.go("/")
        assert tab.page.evaluate("document.documentElement.lang") == "de"
        for place in [*ROUTES, f"/nodes/{node}"]:
            tab.follow(place)
            texts = set(tab.check("texts"))
            findings.add(place, [f"English: {text}" for text in sorted(texts & english_only())])
            findings.add(place, [f"a key: {text}" for text in sorted(texts & keys)])
            findings.add(place, [f"cut: {label}" for label in tab.check("cutLabels")])
            findings.add(place, tab.check("sideways"))
    findings.check()
