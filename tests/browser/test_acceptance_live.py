"""Ten thousand rows and a thousand deltas a second (ui.md §5 and §11: 2, 8, 9, 16)."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.tabs import IN_CHROMIUM, Tab, open_tab, signed_in
from tests.support.webfleet.driver import WebFleet

pytestmark = [*IN_CHROMIUM]

DEVICES = 10_000
FLEET = {"nodes": 8, "devices": DEVICES}
LIVE_SECONDS = 60
LOOK_SECONDS = 10
# A screen of rows with the overscan of both ends, and no more.
MOST_ROWS = 80

# How many rows are washed, by their class or by an animation that runs in them.
WASHED = """() => [...document.querySelectorAll('tbody tr[data-id]')]
  .filter(row => row.classList.contains('wash') || row.getAnimations({subtree: true}).length).length"""
# Notes each way in which the rows of a table moved, came, went or were washed.
WATCH_ROWS = (
    f"() => {{ const washed = {WASHED};\n"
    """
  const rows = () => [...document.querySelectorAll('tbody tr[data-id]')];
  const order = () => rows().map(row => `${row.dataset.id} ${Math.round(row.getBoundingClientRect().top)}`).join();
  window.moves = [];
  let before = order();
  const look = () => {
    const now = order();
    if (now !== before) window.moves.push('rows moved');
    before = now;
    if (washed()) window.moves.push(`${washed()} washed`);
    window.watching = requestAnimationFrame(look);
  };
  look();
}"""
)


@pytest.fixture(scope="module")
def cookie(fleet: WebFleet) -> dict[str, str]:
    return signed_in(fleet, "ada")


@pytest.fixture
def storm(fleet: WebFleet) -> WebFleet:
    """A thousand deltas a second, of which each tenth is a change of a record."""
    fleet.ask("tell", per_second=900)
    fleet.ask("change", per_second=100)
    return fleet


@pytest.fixture(autouse=True)
def calm(fleet: WebFleet) -> None:
    fleet.ask("tell", per_second=0)
    fleet.ask("change", per_second=0)


def pill(tab: Tab) -> str:
    return tab.page.locator("[data-live]").first.inner_text()


def ids(page: Page) -> list[str]:
    return list(page.eval_on_selector_all("tbody tr[data-id]", "rows => rows.map(row => row.dataset.id)"))


def test_only_the_rows_in_sight_are_there_and_every_one_can_be_reached(
    browser: Browser, fleet: WebFleet, cookie: dict[str, str]
) -> None:
    with open_tab(browser, fleet.address, cookie=cookie) as tab:
        tab.go("/devices")
        table = tab.page.get_by_role("table")
        expect(table).to_have_attribute("aria-rowcount", str(DEVICES + 1))
        expect(tab.page.get_by_text(re.compile(r"of 10,000"))).to_be_visible()
        assert 10 < len(ids(tab.page)) < MOST_ROWS
        tab.page.locator("tbody tr[data-at='0']").focus()
        tab.page.keyboard.press("End")
        last = tab.page.locator(f"tbody tr[data-at='{DEVICES - 1}']")
        expect(last).to_be_focused()
        expect(last).to_have_attribute("aria-rowindex", str(DEVICES + 1))
        expect(last).to_contain_text("device-")
        assert len(ids(tab.page)) < MOST_ROWS


def test_helm_sorts_and_filters(browser: Browser, fleet: WebFleet, cookie: dict[str, str]) -> None:
    with open_tab(browser, fleet.address, cookie=cookie) as tab:
        tab.go("/devices?sort=name")
        expect(tab.page.locator("tbody tr[data-at='0']")).to_contain_text("device-00000")
        tab.page.locator("thead [aria-sort] button").first.click()
        expect(tab.page.locator("tbody tr[data-at='0']")).to_contain_text(f"device-{DEVICES - 1:05}")
        expect(tab.page.locator("th[aria-sort=descending]")).to_have_count(1)
        tab.page.keyboard.press("/")
        tab.page.keyboard.type("device-0123")
        expect(tab.page.get_by_role("table")).to_have_attribute("aria-rowcount", "11")
        assert "device-0123" in tab.page.url
        # The address is the whole state: who is given it sees the same.
        with open_tab(browser, fleet.address, cookie=cookie) as other:
            other.go(tab.page.url.removeprefix(fleet.address))
            assert ids(other.page) == ids(tab.page)


def test_live_data_shifts_nothing_and_sorts_nothing(browser: Browser, storm: WebFleet, cookie: dict[str, str]) -> None:
    with (
        open_tab(browser, storm.address, cookie=cookie) as list_,
        open_tab(browser, storm.address, cookie=cookie) as all_,
    ):
        list_.go("/devices?sort=-handshake")
        all_.go("/")
        # What settles after the first paint, before anybody reads, is asserted by the other tests.
        list_.page.wait_for_timeout(2_000)
        for tab in (list_, all_):
            tab.forget()
        before, heights = ids(list_.page), list_.check("rowHeights")
        list_.page.wait_for_timeout(LIVE_SECONDS * 1_000)
        for tab in (list_, all_):
            assert tab.shift() < 0.01, tab.seen("shifts")
            assert tab.complaints == []
        assert ids(list_.page) == before
        assert list_.check("rowHeights") == heights
        # By now others have shaken hands later than those above: the reader is told, and sorts when it suits.
        expect(list_.page.get_by_text("Order changed")).to_be_visible()
        list_.page.keyboard.press("r")
        list_.page.wait_for_function(
            "was => document.querySelector('tbody tr[data-id]').dataset.id !== was", arg=before[0]
        )


def test_rows_hold_still_while_somebody_looks(browser: Browser, storm: WebFleet, cookie: dict[str, str]) -> None:
    with open_tab(browser, storm.address, cookie=cookie) as tab:
        tab.go("/devices?sort=-handshake")
        tab.page.locator("tbody tr[data-at='3']").hover()
        expect(tab.page.locator("[data-live]").first).to_contain_text("Held while you look")
        # What had begun before the pointer came may end: a wash lasts 3 s.
        tab.page.wait_for_function(f"() => ({WASHED})() === 0", timeout=9_000)
        tab.page.evaluate(WATCH_ROWS)
        tab.page.wait_for_timeout(LOOK_SECONDS * 1_000)
        assert tab.page.evaluate("window.moves") == []
        assert "Held while you look" in pill(tab)
        tab.page.evaluate("cancelAnimationFrame(window.watching)")
        tab.page.mouse.move(5, 5)
        expect(tab.page.locator("[data-live]").first).to_contain_text("Live", timeout=1_500)


def test_lost_helm_is_said_within_a_second_and_comes_back(
    browser: Browser, fleet: WebFleet, cookie: dict[str, str]
) -> None:
    with open_tab(browser, fleet.address, cookie=cookie) as tab:
        tab.go("/nodes")
        tab.follow("/devices?sort=name")
        tab.page.evaluate(
            """() => new MutationObserver(() => {
              if (document.querySelector('.banner[role=alert]')) window.told ??= performance.now();
            }).observe(document.body, {subtree: true, childList: true})"""
        )
        closed = tab.page.evaluate("performance.now()")
        fleet.ask("stop")
        stopped = tab.page.evaluate("performance.now()")
        try:
            banner = tab.page.get_by_role("alert")
            expect(banner).to_contain_text("Tunnels go on without it.")
            expect(banner.get_by_role("button", name="Try now")).to_be_visible()
            assert closed <= tab.page.evaluate("window.told") < stopped + 1_000
            assert "Offline, retry in" in pill(tab)
            # Reading works, acting does not, and says why.
            expect(tab.page.locator("tbody tr[data-at='0']")).to_contain_text("device-00000")
            tab.page.get_by_role("button", name="Invite").click()
            invite = tab.page.get_by_role("button", name="Make invitation")
            expect(invite).to_have_attribute("aria-disabled", "true")
            expect(invite).to_have_attribute("title", "helm is not answering")
            tab.page.keyboard.press("Escape")
            tab.page.get_by_role("link", name="Nodes").first.click()
            expect(tab.page.locator("tbody tr[data-at='0']")).to_contain_text("node-000")
        finally:
            fleet.ask("start")
        tab.page.get_by_role("button", name="Try now").click()
        expect(tab.page.locator("[data-live=live]").first).to_be_visible()
        expect(banner).to_have_count(0)
