"""The laptop with helm is lost: its last backup becomes a helm elsewhere, and nobody's tunnel has to notice.

Costs 35 s, most of it the start of programs.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.journeys.scene import SLACK, Scene, echoing, open_scene, wait_echo
from tests.support.figures import Fault, record
from tests.system.lab.commands import CommandError

pytestmark = [pytest.mark.journey, pytest.mark.system]

RESTORED = 60.0
"""Seconds from the backup to a helm that nodes obey (security.md §3)."""
OTHER_DESK = "buoyb"
"""A host at which nothing of the fleet stands."""


async def test_a_lost_laptop_costs_nobody_his_tunnel(tmp_path: Path) -> None:
    async with open_scene(tmp_path, buoys=("buoya",)) as scene:
        # Ada's laptop has a device and a phone in the fleet, and an invitation under way. She makes a backup.
        ada = await scene.join("clienta")
        await scene.join_as("phone", OTHER_DESK)
        await scene.wait_settled(peers=2)
        assert await is_served(scene, "phone")
        invitation = await scene.invite("guest")
        stick = tmp_path / "stick"
        stick.mkdir()
        backup = (await scene.helm("backup", "--to", str(stick)))["file"]

        # The next day Bob joins, and the phone is stolen and revoked. Of neither the backup knows.
        bob = await scene.join("clientb")
        await scene.helm("devices", "revoke", "phone")
        await scene.wait_converged("clienta", "clientb")
        epoch = scene.orders_on_disk("buoya").fence.epoch
        address = await scene.inner_address(ada, "buoya")
        at_work, _ = await ada.up(), await bob.up()
        for device in (ada, bob):
            await wait_echo(device, address)

        # Then the laptop is gone, and she sits down elsewhere with the backup and the kit.
        async with echoing(ada, address) as hers, echoing(bob, address) as his:
            await scene.lose_desk()
            begun = time.monotonic()
            restored = await scene.restore(backup, at=OTHER_DESK)
            await scene.run_helm()
            await scene.wait_settled(peers=2)
            took = time.monotonic() - begun
            assert took <= SLACK * RESTORED

            # Time has not gone back: not for the node, not for the phone, not for the invitation.
            assert scene.orders_on_disk("buoya").fence.epoch == restored["epoch"] > epoch
            assert await scene.names("devices", "revoked") == {"phone"}
            assert not await is_served(scene, "phone")
            assert restored["tickets_withdrawn"] == 1
            with pytest.raises(CommandError, match="ticket is used up, expired or unknown"):
                await scene.join_as("guest", OTHER_DESK, link=invitation)

            # Bob, of whom this helm knows nothing, is shown to her, and has kept his tunnel. She knows him.
            (unknown,) = await scene.helm("adoptions", "list")
            await scene.helm("adoptions", "adopt", unknown["id"], "--name", "clientb")
            await scene.wait_converged("clienta", "clientb")
        assert (hers.lost, his.lost) == (0, 0)

        # What helm tells a device from now on is newer than all that it has.
        await ada.caravel("down")
        await at_work.wait()
        assert (await ada.caravel("profiles"))["synced"] is True
        assert (await ada.caravel("status"))["bundle"].startswith(f"{restored['epoch']}.")
        assert (await scene.helm("audit", "verify"))["ok"] is True
        record(Fault.OLD_BACKUP, "from the backup to a helm that the nodes obey", took, "s")
        record(
            Fault.OLD_BACKUP,
            "packets of live tunnels lost meanwhile",
            hers.lost + his.lost,
            f"of {hers.sent + his.sent}",
        )


async def is_served(scene: Scene, name: str) -> bool:
    """Tell whether a device that only looks gets an answer from the node."""
    found = await scene.doctor(name, OTHER_DESK)
    return found.get("node:buoya:amneziawg") == "ok"
