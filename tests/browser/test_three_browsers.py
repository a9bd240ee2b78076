"""Three browsers look at one fleet, and agree; what two people change at once is put together by one of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.tabs import IN_CHROMIUM, Tab, open_tab, signed_in
from tests.support.webfleet.driver import WebFleet

pytestmark = [*IN_CHROMIUM]

FLEET = {"nodes": 3, "devices": 30}


@pytest.fixture
def three(browser: Browser, fleet: WebFleet, request: pytest.FixtureRequest) -> Iterator[list[Tab]]:
    """Three people, each with a browser of their own."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(
                open_tab(browser, fleet.address, cookie=signed_in(fleet, f"{name} {request.node.name[:30]}"))
            )
            for name in ("ada", "grace", "mary")
        ]


def told(tabs: list[Tab], selector: str) -> list[str]:
    return [" ".join(tab.page.locator(selector).all_inner_texts()) for tab in tabs]


def test_what_happens_is_seen_by_all_three(fleet: WebFleet, three: list[Tab]) -> None:
    for tab in three:
        tab.go("/nodes")
    # A link breaks, and heals.
    fleet.ask("cut", node="node-001")
    for tab in three:
        expect(tab.page.locator("tbody tr", has_text="node-001")).to_contain_text("No answer")
    fleet.ask("mend", node="node-001")
    for tab in three:
        expect(tab.page.locator("tbody tr", has_text="node-001")).to_contain_text("Healthy")
    # A record changes, at a terminal.
    node = fleet.find("nodes", "node-002")
    fleet.act("PATCH", f"/nodes/{node['id']}", {"name": "harbour"}, version=node["version"])
    for tab in three:
        expect(tab.page.locator("tbody tr", has_text="harbour")).to_be_visible()
    # Each says the same of everything.
    rows = told(three, "tbody tr[data-id] td:first-child")
    assert rows[0] == rows[1] == rows[2]
    for tab in three:
        assert tab.complaints == []


def test_act_in_one_browser_is_seen_in_the_others(fleet: WebFleet, three: list[Tab]) -> None:
    for tab in three:
        tab.go("/devices?sort=name")
    first = three[0].page
    device = fleet.find("devices", "device-00007")
    first.locator(f"tbody tr[data-id='{device['id']}']").click()
    drawer = first.get_by_role("complementary").last
    drawer.get_by_role("button", name="Disable").click()
    for tab in three:
        expect(tab.page.locator(f"tbody tr[data-id='{device['id']}']")).to_contain_text("Disabled")
    assert fleet.get(f"/devices/{device['id']}")["state"] == "disabled"


def test_browser_that_was_asleep_agrees_again(fleet: WebFleet, three: list[Tab]) -> None:
    for tab in three:
        tab.go("/nodes")
    three[1].page.context.set_offline(True)
    fleet.ask("stop")
    fleet.ask("start")
    node = fleet.find("nodes", "node-000")
    fleet.act("PATCH", f"/nodes/{node['id']}", {"note": "moved", "name": "cellar"}, version=node["version"])
    three[1].page.context.set_offline(False)
    for tab in three:
        expect(tab.page.locator("[data-live=live]").first).to_be_visible(timeout=30_000)
        expect(tab.page.locator("tbody tr", has_text="cellar")).to_be_visible()
