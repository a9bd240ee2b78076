"""A beacon is stolen: its thief carries letters that he cannot read, ends what he likes, and soon nobody goes there.

Costs 35 s, most of it the start of programs.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from pharos.wire.pki.roles import Role
from tests.journeys.evilrelay import canaries, profile_of, seen_in
from tests.journeys.scene import CUT, SLACK, open_scene
from tests.journeys.thief import CONTROL_PORT, INGRESS_PORT, TUNNEL_PORT, find_in, steal

pytestmark = [pytest.mark.journey, pytest.mark.system]

OTHER = "buoyb"
"""Where the second relay stands."""
PORTS = (INGRESS_PORT, TUNNEL_PORT)


async def test_the_thief_of_a_beacon_reads_nothing_and_is_left(tmp_path: Path) -> None:
    async with open_scene(tmp_path, buoys=("buoya",), beacons=("beacon", OTHER)) as scene:
        ada = await scene.join("clienta")

        # The relay goes on, by its own keys, in the hands of somebody else. helm cannot tell.
        thief = await steal(scene, "beacon", role=Role.RELAY, at="beacon")
        # From here on it is counted who comes.
        await thief.knocks(*PORTS)
        relay = await thief.run_beacon()
        await thief.wait_callers(TUNNEL_PORT, 1)
        await scene.wait_settled(peers=1)

        # A day on which everybody goes by him: a device asks for its profile, and another one joins.
        async with scene.lab.cut(OTHER):
            await ada.caravel("profiles")
            ticket = await scene.invite("phone")
            phone = await scene.join_as("phone", "clientb", link=ticket)
        passages, everything = seen_in(relay.log)
        assert passages >= 2
        assert await thief.knocks(*PORTS) >= 3
        secrets = canaries(phone, ticket)
        assert find_in(everything, secrets) == set()
        # So one looks for it: what went by is there, once the device has opened it.
        assert find_in(profile_of(phone), secrets) == {"the device", "a node's name", "a node's address"}
        # What else he has opens no door: he is no helm to a node, and no device to the other relay.
        assert not await thief.is_let_in("buoya", CONTROL_PORT)
        assert not await thief.is_let_in(OTHER, TUNNEL_PORT)
        assert not await thief.is_let_in(OTHER, INGRESS_PORT)
        assert await thief.is_let_in(OTHER, INGRESS_PORT, as_stranger=True)

        # Now he ends what comes. Devices go by the other relay.
        await relay.kill()
        relay = await thief.run_beacon("cut")
        await thief.wait_callers(TUNNEL_PORT, 1)
        await scene.wait_settled(peers=2)
        assert (await ada.caravel("profiles"))["synced"] is True
        passages, _ = seen_in(relay.log)
        assert passages >= 1

        # The operator says the word. helm hangs up, and after this nobody comes: no device, no newcomer, no helm.
        await scene.helm("relays", "revoke", "beacon", "--yes")
        with trio.fail_after(SLACK * CUT):
            await thief.wait_callers(TUNNEL_PORT, 0)
        await ada.caravel("profiles")
        before = await thief.knocks(*PORTS)
        await scene.kill("helm")
        await scene.start_again("helm")
        await scene.wait_converged("clienta", "phone")
        assert (await ada.caravel("profiles"))["synced"] is True
        await scene.join_as("tablet", "clientb")
        await ada.up()
        await ada.wait_phase("up")
        assert await thief.knocks(*PORTS) == before
        assert (await scene.helm("audit", "verify"))["ok"] is True
