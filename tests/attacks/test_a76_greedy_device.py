"""Row 76. Position: a device of the fleet, or whoever stole one. Wants: that no other device reaches helm.

Countermeasure: a device has eight passages, four connections and a try each two seconds of a beacon, whatever it opens
and on whichever port. What it sends waits its turn with what others send, first come, first served, stream by stream
(tests/wire/rpc/test_flow.py).
"""

from __future__ import annotations

import math

import pytest
import trio
import trio.testing
from grpclib.exceptions import StreamTerminatedError

from pharos.beacon import shares
from pharos.beacon.limiter import PassageLimiter, Rates
from pharos.beacon.shares import DEVICE_CONNECTIONS, DEVICE_PASSAGES, UNSHARED, ShareBounds
from pharos.wire.rpc.h2stream import H2Stream
from pharos.wire.rpc.limits import EDGE_STREAMS
from tests.support.relay import MemoryBeacon, memory_beacon

Clock = trio.testing.MockClock
PLACES = 40
"""Of the one tunnel that helm opens here."""


async def answered(stream: H2Stream) -> bool:
    try:
        return "grpc-status" not in dict(await stream.recv_headers())
    except StreamTerminatedError:
        return False


async def take_all(beacon: MemoryBeacon, connections: int) -> int:
    """Open, as one device, all that so many connections can carry; return how many passages it holds then."""
    for _ in range(connections):
        client = await beacon.dial(certificate=b"greedy")
        for _ in range(EDGE_STREAMS):
            await answered(await client.open())
    await trio.testing.wait_all_tasks_blocked()
    return sum(beacon.passages)


async def others_are_served(beacon: MemoryBeacon, count: int) -> int:
    served = 0
    for number in range(count):
        client = await beacon.dial(certificate=f"good {number}".encode())
        served += await answered(await client.open())
    return served


@pytest.mark.parametrize("weakened", [False, True])
@pytest.mark.red_inside
async def test_a76_one_device_cannot_fill_the_tunnels(
    autojump_clock: Clock, monkeypatch: pytest.MonkeyPatch, weakened: bool
) -> None:
    monkeypatch.setattr("pharos.helm.relay.link.TUNNEL_STREAMS", PLACES)
    monkeypatch.setattr("pharos.helm.relay.tunnels.MAX_TUNNELS", 1)
    rates = Rates(shares=UNSHARED) if weakened else Rates()
    async with memory_beacon(limiter=PassageLimiter(rates)) as beacon, beacon.linked():
        held = await take_all(beacon, PLACES // EDGE_STREAMS)
        assert held == PLACES if weakened else held <= DEVICE_PASSAGES
        assert await others_are_served(beacon, 20) == (0 if weakened else 20)


@pytest.mark.parametrize("weakened", [False, True])
@pytest.mark.red_inside
async def test_a76_one_device_cannot_use_up_what_all_may_open(autojump_clock: Clock, weakened: bool) -> None:
    """It opens and leaves, as fast as it can."""
    rates = Rates(passage_burst=100, passage_rate=1, shares=UNSHARED if weakened else ShareBounds())
    async with memory_beacon(limiter=PassageLimiter(rates)) as beacon, beacon.linked():
        for _ in range(3):
            # More resets at once end a connection (row 36).
            client = await beacon.dial(certificate=b"greedy")
            for _ in range(50):
                stream = await client.open()
                await answered(stream)
                stream.close()
        assert await others_are_served(beacon, 50) == (0 if weakened else 50)


@pytest.mark.red_inside
async def test_a76_one_device_cannot_take_the_memory_of_many_connections(
    autojump_clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def held(beacon: MemoryBeacon) -> int:
        clients = [await beacon.dial(certificate=b"greedy") for _ in range(50)]
        await trio.testing.wait_all_tasks_blocked()
        return sum(not client.connection.closed for client in clients)

    async with memory_beacon(limiter=PassageLimiter()) as beacon:
        assert await held(beacon) == DEVICE_CONNECTIONS
    monkeypatch.setattr(shares, "DEVICE_CONNECTIONS", math.inf)
    async with memory_beacon(limiter=PassageLimiter()) as weakened:
        assert await held(weakened) == 50
