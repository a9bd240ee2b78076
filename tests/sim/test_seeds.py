"""The storm: 200 seeds in two processes, those that once failed, and that a seed tells the same story twice.

What it costs is said by each ending; 200 take some three minutes on two cores. More: `make sim SEEDS=10000`.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.sim.running import tell_all

pytestmark = pytest.mark.sim

SEEDS = range(1, 1 + int(os.environ.get("SIM_SEEDS") or "200"))
CORPUS = json.loads((Path(__file__).parent / "seeds.json").read_text())
"""Seeds that have found something, with what it was."""


def test_invariants_hold_whatever_happens() -> None:
    endings = tell_all(SEEDS, workers=2)
    failed = [
        f"seed {one['seed']}: {one['failed']}; again: make sim SEED={one['seed']}" for one in endings if one["failed"]
    ]
    assert not failed, "\n".join(failed)
    assert [ending["seed"] for ending in endings] == list(SEEDS)


@pytest.mark.parametrize("once", CORPUS, ids=lambda once: str(once["seed"]))
def test_seed_that_once_failed_passes(once: dict[str, object]) -> None:
    (ending,) = tell_all([int(str(once["seed"]))])
    assert not ending["failed"], f"{ending['failed']}; once it was: {once['found']}"


def test_a_seed_tells_one_story_in_every_process_and_another_seed_another() -> None:
    once, again = tell_all([3, 4], more=["--trace"]), tell_all([3, 4], more=["--trace"])
    assert [ending["told"] for ending in once] == [ending["told"] for ending in again]
    assert [ending["trace"] for ending in once] == [ending["trace"] for ending in again]
    assert once[0]["told"] != once[1]["told"]
