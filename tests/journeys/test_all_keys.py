"""Every key of a fleet is exchanged, and every node hides behind another look, while people work: none of them notices.

Costs 40 s, most of it the start of the fleet.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import pytest
import trio

from pharos.wire.console import CommandError
from tests.journeys.scene import POLL_INTERVAL, SLACK, Scene, echoing, open_scene, wait_echo

pytestmark = [pytest.mark.journey, pytest.mark.system]

AUTHORITIES: Final = ("fleet_ca", "device_ca", "controller")
OWN: Final = ("signing_key", "noise_key")
INSTANT: Final = 4
"""Echoes of 50 ms each."""


async def rotated(scene: Scene) -> dict[str, Any]:
    """Wait until a rotation is over, and return what there is then; the owner does not wait for the next look at nodes.

    Devices are told by helm, and answer without their people.
    """
    while (shown := await scene.ask("GET", "/api/v1/ca"))["rotation"] is not None:
        for waiting in shown["rotation"]["waiting"]:
            if waiting["role"] == "node":
                path = f"/api/v1/nodes/{waiting['id']}"
                # helm may write something about it in between; then at the next look.
                with suppress(CommandError):
                    await scene.ask("POST", f"{path}/push", version=(await scene.ask("GET", path))["version"])
        await trio.sleep(POLL_INTERVAL)
    return shown


async def test_every_key_is_exchanged_under_traffic(tmp_path: Path) -> None:
    async with open_scene(tmp_path) as scene:
        ada = await scene.join("clienta")
        await ada.up("--node", "buoya")
        near = await scene.inner_address(ada, "buoya")
        await wait_echo(ada, near)
        before = await scene.helm("ca", "show")

        async with echoing(ada, near) as echoes:
            # The owner takes the kit out of the drawer.
            kit = scene.folder / "kit.txt"
            kit.write_text(scene.kit)
            await scene.helm("ca", "rotate", "--kit", str(kit))
            after = await rotated(scene)

        # Nothing of the old trust is left, and Ada has not missed it, nor a packet.
        assert all(after[what]["key"] != before[what]["key"] for what in AUTHORITIES)
        assert all(after[what] != before[what] for what in OWN)
        assert (echoes.lost, echoes.sent > 0) == (0, True)

        # Each node gets another look, which takes an instant: between its word and hers a few packets are lost.
        async with echoing(ada, near) as echoes:
            await scene.helm("nodes", "reissue", "--all")
            await scene.wait_converged("clienta")
        assert echoes.lost < SLACK * INSTANT

        # Whoever loses its power comes back by the keys that there are now.
        for name in ("beacon", "buoya", "buoyb", "helm"):
            await scene.kill(name)
            await scene.start_again(name)
        await scene.wait_converged("clienta")
        await wait_echo(ada, near)

        # And whoever joins now has never heard of others.
        await scene.join_as("phone", "clientb")
        assert (await scene.helm("audit", "verify"))["ok"] is True
