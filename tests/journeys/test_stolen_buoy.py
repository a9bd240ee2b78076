"""A buoy is stolen: until somebody says so its thief is that node and nothing else, and then he is nobody.

Costs 35 s, most of it the start of programs.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import trio

from pharos.caravel.profiles.store import ProfileStore
from pharos.wire.errors import LocalProtocolError
from pharos.wire.pki.roles import Role
from pharos.wire.seal.blind import derive_psk
from pharos.wire.world import utc_now
from tests.journeys.scene import COLD_START, CUT, FAIL_OVER, SLACK, open_scene, wait_echo
from tests.journeys.thief import CONTROL_PORT, INGRESS_PORT, TUNNEL_PORT, pairing_with, secrets_beside, steal
from tests.system.lab.commands import CommandError

pytestmark = [pytest.mark.journey, pytest.mark.system]


async def test_the_thief_of_a_buoy_is_that_node_and_then_nobody(tmp_path: Path) -> None:
    async with open_scene(tmp_path) as scene:
        ada = await scene.join("clienta")
        at_work = await ada.up()
        inside = await scene.inner_addresses(ada)

        # Somebody walks out with a machine, and runs it elsewhere as if nothing had happened.
        thief = await steal(scene, "buoya", role=Role.NODE, at="clientb")
        await thief.take_its_place()
        await thief.run_buoy()

        # He is that node: helm drives him, and a device that goes there is served.
        await thief.wait_callers(CONTROL_PORT, 1)
        await scene.wait_settled(peers=1)
        await ada.caravel("switch", "buoya")
        await wait_echo(ada, inside["buoya"])

        # He is nothing else: not helm to another node or to a relay, and no device.
        assert not await thief.is_let_in("buoyb", CONTROL_PORT)
        assert not await thief.is_let_in("beacon", TUNNEL_PORT)
        assert not await thief.is_let_in("beacon", INGRESS_PORT)
        assert await thief.is_let_in("beacon", INGRESS_PORT, as_stranger=True)
        # And what a device shares with another node he has not, nor can he work it out.
        assert thief.finds(secrets_beside(scene, "buoyb", ada.state)) == set()
        assert thief.finds({"its own key": thief.keys.awg_key}) == {"its own key"}
        with pytest.raises(LocalProtocolError, match="neither side"):
            derive_psk(pairing_with(ada.state, "buoyb"), thief.keys.derive_key)

        # The operator says the word. The device is elsewhere within seconds, and helm is gone from there.
        begun = time.monotonic()
        await scene.helm("nodes", "revoke", "buoya", "--yes")
        await wait_echo(ada, inside["buoyb"])
        assert time.monotonic() - begun <= SLACK * (CUT + FAIL_OVER)
        with trio.fail_after(SLACK * CUT):
            await thief.wait_callers(CONTROL_PORT, 0)

        # It stays so for whoever starts anew, also for one who is told to go there.
        for name in ("helm", "buoyb"):
            await scene.kill(name)
            await scene.start_again(name)
        await scene.wait_converged("clienta")
        await ada.caravel("down")
        await at_work.wait()
        await ada.up()
        assert await wait_echo(ada, inside["buoyb"]) <= SLACK * COLD_START
        with pytest.raises(CommandError, match="has no node 'buoya'"):
            await ada.caravel("switch", "buoya")
        assert thief.keys.membership(now=utc_now()).identity.id in ProfileStore(ada.state).denied().nodes
        assert await thief.callers(CONTROL_PORT) == 0
        assert not await thief.is_let_in("buoyb", CONTROL_PORT)
        assert (await scene.helm("audit", "verify"))["ok"] is True
