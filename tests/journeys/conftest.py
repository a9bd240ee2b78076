"""The builder of packages, which the journeys' first page calls, is found by whoever has imported this.

And a machine that cannot hold a lab says so once per journey, with the way to get what is missing.
"""

from __future__ import annotations

import pytest

import tests.packaging.built  # noqa: F401 -- puts the builder's modules on the path
from tests.system.conftest import quiet_polls  # noqa: F401 -- a fixture
from tests.system.needs import missing_for_lab


@pytest.fixture(autouse=True)
def needs_lab() -> None:
    """Skip where there can be no lab."""
    if (missing := missing_for_lab()) is not None:
        pytest.skip(missing)
