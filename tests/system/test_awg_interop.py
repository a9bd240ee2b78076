"""Our engine and wireguard-go are one WireGuard: on lines good and bad, whoever begins."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from tests.system.lab.impair import Impairment
from tests.system.lab.network import Lab
from tests.system.lab.topology import HOSTS
from tests.system.lab.traffic import round_trips
from tests.system.tunnels import GO, OURS, PORT, End, counters, joined

pytestmark = pytest.mark.system

PAIRS = [(OURS, GO), (GO, OURS), (OURS, OURS)]
LOSS = 0.2
SIZE = 1_000_000


async def transfer(near: End, far: End, *, family: int = 4, size: int = SIZE) -> None:
    """Send bytes through the tunnel over TCP, and see them arrive."""
    address = far.inner(family)
    async with await far.lab.namespace(far.host).listen(address) as listener, trio.open_nursery() as nursery:
        port = listener.socket.getsockname()[1]

        async def send() -> None:
            async with await near.lab.namespace(near.host).connect(address, port) as stream:
                await stream.send_all(bytes(range(256)) * (size // 256))

        nursery.start_soon(send)
        async with await listener.accept() as stream:
            received = b"".join([part async for part in stream])
    assert received == bytes(range(256)) * (size // 256)


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize(("client", "server"), PAIRS)
async def test_both_speak_with_each_other_in_both_roles(tmp_path: Path, client: str, server: str, family: int) -> None:
    async with joined(tmp_path, client, server, family=family) as (_, near, far):
        for inner in (4, 6):
            assert await near.ping(far, inner) == 3
            assert await far.ping(near, inner) == 3
            await transfer(near, far, family=inner)
            await transfer(far, near, family=inner)
        received, sent = counters(await near.wg("show", near.interface, "transfer"))
        assert min(received, sent) > 2 * SIZE


@pytest.mark.parametrize(("client", "server"), [(OURS, GO), (OURS, OURS)])
async def test_keys_are_renewed_under_traffic(tmp_path: Path, client: str, server: str) -> None:
    async with joined(tmp_path, client, server) as (lab, near, far):
        assert await near.uapi("set=1", "rekey_after_time=2", "rekey_timeout=1") == "errno=0\n\n"
        assert await near.ping(far, 4) == 3
        first = (await near.state()).peers[0].last_handshake_ns
        assert len(await round_trips(lab, near.host, far.inner(4), count=50, interval=0.1)) == 50
        state = await near.state()
        # 5 s of pings, with new keys after each two.
        assert state.peers[0].last_handshake_ns - first > 3 * 10**9


@pytest.mark.parametrize("server", [GO, OURS])
async def test_a_client_that_moves_is_followed(tmp_path: Path, server: str) -> None:
    async with joined(tmp_path, OURS, server) as (lab, near, far):
        assert await near.ping(far, 4) == 3
        old = lab.host("clienta").address4
        assert await far.endpoint() == f"{old}:{PORT}"
        new = str(HOSTS["clienta"].network4[99])
        await lab.run("clienta", "ip", "addr", "del", f"{old}/24", "dev", "eth0")
        await lab.run("clienta", "ip", "addr", "add", f"{new}/24", "dev", "eth0")
        assert await near.ping(far, 4, count=10) >= 9
        assert await far.endpoint() == f"{new}:{PORT}"
        assert await far.ping(near, 4) == 3


@pytest.mark.parametrize(("client", "server"), [(OURS, GO), (GO, OURS)])
async def test_a_fifth_of_all_packets_lost_is_a_slow_tunnel_and_not_a_dead_one(
    tmp_path: Path, client: str, server: str
) -> None:
    async with joined(tmp_path, client, server, timeout=300) as (lab, near, far):
        async with lab.lose("clienta", LOSS):
            while not await near.ping(far, 4):
                pass
            await transfer(near, far, size=30_000)
            await transfer(far, near, size=30_000)


async def test_datagrams_that_overtake_each_other_are_all_taken(tmp_path: Path) -> None:
    async with joined(tmp_path, OURS, OURS) as (lab, near, far):
        assert await near.ping(far, 4) == 3
        async with lab.impair("clienta", Impairment(delay=0.005, reorder=0.2)):
            await transfer(near, far)
            assert len(await round_trips(lab, near.host, far.inner(4), count=50)) == 50


async def test_packets_from_a_tunnel_are_forwarded(tmp_path: Path) -> None:
    async with joined(tmp_path, OURS, OURS) as (lab, near, far):
        beyond = lab.host("buoyb").address4
        await forward(lab, near, far, beyond)
        async with await lab.namespace("buoyb").listen(beyond) as listener, trio.open_nursery() as nursery:
            port = listener.socket.getsockname()[1]

            async def send() -> None:
                async with await lab.namespace(near.host).connect(beyond, port) as stream:
                    await stream.send_all(bytes(SIZE))

            nursery.start_soon(send)
            async with await listener.accept() as stream:
                assert sum([len(part) async for part in stream]) == SIZE


async def forward(lab: Lab, near: End, far: End, beyond: str) -> None:
    """Have the far end let the near one out into the lab, as a node of a fleet does."""
    await near.wg(
        "set",
        near.interface,
        "peer",
        (await near.wg("show", near.interface, "peers")).strip(),
        "allowed-ips",
        f"{beyond},{far.inner(4)},{far.inner(6)}",
    )
    await lab.run(near.host, "ip", "route", "add", beyond, "dev", near.interface)
    await lab.run(far.host, "sysctl", "-qw", "net.ipv4.ip_forward=1")
    rules = 'table ip out { chain post { type nat hook postrouting priority 100; oifname "eth0" masquerade; }; }'
    await lab.run(far.host, "nft", rules)
