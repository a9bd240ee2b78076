"""A peer that vanishes without a word is missed in time, whichever direction of the line died."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.support.figures import Fault, record
from tests.system.lab.fleet import links, running_fleet

pytestmark = pytest.mark.system

DETECTION = 45.0
"""Seconds (security.md §3)."""
SLACK = 3
"""By which a deadline is stretched on a busy machine."""


def lost(picture: dict[str, Any]) -> set[str]:
    return {name for name, link in links(picture).items() if link != "up"}


@pytest.mark.row(32)
async def test_half_open_links_are_found_and_come_back(tmp_path: Path) -> None:
    async with running_fleet(tmp_path, buoys=("buoya", "buoyb"), timeout=SLACK * DETECTION + 120) as fleet:
        lab = fleet.lab
        after: dict[str, float] = {}
        async with AsyncExitStack() as cuts:
            cut_at = trio.current_time()
            # helm hears no more from one node; nobody hears anybody at the other; the relay hears no more from helm.
            await cuts.enter_async_context(lab.drop("buoya", "helm"))
            await cuts.enter_async_context(lab.cut("buoyb"))
            await cuts.enter_async_context(lab.drop("helm", "beacon"))
            with trio.fail_after(SLACK * DETECTION):
                while len(after) < 3:
                    picture = await fleet.wait_status(lambda picture: not lost(picture) <= after.keys())
                    for name in lost(picture):
                        after.setdefault(name, trio.current_time() - cut_at)
        record(Fault.BAD_NETWORK, "until the last of three half-open links counts as lost", max(after.values()), "s")
        # A link that works is never silent for a third of the time: that long after the cut none is lost yet, unless it
        # was lost for another reason.
        assert min(after.values()) > DETECTION / 3, after
        # By our own keepalive or, where something was on its way, by TCP's (30 s without progress).
        told = fleet.processes["helm"].log.read_text()
        assert "silent" in told or "cut off" in told
        await fleet.wait_settled(peers=0)
