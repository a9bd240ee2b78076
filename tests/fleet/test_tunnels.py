"""Traffic flows through the nodes, with helm and without, until a device is revoked."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import trio

from pharos.caravel.errors import HelmRefusedError, NoAnswerError
from pharos.caravel.tunnel.session import Tunnel
from tests.support.fleet import Fleet, running_fleet

UP = 15.0


async def echoes(tunnel: Tunnel, count: int = 20) -> int:
    await tunnel.wait_up(UP)
    return (await tunnel.ping(count)).received


async def enrolled_fleet(fleet: Fleet, *names: str) -> None:
    for name in names:
        await fleet.enrol(name)
    await fleet.wait_settled(peers=len(names))


async def test_every_node_answers_every_echo(tmp_path: Path) -> None:
    async with running_fleet(tmp_path, buoys=("a", "b")) as fleet:
        await enrolled_fleet(fleet, "laptop")
        async with fleet.client() as client:
            for node in ("a", "b"):
                async with client.connect(node) as tunnel:
                    assert await echoes(tunnel) == 20


async def test_both_ends_derive_the_same_secret_and_helm_sees_the_handshake(tmp_path: Path) -> None:
    async with running_fleet(tmp_path) as fleet:
        await enrolled_fleet(fleet, "laptop")
        async with fleet.client() as client, client.connect("a") as tunnel:
            assert await echoes(tunnel) == 20
            seen = await fleet.wait_status(
                lambda picture: (
                    any(event["kind"] == "handshake" for event in picture["events"])
                    and picture["devices"][0]["last_handshake_at"] is not None
                )
            )
        (event,) = [event for event in seen["events"] if event["kind"] == "handshake"]
        assert event["device"] == seen["devices"][0]["id"]
        assert event["node"] == seen["nodes"][0]["id"]


async def test_revoked_device_is_cut_from_a_live_tunnel_and_refused_anew(tmp_path: Path) -> None:
    async with running_fleet(tmp_path) as fleet:
        await enrolled_fleet(fleet, "laptop", "phone")
        async with fleet.client("phone") as phone, fleet.client("laptop") as laptop:
            async with phone.connect("a") as cut, laptop.connect("a") as other:
                assert await echoes(cut, 3) == 3
                assert await echoes(other, 3) == 3
                await fleet.move_device("phone", "revoke")
                await fleet.wait_settled(peers=1)
                assert (await cut.ping(3)).received == 0
                assert (await other.ping(3)).received == 3
            async with phone.connect("a") as refused:
                with pytest.raises(NoAnswerError):
                    await refused.wait_up(1)
            # The relay refuses it before helm hears of it, and what it holds already stays readable.
            with pytest.raises(HelmRefusedError):
                await phone.sync()
            assert phone.profile().nodes


async def test_tunnels_go_on_and_new_ones_open_while_helm_and_beacon_are_away(tmp_path: Path) -> None:
    async with running_fleet(tmp_path) as fleet:
        await enrolled_fleet(fleet, "laptop")
        assert fleet.beacon is not None
        async with fleet.client() as client:
            async with client.connect("a") as tunnel:
                assert await echoes(tunnel, 3) == 3
                await fleet.helm.stop()
                await fleet.beacon.stop()
                assert await echoes(tunnel) == 20
            async with client.connect("a") as tunnel:
                assert await echoes(tunnel) == 20
            with pytest.raises(NoAnswerError):
                await client.sync()


async def test_buoy_comes_up_from_disk_with_helm_absent(tmp_path: Path) -> None:
    async with running_fleet(tmp_path) as fleet:
        await enrolled_fleet(fleet, "laptop")
        await fleet.helm.stop()
        await fleet.buoys["a"].stop()
        await fleet.buoys["a"].start()
        async with fleet.client() as client, client.connect("a") as tunnel:
            assert await echoes(tunnel) == 20


async def test_returning_helm_heals_what_a_node_missed(tmp_path: Path) -> None:
    async with running_fleet(tmp_path) as fleet:
        await enrolled_fleet(fleet, "laptop", "phone")
        await fleet.buoys["a"].stop()
        await fleet.move_device("phone", "revoke")
        await fleet.helm.stop()
        # The buoy still serves both, for it heard of nothing.
        await fleet.buoys["a"].start()
        async with fleet.client("phone") as phone, phone.connect("a") as tunnel:
            assert await echoes(tunnel, 3) == 3
            await fleet.helm.start()
            await fleet.wait_settled(peers=1)
            assert (await tunnel.ping(3)).received == 0


async def test_junk_at_the_tunnel_port_harms_nobody(tmp_path: Path) -> None:
    async with running_fleet(tmp_path) as fleet:
        await enrolled_fleet(fleet, "laptop")
        address = ("127.0.0.1", fleet.ports["a"]["awg_port"])
        async with fleet.client() as client, client.connect("a") as tunnel:
            assert await echoes(tunnel, 3) == 3
            with trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                for size in (0, 1, 31, 32, 92, 148, 1200):
                    await sock.sendto(b"\xff" * size, address)
            assert await echoes(tunnel) == 20
