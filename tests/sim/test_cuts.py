"""A connection that is cut at any octet of its beginning: what was said is forgotten, and the next one comes up.

Some 400 cuts, ten seconds of one core.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
import trio

from pharos.caravel.errors import CaravelError
from pharos.wire.errors import WireError
from pharos.wire.world import inhabiting
from tests.sim.clockwork import run_seeded
from tests.sim.fleet import HELM, SimFleet, Size, found_fleet, open_fleet, wait_settled
from tests.sim.net import Way

pytestmark = pytest.mark.sim

WEB_PORT = 18_443
# Octets, both ways together: TCP's first to what a push and a sync are answered. Steps that are prime to each other and
# to the sizes of records, so that both ends of each message are met.
LINK, PASSAGE = range(0, 7_000, 29), range(0, 14_000, 83)


def test_links_and_passages_that_are_cut_at_any_octet_come_up_again(tmp_path: Path) -> None:
    synced = 0

    async def cut_links(fleet: SimFleet) -> None:
        (machine,) = fleet.nodes.values()
        for allowance in LINK:
            fleet.net.put_way(HELM, machine.host, Way(allowance=allowance))
            fleet.net.cut(HELM, machine.host)
            tried = fleet.net.dialled
            while fleet.net.dialled == tried:  # noqa: ASYNC110 -- a network tells nobody
                await trio.sleep(0.5)
            await trio.sleep(2)
        fleet.net.calm()
        with trio.fail_after(90):
            await wait_settled(fleet)

    async def cut_passages(fleet: SimFleet) -> int:
        heard = 0
        (beacon,) = fleet.beacons.values()
        for allowance in PASSAGE:
            fleet.net.put_way(fleet.devices["device-0"].host, beacon.host, Way(allowance=allowance))
            with suppress(CaravelError, WireError):
                await fleet.sync("device-0")
                heard += 1
            # As often as a beacon lets one device in.
            await trio.sleep(2)
        fleet.net.calm()
        await trio.sleep(60)
        await fleet.sync("device-0")
        return heard

    async def main() -> None:
        nonlocal synced
        async with open_fleet(tmp_path, seed=1, web_port=WEB_PORT) as fleet:
            await found_fleet(fleet, Size(nodes=1, devices=1))
            with inhabiting(fleet.helm.world):
                await cut_links(fleet)
                synced = await cut_passages(fleet)

    run_seeded(1, main)
    # The last ones have said all that they had to say, and the first ones had not.
    assert 0 < synced < len(PASSAGE)
