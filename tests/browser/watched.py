"""A tab of an admin that is watched to its end: nothing was refused, and nobody but helm was asked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Browser

from tests.browser.tabs import Tab, open_tab, signed_in
from tests.support.webfleet.driver import WebFleet


@contextmanager
def watched(
    browser: Browser, fleet: WebFleet, name: str, *, role: str = "owner", meant: tuple[str, ...] = (), **options: Any
) -> Iterator[Tab]:
    """Open a tab of this admin; ``meant`` are parts of console lines that belong to the story.

    Chromium itself notes each answer that is a refusal.
    """
    with open_tab(browser, fleet.address, cookie=signed_in(fleet, name, role=role), **options) as tab:
        yield tab
        assert [told for told in tab.complaints if not any(word in told for word in meant)] == []
        assert tab.violations == []
        assert tab.strangers == []
