"""Guards for every test, and nothing else: people and scenarios live in ``tests/support``."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator

import hypothesis
import pytest

from tests.support.suites import HEAVY

# A noisy core must not fail a property by its clock; how long a test takes is asserted in bench/.
hypothesis.settings.register_profile("house", deadline=None)
hypothesis.settings.load_profile("house")
# No test, and no process that one starts, leaves keys in the keyring of whoever runs it.
os.environ["PYTHON_KEYRING_BACKEND"] = "keyring.backends.fail.Keyring"


def everything_wanted() -> bool:
    return os.environ.get("CI") == "true" or os.environ.get("SUITE") == "all"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if everything_wanted():
        return
    for item in items:
        for mark in HEAVY:
            if item.get_closest_marker(mark):
                item.add_marker(pytest.mark.skip(reason=f"{mark} suite: run with SUITE=all"))


@pytest.fixture(autouse=True)
def no_unasserted_error_log(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Fail a test that logged an ERROR and did not look at it; one that looked calls ``caplog.clear()``."""
    yield
    # `call`, not `records`: at teardown caplog's own handler has moved on to the next phase.
    errors = [r for r in caplog.get_records("call") if r.levelno >= logging.ERROR]
    assert not errors, "unasserted ERROR log:\n" + "\n".join(r.getMessage() for r in errors)
