"""A third of all packets gone is slow, and it gets there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.system.lab.commands import CommandError
from tests.system.lab.fleet import running_fleet

pytestmark = pytest.mark.system

LOSS = 0.3
"""Of the packets of each direction: half of all round trips fail."""
TRIES = 10


async def persist(act: Callable[[], Awaitable[Any]]) -> None:
    """Repeat what may fail by a timeout, as a user would: each step of a try has one of 5 to 15 s."""
    for left in reversed(range(TRIES)):
        try:
            await act()
        except CommandError:
            if not left:
                raise
        else:
            return


@pytest.mark.row(32)
async def test_device_joins_and_syncs_while_packets_are_lost(tmp_path: Path) -> None:
    async with running_fleet(tmp_path, timeout=300) as fleet:
        link = await fleet.invite("clienta")

        async def sync() -> None:
            profiles = await fleet.caravel("clienta", "profiles")
            if not profiles["synced"]:
                raise CommandError(f"no sync: {profiles}")

        async with fleet.lab.lose("clienta", LOSS):
            await persist(lambda: fleet.caravel("clienta", "enroll", "-", stdin=link))
            await persist(sync)
        await fleet.wait_settled(peers=1)


@pytest.mark.row(32)
async def test_node_is_told_of_a_new_device_while_packets_are_lost(tmp_path: Path) -> None:
    async with running_fleet(tmp_path, timeout=300) as fleet:
        async with fleet.lab.lose("buoya", LOSS):
            await fleet.enrol("clienta")
            await fleet.wait_settled(peers=1)
            await fleet.revoke("clienta")
            await fleet.wait_settled(peers=0)
