"""helm's machine is lost, and its record comes back from an old backup: nodes and devices go on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio

from pharos.caravel.errors import NoAnswerError
from pharos.caravel.tunnel.session import Tunnel
from pharos.helm.backup.archive import Made, make_backup
from pharos.helm.backup.restore import restore_backup
from pharos.helm.live.board import now_us
from tests.support.fleet import Fleet, running_fleet
from tests.support.helm import sample_act

pytestmark = pytest.mark.journey


async def echoes(tunnel: Tunnel, count: int = 3) -> int:
    await tunnel.wait_up(15)
    return (await tunnel.ping(count)).received


async def back_up(fleet: Fleet) -> Made:
    return await trio.to_thread.run_sync(lambda: make_backup(fleet.helm_state, fleet.folder, at=now_us()))


async def lose_and_restore(fleet: Fleet, made: Made) -> None:
    """Stop helm, take its directory away, and start another one from the backup."""
    await fleet.helm.stop()
    fleet.helm_state.rename(fleet.folder / f"lost-{made.header.at}-{now_us()}")
    fleet.helm_state.mkdir(mode=0o700)

    def restore() -> None:
        with made.path.open("rb") as file:
            restore_backup(file, fleet.helm_state, fleet.kit, sample_act())

    await trio.to_thread.run_sync(restore)
    await fleet.helm.start()


async def waiting(fleet: Fleet) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await fleet.ask("GET", "/api/v1/adoptions?state=waiting"))["items"]
    return found


async def read_again(fleet: Fleet) -> None:
    """Wait until the node was read and obeys the restored helm."""
    await fleet.wait_status(
        lambda picture: all(
            node["link"] == "up" and node["applied_revision"] == node["desired_revision"] for node in picture["nodes"]
        )
    )


async def test_late_device_keeps_its_tunnel_and_revoked_one_stays_out(tmp_path: Path) -> None:
    async with running_fleet(tmp_path, timeout=120) as fleet:
        await fleet.enrol("kept")
        await fleet.enrol("lost")
        await fleet.wait_settled(peers=2)
        made = await back_up(fleet)
        late = await fleet.enrol("late")
        await fleet.move_device("lost", "revoke")
        await fleet.wait_settled(peers=2)
        async with fleet.client("late") as client, client.connect("a") as tunnel:
            assert await echoes(tunnel) == 3
            await lose_and_restore(fleet, made)
            await read_again(fleet)
            # Nobody has decided yet, and nothing was cut.
            (adoption,) = await waiting(fleet)
            assert adoption["device_id"] == late.device_id
            assert await echoes(tunnel) == 3
            await fleet.ask(
                "POST", f"/api/v1/adoptions/{adoption['id']}/adopt", {"name": "late"}, version=adoption["version"]
            )
            await fleet.wait_settled(peers=2)
            assert await echoes(tunnel) == 3
        states = {device["name"]: device["state"] for device in (await fleet.ask("GET", "/api/v1/devices"))["items"]}
        assert states == {"kept": "active", "lost": "revoked", "late": "active"}
        async with fleet.client("kept") as client:
            # A new epoch: whatever it holds is older.
            assert (await client.sync()).changed
            async with client.connect("a") as tunnel:
                assert await echoes(tunnel) == 3
        async with fleet.client("lost") as client, client.connect("a") as tunnel:
            with pytest.raises((NoAnswerError, trio.TooSlowError)):
                await tunnel.wait_up(3)


async def test_refused_device_is_cut(tmp_path: Path) -> None:
    async with running_fleet(tmp_path, timeout=120) as fleet:
        made = await back_up(fleet)
        await fleet.enrol("late")
        await fleet.wait_settled(peers=1)
        await lose_and_restore(fleet, made)
        await fleet.wait_settled(peers=1)
        (adoption,) = await waiting(fleet)
        await fleet.ask("POST", f"/api/v1/adoptions/{adoption['id']}/refuse", version=adoption["version"])
        await fleet.wait_settled(peers=0)


async def test_one_backup_restored_twice_drives_the_fleet_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The second one is not the successor of the first, so the node waits for the end of the first one's lease.
    monkeypatch.setattr("pharos.helm.fleet.lease.LEASE", 1)
    async with running_fleet(tmp_path, timeout=120) as fleet:
        await fleet.enrol("kept")
        await fleet.wait_settled(peers=1)
        made = await back_up(fleet)
        for _ in range(2):
            await lose_and_restore(fleet, made)
            await fleet.wait_settled(peers=1)
            async with fleet.client("kept") as client:
                assert (await client.sync()).changed
                async with client.connect("a") as tunnel:
                    assert await echoes(tunnel) == 3
