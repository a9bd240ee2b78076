"""The page under test is made from the sources beside it; one browser and one fleet serve a module's tests."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.browser.tabs import open_browser
from tests.support.webfleet.driver import WebFleet, open_web_fleet

SCRIPT = Path(__file__).resolve().parents[2] / "packaging/spa.py"


@pytest.fixture(scope="session")
def built_page() -> None:
    """Bring the built page up to date: seconds, or nothing when it is."""
    subprocess.run([sys.executable, str(SCRIPT)], check=True)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def fleet(
    request: pytest.FixtureRequest, built_page: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[WebFleet]:
    """The fleet that the module's ``FLEET`` describes, as `WebFleet.make` takes it; it may log no error."""
    with open_web_fleet(tmp_path_factory.mktemp("fleet"), **request.module.FLEET) as fleet:
        yield fleet
        assert fleet.complaints() == []
