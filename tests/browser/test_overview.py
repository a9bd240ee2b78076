"""The admin page in Chromium, as helm serves it: what it shows, and that it lives with the security policy."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import trio

from pharos.helm.web.spa import FOLDER
from tests.browser.chromium import PROGRAM, Page, open_page
from tests.browser.served import device, event, fleet, node, open_served, relay

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(PROGRAM is None, reason="no Chromium on this machine"),
    pytest.mark.usefixtures("built_page"),
]

SHOWN = "document.querySelector('main h1')"
PATIENCE = 60
"""Seconds; a browser starts slowly on a machine that is busy with the rest of the suite."""

# What a stranger could put where a name is shown; each would run, or fetch, if it were taken for markup.
PAYLOADS = (
    "<img src=x onerror=document.title='broken'>",
    "<script>document.title='broken'</script>",
    "<svg/onload=document.title='broken'>",
    "</title><iframe src=javascript:alert(1)>",
    "{@html 1}${document.title='broken'}",
)


def household() -> dict[str, Any]:
    return fleet(
        nodes=[
            node("cellar"),
            node("harbour", link="lost", detail="timed out after 15 s", address="2001:db8:1:2:3:4:5:6"),
        ],
        relays=[relay("quay")],
        devices=[device("Ida's phone"), device("Old phone", state="revoked")],
        events=[event(1, "link_up", node="id-cellar"), event(2, "device_enrolled", device="id-Ida's phone")],
    )


async def shown(page: Page, expression: str = SHOWN) -> str:
    with trio.fail_after(PATIENCE):
        await page.wait_for(expression)
    return await page.text()


async def test_overview_tells_the_state_of_the_fleet() -> None:
    async with open_served(household()) as served, open_page(served.address) as page:
        text = await shown(page)
        assert "1 of 2 nodes is healthy" in text
        assert "harbour does not answer" in text
        assert "timed out after 15 s" in text
        assert "Ida's phone enrolled" in text
        assert "3f9ac01b227710de" in text


async def test_page_lives_with_the_policy_and_asks_nobody_else() -> None:
    async with open_served(household()) as served, open_page(served.address) as page:
        await shown(page)
        await shown(page, "document.fonts.check('14px Geist')")
        assert page.complaints == []
        assert [url for url in page.requests if not url.startswith(served.address)] == []
        assert await page.evaluate("document.querySelectorAll('[style], style, script:not([src])').length") == 0


async def test_policy_check_would_notice_an_inline_script(tmp_path: Path) -> None:
    folder = tmp_path / "spa"
    shutil.copytree(FOLDER, folder)
    index = folder / "index.html"
    index.write_text(index.read_text().replace("</body>", "<script>document.title = 'broken'</script></body>"))
    async with open_served(household(), folder=folder) as served, open_page(served.address) as page:
        await shown(page)
        assert any("Content Security Policy" in complaint for complaint in page.complaints)


async def test_names_are_shown_as_text() -> None:
    status = fleet(
        nodes=[node(name, tags=[name], detail=name, link="lost") for name in PAYLOADS],
        relays=[relay(name, detail=name) for name in PAYLOADS],
        devices=[device(name, node=f"id-{name}", last_handshake_at="2026-07-12T14:02:11Z") for name in PAYLOADS],
        events=[event(n, "backup", text=name) for n, name in enumerate(PAYLOADS)],
    )
    async with open_served(status) as served, open_page(served.address) as page:
        text = await shown(page)
        for payload in PAYLOADS:
            assert text.count(payload) >= 5
        assert page.complaints == []
        assert await page.evaluate("document.title") == "Overview · PharosVPN"


async def test_picture_stays_when_helm_goes_silent() -> None:
    async with open_served(household()) as served, open_page(served.address) as page:
        await shown(page)
        served.stop()
        text = await shown(page, "document.querySelector('[role=alert]')")
        assert "helm is not answering. What you see is from" in text
        assert "Tunnels go on without it." in text
        assert "Offline, retry in" in text
        assert "1 of 2 nodes is healthy, as of" in text


async def test_picture_follows_the_fleet() -> None:
    async with open_served(household()) as served, open_page(served.address) as page:
        await shown(page)
        served.status = fleet(nodes=[node("cellar"), node("harbour")])
        text = await shown(page, f"{SHOWN}.textContent === 'All is well'")
        assert "Both nodes are healthy" in text


async def test_every_address_of_the_page_opens_it() -> None:
    async with open_served(household()) as served, open_page(f"{served.address}/nodes") as page:
        assert "timed out after 15 s" in await shown(page, "document.querySelector('tbody tr')")
        await page.evaluate("document.querySelector('a[href=\"/devices\"]').click()")
        assert "Old phone" in await shown(page, "document.title.startsWith('Devices')")
        await page.go(f"{served.address}/no/such/page")
        assert "No such page" in await shown(page, "document.title.startsWith('No such page')")


async def test_small_screen_fits_and_can_be_hit() -> None:
    async with open_served(household()) as served, open_page(served.address, width=320, height=720) as page:
        await shown(page)
        assert await page.evaluate("document.documentElement.scrollWidth") == 320
        # Links in running text apart, what a finger has to hit is 44 px.
        small = """[...document.querySelectorAll('button, nav a')].filter(e => e.offsetParent)
            .map(e => e.getBoundingClientRect()).filter(r => r.width && Math.min(r.width, r.height) < 44).length"""
        assert await page.evaluate(small) == 0
        tiny = """[...document.querySelectorAll('body *')].filter(e => e.offsetParent && e.textContent.trim()
            && parseFloat(getComputedStyle(e).fontSize) < 12).length"""
        assert await page.evaluate(tiny) == 0


async def test_reduced_motion_means_none() -> None:
    async with open_served(household()) as served, open_page(served.address, still=True) as page:
        await shown(page)
        served.status = household()
        served.status["events"].append(event(3, "handshake", device="id-Ida's phone", node="id-cellar"))
        await shown(page, "document.querySelector('.wash')")
        assert await page.evaluate("document.getAnimations().length") == 0


async def test_theme_follows_the_system_then_the_reader() -> None:
    async with open_served(household()) as served, open_page(served.address, dark=True) as page:
        await shown(page)
        assert await page.evaluate("document.documentElement.dataset.theme") == "dark"
        await page.evaluate("document.querySelector('header button').click()")
        await page.go(served.address)
        await shown(page)
        assert await page.evaluate("document.documentElement.dataset.theme") == "light"
