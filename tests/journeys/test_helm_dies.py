"""helm dies while people work: nobody notices, nodes and devices start by what they keep, and helm finds its way back.

Costs 25 s, most of it the start of programs.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.journeys.scene import COLD_START, CONVERGED, SLACK, echoing, open_scene, wait_echo
from tests.support.figures import Fault, record

pytestmark = [pytest.mark.journey, pytest.mark.system]


async def test_nobody_notices_that_helm_has_died(tmp_path: Path) -> None:
    async with open_scene(tmp_path) as scene:
        ada, bob = await scene.join("clienta"), await scene.join("clientb")
        await scene.join_as("phone", "clientb")
        await scene.wait_settled(peers=3)

        # Ada works through one node when helm dies.
        await ada.up("--node", "buoyb")
        inside = await scene.inner_addresses(ada)
        await wait_echo(ada, inside["buoyb"])
        async with echoing(ada, inside["buoyb"]) as echoes:
            await scene.kill("helm")

            # Bob, who knows the nodes from before, connects all the same.
            begun = time.monotonic()
            await bob.up("--node", "buoya")
            await wait_echo(bob, inside["buoya"])
            took = time.monotonic() - begun
            assert took <= SLACK * COLD_START
            record(Fault.COLD_START, "from the command to the first echo, helm dead", took, "s")

            # The operator revokes a phone. The record has it; no node can have heard of it.
            await scene.helm("devices", "revoke", "phone")
            assert await scene.names("devices", "revoked") == {"phone"}

            # Bob's node loses its power. It comes back by its last good orders, and Bob with it.
            await scene.kill("buoya")
            ready = await scene.start_again("buoya")
            assert ready <= SLACK * COLD_START
            record(Fault.KILLED_BUOY, "until it serves again", ready, "s")
            back = await wait_echo(bob, inside["buoya"])
            record(Fault.KILLED_BUOY, "until its device is answered again, after that", back, "s")
            assert len(scene.orders_on_disk("buoya").peers) == 3

            # helm returns, and tells them.
            took = await scene.start_again("helm") + await scene.wait_converged("clienta", "clientb")
            assert took <= SLACK * CONVERGED
            record(Fault.PARTITION, "from the start of helm until all agree", took, "s")

        # Of all this Ada has not missed a packet.
        assert echoes.lost == 0
        assert echoes.sent > 100
        assert (await scene.helm("audit", "verify"))["ok"] is True
