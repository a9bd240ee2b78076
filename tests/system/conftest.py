"""A machine that cannot hold a lab says so once per test, with the way to get what is missing."""

from __future__ import annotations

import logging

import pytest

from tests.system.needs import missing_for_lab


@pytest.fixture(autouse=True)
def needs_lab(request: pytest.FixtureRequest) -> None:
    """Skip what is marked `system` where there can be no lab."""
    if request.node.get_closest_marker("system") is not None and (missing := missing_for_lab()) is not None:
        pytest.skip(missing)


@pytest.fixture(autouse=True)
def quiet_polls(caplog: pytest.LogCaptureFixture) -> None:
    """Keep a line per question to helm out of the reports: a test that waits for a minute asks a thousand."""
    caplog.set_level(logging.WARNING, logger="httpx")
