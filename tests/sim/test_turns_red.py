"""What a storm is for: each weakened build is found by one of the first seeds, by the invariant that it breaks.

Ten stories at most for each, and most are found by the first or second: about half a minute.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import trio

from pharos.wire.world import inhabiting
from tests.sim.clockwork import run_seeded
from tests.sim.fleet import Size, found_fleet, open_fleet
from tests.sim.running import tell_all
from tests.sim.storm import Storm
from tests.sim.watch import BrokenInvariantError
from tests.sim.weakened import WEAKENED

pytestmark = pytest.mark.sim

WITHIN = 10
"""Seeds."""
FOUND = {
    "acknowledges-what-is-not-synced": (1, {"I1"}),
    "forgets-whom-it-denies": (1, {"I3"}),
    "syncs-no-file": (1, {"I3", "I5", "I7", "Sta"}),
    "serves-whom-it-served": (1, {"I2", "I7"}),
    "tells-its-key": (1, {"I4"}),
    "comes-up-empty": (1, {"I5"}),
    "chains-no-rows": (1, {"I6"}),
    "refuses-everything": (1, {"I7"}),
}
"""The first seed to try, and what may say so first; the seeds after it are tried if the storm has changed since."""


@pytest.mark.parametrize("weakness", FOUND)
def test_storm_finds_what_a_build_lacks_turns_red(weakness: str) -> None:
    first, invariants = FOUND[weakness]
    endings = tell_all(range(first, first + WITHIN), more=["--weakened", weakness, "--until-failed"])
    assert endings[-1]["failed"], f"none of {len(endings)} seeds has found it"
    assert endings[-1]["failed"][:2] in invariants or endings[-1]["failed"][:3] in invariants, endings[-1]["failed"]


@pytest.mark.parametrize("weakness", ["", "restores-the-old", "obeys-the-old"])
def test_restore_without_a_new_epoch_is_found_turns_red(tmp_path: Path, weakness: str) -> None:
    async def main() -> None:
        async with open_fleet(tmp_path, seed=1, web_port=18_441) as fleet:
            await found_fleet(fleet, Size(nodes=3, devices=3))
            with inhabiting(fleet.helm.world):
                storm = Storm(fleet, random.Random(1), lambda _text: None)
                await storm.keep_copy()
                for _ in range(4):
                    await storm.regroup()
                    await trio.sleep(1)
                    await storm.watch.look()
                await storm.restore()

    if not weakness:
        run_seeded(1, main)
        return
    with WEAKENED[weakness](), pytest.raises(BaseExceptionGroup) as caught:
        run_seeded(1, main)
    assert caught.group_contains(BrokenInvariantError, match="^I3"), caught.value
