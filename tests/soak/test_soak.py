"""Some seconds of a soak: daemons are killed, and nothing is lost. Cost: a minute and a half, at most.

Too short to judge what grows, which `make soak MINUTES=30` is for.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from tests.soak.course import soak
from tests.support.figures import Fault, record
from tests.system.needs import missing_for_lab

pytestmark = pytest.mark.journey

MINUTES = 0.6
SEED = 1
LONGEST = 300.0


async def test_a_fleet_under_load_and_faults_loses_nothing(tmp_path: Path) -> None:
    if (missing := missing_for_lab()) is not None:
        pytest.skip(missing)
    with trio.fail_after(LONGEST):
        outcome = await soak(tmp_path, MINUTES, SEED)
    assert outcome.lost == []
    assert outcome.errors == []
    assert outcome.faults >= 3
    assert outcome.acts > 20
    assert outcome.echoes > 200
    record(Fault.RESTART_STORM, "changes lost or served wrongly in a soak", len(outcome.lost), f"of {outcome.acts}")
