"""A peer that vanishes without a word is missed in time, whichever direction of the line died."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import trio

from pharos.wire.rpc.limits import KEEPALIVE_INTERVAL, KEEPALIVE_MISSES
from tests.system.lab.fleet import links, running_fleet

pytestmark = pytest.mark.system

DETECTION = 45.0
"""Seconds (security.md §3)."""
SLACK = 3
"""By which a deadline is stretched on a busy machine."""


async def test_half_open_links_are_found_and_come_back(tmp_path: Path) -> None:
    assert KEEPALIVE_INTERVAL * KEEPALIVE_MISSES <= DETECTION
    async with running_fleet(tmp_path, buoys=("buoya", "buoyb"), timeout=SLACK * DETECTION + 120) as fleet:
        lab = fleet.lab
        down: dict[str, float] = {}
        async with AsyncExitStack() as cuts:
            cut_at = trio.current_time()
            # helm hears no more from one node; nobody hears anybody at the other; the relay hears no more from helm.
            await cuts.enter_async_context(lab.drop("buoya", "helm"))
            await cuts.enter_async_context(lab.cut("buoyb"))
            await cuts.enter_async_context(lab.drop("helm", "beacon"))
            with trio.fail_after(SLACK * DETECTION):
                while len(down) < 3:
                    picture = await fleet.wait_status(
                        lambda picture: any(link != "up" and name not in down for name, link in links(picture).items())
                    )
                    for name, link in links(picture).items():
                        if link != "up":
                            down.setdefault(name, trio.current_time() - cut_at)
        # Nobody is missed before half the time of silence has passed: it was the silence, and nothing else.
        assert all(DETECTION / 3 < after <= SLACK * DETECTION for after in down.values()), down
        assert "silent" in fleet.processes["helm"].log.read_text()
        await fleet.wait_settled(peers=0)
