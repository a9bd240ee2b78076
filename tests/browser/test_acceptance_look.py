"""How the app looks: contrast, shapes, motion, first paint, sizes (ui.md §11: 4, 6, 7, 10, 12, 18, 19)."""

from __future__ import annotations

import base64
import itertools
import re
from pathlib import Path
from typing import Any, Final

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.colours import contrast, greys, over, tokens
from tests.browser.routes import ROUTES
from tests.browser.tabs import IN_CHROMIUM, Findings, open_tab, signed_in
from tests.support.webfleet.driver import WebFleet, open_web_fleet

pytestmark = [*IN_CHROMIUM]

FLEET = {"story": "skerry"}
TEXT, EDGE = 4.5, 3.0
GROUNDS = ("bg", "surface", "raised", "inset", "hover")
INKS = ("ink", "ink-2", "ink-3", "accent")
STATES = ("good", "warn", "bad", "idle")
MOST_FIRST_LOAD = 250 * 1024
# A side of the square to which each shape is scaled before shapes are compared.
SIDE = 24
DARK = 60
"""Grey value, of 255, that no ground of the dark theme reaches."""


@pytest.fixture(scope="module")
def cookie(fleet: WebFleet) -> dict[str, str]:
    return signed_in(fleet, "Mara Lindqvist")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_colours_are_told_apart_on_every_ground(
    browser: Browser, fleet: WebFleet, cookie: dict[str, str], theme: str
) -> None:
    """axe sees what stands still; this is what is under a pointer, selected or just washed."""
    findings = Findings()
    with open_tab(browser, fleet.address, cookie=cookie, theme=theme) as tab:
        tab.go("/")
        names = (*GROUNDS, *INKS, *STATES, *(f"{state}-soft" for state in STATES))
        more = ("on-accent", "accent-soft", "line-control", "lamp-wash", "s1", "s2")
        colours = tokens(tab.page, *names, *more)
    washed = {f"washed {name}": over(colours["lamp-wash"], colours[name]) for name in ("surface", "hover")}
    grounds = {name: colours[name] for name in (*GROUNDS, "accent-soft")} | washed
    for (ground, below), ink in itertools.product(grounds.items(), INKS):
        least = EDGE if ground.startswith(("accent", "washed")) and ink in ("ink-3", "accent") else TEXT
        if contrast(colours[ink], below) < least:
            findings.add(theme, [f"{ink} on {ground}: {contrast(colours[ink], below):.2f}"])
    for state in STATES:
        if contrast(colours[state], colours[f"{state}-soft"]) < TEXT:
            findings.add(theme, [f"{state} on its soft ground"])
        findings.add(
            theme, [f"{state} on {g}" for g, below in grounds.items() if contrast(colours[state], below) < EDGE]
        )
    for edge in ("line-control", "accent", "s1", "s2"):
        if contrast(colours[edge], colours["surface"]) < EDGE:
            findings.add(theme, [f"{edge} on the surface: {contrast(colours[edge], colours['surface']):.2f}"])
    if contrast(colours["on-accent"], colours["accent"]) < TEXT:
        findings.add(theme, ["the words of a primary button"])
    findings.check()


ALONE: Final = """svg => {
  document.getElementById('alone')?.remove();
  const alone = Object.assign(document.createElement('div'), {id: 'alone'});
  Object.assign(alone.style, {position: 'fixed', inset: '8px auto auto 8px', zIndex: 99, background: 'var(--surface)'});
  alone.append(svg.cloneNode(true));
  document.body.append(alone);
}"""


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_statuses_are_told_apart_without_colour(
    browser: Browser, fleet: WebFleet, cookie: dict[str, str], theme: str
) -> None:
    shapes: dict[str, bytes] = {}
    with open_tab(browser, fleet.address, cookie=cookie, theme=theme, still=True, device_scale_factor=3) as tab:
        tab.go("/nodes")
        for path in ("/nodes", "/devices", "/devices?filter=status:revoked", "/devices?filter=status:disabled"):
            tab.go(path)
            words = tab.page.locator("td .st")
            for number in range(words.count()):
                word = words.nth(number).inner_text().strip()
                if word and word not in shapes:
                    # Each in the same place: half a pixel aside the same shape is another picture.
                    words.nth(number).locator("svg").first.evaluate(ALONE)
                    shapes[word] = tab.page.locator("#alone svg").screenshot()
    wanted = {"Healthy", "Draining", "No answer", "Online", "Offline", "Disabled", "Revoked"}
    assert wanted <= shapes.keys()
    same = [{"Healthy", "Online"}, {"Disabled", "Offline"}]
    grey = dict(zip(shapes, greys(browser, list(shapes.values()), size=(SIDE, SIDE)), strict=True))
    for one, other in itertools.combinations(sorted(wanted), 2):
        # Each against its own ground, so that lightness alone does not tell them apart.
        apart = sum(abs(a - b) for a, b in zip(_ink(grey[one]), _ink(grey[other]), strict=True)) / SIDE**2
        if {one, other} in same:
            assert apart < 0.05, (one, other)
        else:
            assert apart > 0.06, f"{one} and {other} look the same: {apart:.2f}"


def _ink(picture: list[float]) -> list[float]:
    """Return how much ink there is in each pixel, 0 to 1, whatever its colour and the ground's."""
    ground = picture[0]
    most = max(abs(pixel - ground) for pixel in picture) or 1
    return [abs(pixel - ground) / most for pixel in picture]


def test_nothing_moves_for_who_asks_for_stillness(browser: Browser, fleet: WebFleet, cookie: dict[str, str]) -> None:
    moving = "document.getAnimations().map(one => one.animationName ?? one.transitionProperty)"
    findings = Findings()
    fleet.ask("tell", per_second=50)
    with open_tab(browser, fleet.address, cookie=cookie, still=True) as tab:
        tab.go("/")
        for place in ROUTES:
            tab.follow(place)
            for _ in range(5):
                findings.add(place, tab.page.evaluate(moving))
                tab.page.wait_for_timeout(50)
        tab.page.keyboard.press("Control+k")
        findings.add("palette", tab.page.evaluate(moving))
    fleet.ask("tell", per_second=0)
    findings.check()


@pytest.mark.parametrize("chosen", ["", "dark"])
def test_first_paint_has_the_right_theme(
    browser: Browser, fleet: WebFleet, cookie: dict[str, str], chosen: str
) -> None:
    """Every frame of a film of two loads is dark, by the system or by the reader's own choice."""
    system = "light" if chosen else "dark"
    with open_tab(browser, fleet.address, cookie=cookie, theme=system) as tab:
        tab.go("/")
        if chosen:
            tab.page.evaluate("localStorage.setItem('pharos.theme', 'dark')")
            tab.page.reload()
            tab.wait_shown()
        devtools = tab.page.context.new_cdp_session(tab.page)
        frames: list[bytes] = []

        def take(event: dict[str, Any]) -> None:
            frames.append(base64.b64decode(event["data"]))
            devtools.send("Page.screencastFrameAck", {"sessionId": event["sessionId"]})

        devtools.on("Page.screencastFrame", take)
        devtools.send("Page.startScreencast", {"format": "png", "everyNthFrame": 1, "maxWidth": 240, "maxHeight": 150})
        for path in ("/", "/devices"):
            tab.go(path)
        tab.page.wait_for_timeout(300)
        devtools.send("Page.stopScreencast")
    assert len(frames) >= 3
    for number, grey in enumerate(greys(browser, frames, size=(48, 30))):
        bright = sum(pixel > DARK for pixel in grey) / len(grey)
        assert bright < 0.3, f"frame {number} of {len(frames)} is bright: {bright:.0%}"


def test_charts_and_map_can_be_read(browser: Browser, fleet: WebFleet, cookie: dict[str, str]) -> None:
    """Each says lowest, highest and current value in words, and has a table behind its menu."""
    node = fleet.find("nodes", "fra-1")["id"]
    with open_tab(browser, fleet.address, cookie=cookie) as tab:
        for place, menus in (("/", ("map", "chart")), (f"/nodes/{node}", ("chart",))):
            tab.go(place)
            plot = tab.page.get_by_role("slider").first
            expect(plot).to_have_attribute("aria-describedby", re.compile("."))
            about = tab.page.locator(f"[id='{plot.get_attribute('aria-describedby')}']")
            expect(about).to_have_text(re.compile(r"lowest .*\d.*, highest .*\d.*, now .*\d"))
            # By arrow keys the cursor tells each moment.
            plot.focus()
            before = plot.get_attribute("aria-valuetext")
            for _ in range(3):
                tab.page.keyboard.press("ArrowLeft")
            expect(plot).not_to_have_attribute("aria-valuetext", before or "")
            for menu in menus:
                tab.page.get_by_role("button", name=f"More of this {menu}").first.click()
                tab.page.get_by_role("menuitem", name="Show as a table").click()
                table = tab.page.get_by_role("dialog").get_by_role("table").first
                expect(table).to_contain_text(re.compile(r"\d"))
                tab.page.keyboard.press("Escape")
                expect(table).to_have_count(0)
        tab.go("/")
        world = tab.page.get_by_role("group", name="World map of 14 nodes")
        told = world.get_attribute("aria-label") or ""
        assert re.search(r"Fewest: .*\d.*Most: .*\d.*now: [\d,]+", told), told


@pytest.mark.parametrize("nodes", [2, 200])
def test_overview_fits_one_screen(browser: Browser, built_page: None, tmp_path: Path, nodes: int) -> None:
    with open_web_fleet(tmp_path, nodes=nodes, devices=2 * nodes) as fleet:
        fleet.ask("cut", node="node-001")
        with open_tab(browser, fleet.address, cookie=signed_in(fleet, "ada")) as tab:
            tab.go("/")
            expect(tab.page.locator("main h1")).to_contain_text(str(nodes))
            for shown in (tab.page.locator("main h1"), tab.page.get_by_role("heading", name="Needs you")):
                expect(shown).to_be_in_viewport(ratio=1)
            for stat in tab.page.locator(".stats > *").all():
                expect(stat).to_be_in_viewport(ratio=1)
            assert tab.page.evaluate("scrollY") == 0


def test_first_load_is_small_and_the_map_comes_after_the_paint(
    browser: Browser, fleet: WebFleet, cookie: dict[str, str]
) -> None:
    with open_tab(browser, fleet.address, cookie=cookie) as tab:
        devtools = tab.page.context.new_cdp_session(tab.page)
        devtools.send("Network.enable")
        urls: dict[str, str] = {}
        sizes: dict[str, int] = {}
        devtools.on("Network.responseReceived", lambda e: urls.update({e["requestId"]: e["response"]["url"]}))
        devtools.on("Network.loadingFinished", lambda e: sizes.update({e["requestId"]: e["encodedDataLength"]}))
        tab.go("/")
        tab.page.wait_for_selector("path.land[d^=M]", state="attached")
        tab.page.wait_for_load_state("networkidle")
        own = {urls[key]: size for key, size in sizes.items() if "/api/" not in urls.get(key, "/api/")}
        assert sum(own.values()) <= MOST_FIRST_LOAD, own
        asked: list[dict[str, Any]] = tab.page.evaluate(
            "performance.getEntriesByType('resource').map(({name, startTime}) => ({name, startTime}))"
        )
        paint = tab.seen("paints")["first-contentful-paint"]
        # The outline of the land is a script of nothing but numbers.
        scripts = [entry for entry in asked if entry["name"].endswith(".js")]
        world = [entry for entry in scripts if _is_numbers(tab.page.request.get(entry["name"]).text())]
        assert len(world) == 1
        assert world[0]["startTime"] > paint
        assert tab.shift() < 0.01, tab.seen("shifts")


def _is_numbers(text: str) -> bool:
    return len(text) > 1_000 and sum(letter in "0123456789,[]" for letter in text) > 0.9 * len(text)
