"""Tabs of Debian's Chromium, by Playwright: signed in, watched, at a width and in a theme."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import attrs
import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    Request,
    ViewportSize,
    sync_playwright,
)

from tests.support.webfleet.driver import WebFleet

PROGRAM: Final = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
"""None where there is no Chromium: the suite says so and skips."""
IN_CHROMIUM: Final = (
    pytest.mark.browser,
    pytest.mark.skipif(PROGRAM is None, reason="no Chromium on this machine"),
)
FLAGS: Final = (
    "--no-sandbox",  # the suite may run as root in a container
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
WIDTHS: Final = (360, 760, 1024, 1440, 2560)
HEIGHTS: Final = {320: 640, 360: 740, 760: 1024, 1024: 768, 1440: 900, 2560: 1440}
PATIENCE: Final = 15_000
"""Milliseconds until what has to appear is there, on a machine that is busy."""

SCRIPT: Final = Path(__file__).with_name("checks.js")


# There is a page, and nothing of it is still a grey bar.
SHOWN: Final = """() => document.querySelector('main')?.childElementCount
  && !document.querySelector('main [aria-busy=true], main .skel')"""


@attrs.define(slots=False)  # Playwright hangs what it needs on whoever owns a handler
class Tab:
    """One tab, and what it has complained of since it was opened."""

    page: Page
    address: str
    """Of helm's page, without the last slash."""
    complaints: list[str] = attrs.field(factory=list, init=False)
    """Console errors and warnings, uncaught exceptions, refusals by the security policy."""
    requests: list[str] = attrs.field(factory=list, init=False)
    """Addresses it has asked for."""
    violations: list[str] = attrs.field(factory=list, init=False)
    """What the security policy has refused."""

    def listen(self) -> None:
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.complaints.append(f"uncaught: {error}"))
        self.page.on("request", self._request)

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning", "assert"):
            self.complaints.append(f"{message.text} {message.location.get('url', '')}")

    def _request(self, request: Request) -> None:
        self.requests.append(request.url)

    def go(self, path: str) -> None:
        """Load a path anew, and wait until its page has said its sentence."""
        self.page.goto(self.address + path)
        self.wait_shown()

    def wait_shown(self) -> None:
        """Wait until the picture of the fleet is there, and the page has what it asked for."""
        self.page.wait_for_selector("[data-live=live]", state="attached", timeout=PATIENCE)
        self.page.wait_for_function(SHOWN, timeout=PATIENCE)

    def follow(self, path: str) -> None:
        """Go to another page of the app as its links do, without loading anything anew."""
        self.page.evaluate(
            """path => { delete document.documentElement.dataset.stands;
            const link = Object.assign(document.createElement('a'), {href: path});
            document.body.append(link); link.click(); link.remove() }""",
            path,
        )
        # The address changes before the page does, and the old one looks whole until then.
        self.page.wait_for_function(
            "path => document.documentElement.dataset.stands?.split('?')[0] === path",
            arg=urlsplit(path).path,
            timeout=PATIENCE,
        )
        self.wait_shown()

    @property
    def strangers(self) -> list[str]:
        """Requests to anybody but helm."""
        home = urlsplit(self.address).netloc
        return [url for url in self.requests if urlsplit(url).netloc not in (home, "")]

    def text(self) -> str:
        """Return what a reader sees."""
        return self.page.inner_text("body").replace("\N{NO-BREAK SPACE}", " ")

    def seen(self, what: str) -> Any:
        """Return what the document has noted: violations, shifts, tasks or paints."""
        return self.page.evaluate(f"window.seen.{what}")

    def shift(self) -> float:
        """Return the sum of layout shifts since the document began, or since `forget`."""
        return float(sum(entry["value"] for entry in self.seen("shifts")))

    def check(self, name: str, *arguments: object) -> list[str]:
        """Return what a check of ``checks.js`` finds wrong."""
        return list(self.page.evaluate(f"words => checks.{name}(...words)", list(arguments)))

    def forget(self) -> None:
        """Begin to count anew."""
        self.page.evaluate("Object.assign(window.seen, {violations: [], shifts: [], tasks: []})")
        self.complaints.clear()
        self.requests.clear()
        self.violations.clear()


@contextmanager
def open_browser() -> Iterator[Browser]:
    """Run Chromium while the block lasts."""
    assert PROGRAM is not None, "no Chromium on this machine"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=PROGRAM, args=[*FLAGS])
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def open_tab(
    browser: Browser,
    address: str,
    *,
    cookie: dict[str, str] | None = None,
    width: int = 1440,
    size: ViewportSize | None = None,
    theme: str = "light",
    still: bool = False,
    locale: str = "en-GB",
    **options: Any,
) -> Iterator[Tab]:
    """Open a tab with a profile of its own; ``cookie`` is what signs it in, ``still`` asks for reduced motion."""
    context: BrowserContext = browser.new_context(
        viewport=size or {"width": width, "height": HEIGHTS.get(width, 900)},
        color_scheme="dark" if theme == "dark" else "light",
        reduced_motion="reduce" if still else "no-preference",
        locale=locale,
        timezone_id="Europe/Berlin",
        has_touch=width <= 760,
        is_mobile=width <= 760,
        **options,
    )
    try:
        context.set_default_timeout(PATIENCE)
        if cookie is not None:
            context.add_cookies([{**cookie, "httpOnly": True, "sameSite": "Strict"}])  # type: ignore[typeddict-item]
        context.add_init_script(path=SCRIPT)
        tab = Tab(context.new_page(), address)
        tab.listen()
        context.expose_binding("tellViolation", lambda _source, told: tab.violations.append(told))
        yield tab
    finally:
        context.close()


def signed_in(fleet: WebFleet, name: str, *, role: str = "owner") -> dict[str, str]:
    """Return the cookie of a new admin."""
    return dict(fleet.ask("cookie", name=name, role=role))


def picture(tab: Tab, path: Path) -> None:
    """Write what is seen as a PNG."""
    tab.page.screenshot(path=path)


class Findings:
    """What was found wrong, by where; all of it is told at once."""

    def __init__(self) -> None:
        self._found: dict[str, list[str]] = {}

    def add(self, where: str, wrong: Iterable[str]) -> None:
        """Note what is wrong there, each thing once."""
        known = self._found.setdefault(where, [])
        known += [line for line in dict.fromkeys(wrong) if line not in known]

    def check(self) -> None:
        """Fail if there is anything."""
        told = [f"{where}: {line}" for where, wrong in self._found.items() for line in wrong]
        assert not told, f"{len(told)} findings\n" + "\n".join(told)
