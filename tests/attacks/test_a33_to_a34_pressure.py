"""Rows 33 and 34 under measurement: what slow and many connections cost the server, and what a good client notices.

As in test_a35_to_a41_pressure.py: the bounds themselves are shown in the rows' own files; here the same server's CPU
time and memory are read, and a good client's latency beside the attack and without it. All of 127.0.0.0/8 is ours to
come from.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

import attrs
import pytest
import trio

from pharos.wire.rpc.admission import UNAUTHENTICATED
from pharos.wire.units import MIB
from tests.attacks.test_a33_slowloris import client_hello
from tests.attacks.test_a34_connection_floods import PATIENT, UNBOUNDED, addresses
from tests.attacks.test_a35_to_a41_pressure import LATENCY, SLACK
from tests.support.pressure import Latency, Pressured, attacking, pressured_server

SLOW = [source for source in addresses(10) for _ in range(15)]
"""Who says a hello octet by octet: fewer than there are places, so that none is sent away for want of one."""
MANY = [source for source in addresses(60) for _ in range(10)]
"""Who connects again whenever it is sent away: three times as many as there are places."""
HANDSHAKE = "pharos.wire.rpc.transport.HANDSHAKE_TIMEOUT"
TIMEOUT = 1.0
"""Seconds that a handshake may take where slowness is tried."""


class Attackers:
    """What has become of them."""

    def __init__(self) -> None:
        self.held = 0
        """Connections that the server bears at the moment."""
        self.dropped = 0
        """That it has ended."""
        self._changed = trio.Event()

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Count a connection for as long as the block lasts, which is until the server has ended it."""
        self._count(held=1)
        try:
            yield
            self._count(dropped=1)
        finally:
            self.held -= 1

    def _count(self, *, held: int = 0, dropped: int = 0) -> None:
        self.held += held
        self.dropped += dropped
        self._changed.set()
        self._changed = trio.Event()

    async def wait_held(self, count: int) -> None:
        """Wait until so many are held at once."""
        while self.held < count:
            await self._changed.wait()

    async def wait_dropped(self, count: int) -> None:
        """Wait until so many were ended."""
        while self.dropped < count:
            await self._changed.wait()


class Way(Protocol):
    """How one connection after the other is made and kept busy, until cancelled."""

    async def __call__(self, attackers: Attackers, server: Pressured, source: str, /) -> None: ...


async def drip(attackers: Attackers, server: Pressured, source: str) -> None:
    """Say a hello of which the last octet never comes, five octets a second."""
    hello = client_hello(server.ca)[:-1]
    async with await server.connect(source) as stream, trio.open_nursery() as nursery:

        async def speak() -> None:
            with contextlib.suppress(trio.BrokenResourceError):
                for octet in hello:
                    await stream.send_all(bytes([octet]))
                    await trio.sleep(0.2)

        nursery.start_soon(speak)
        with attackers.counted():
            await end_of(stream)
        nursery.cancel_scope.cancel()


async def throng(attackers: Attackers, server: Pressured, source: str) -> None:
    """Connect, say nothing, and connect again as soon as the server ends it."""
    while True:
        with contextlib.suppress(OSError):
            async with await server.connect(source) as stream:
                with attackers.counted():
                    await end_of(stream)


async def end_of(stream: trio.SocketStream) -> None:
    with contextlib.suppress(trio.BrokenResourceError):
        await stream.receive_some()


@attrs.frozen(kw_only=True)
class Cost:
    """What an attack came to."""

    held: int
    """Connections of the attackers' at the end."""
    dropped: int
    """That the server has ended."""
    idle: Latency
    under: Latency
    share: float
    """Of one core, used by the server beside the attack."""
    growth: int
    """Octets of its memory."""


async def cost_of(way: Way, sources: list[str], overrides: Mapping[str, Any], *, dials: int = 3) -> Cost:
    """Attack while a good client is measured, and on until as many connections were ended as there are sources.

    A server that ends none has thrice its handshake's time for it.
    """
    attackers = Attackers()

    async def attack(server: Pressured, *, task_status: trio.TaskStatus[None]) -> None:
        async with trio.open_nursery() as nursery:
            for source in sources:
                nursery.start_soon(way, attackers, server, source)
            await attackers.wait_held(len(sources) // 2 if way is drip else UNAUTHENTICATED // 2)
            task_status.started()

    async with pressured_server(overrides) as server:
        idle = await server.good_client(calls=300, dials=3)
        mark = server.mark()
        async with attacking(server, attack):
            under = await server.good_client_beside(idle, ratio=LATENCY, dials=dials)
            with trio.move_on_after(SLACK * TIMEOUT):
                await attackers.wait_dropped(len(sources))
            return Cost(
                held=attackers.held,
                dropped=attackers.dropped,
                idle=idle,
                under=under,
                share=server.cpu_share_since(mark),
                growth=server.rss_growth(mark),
            )


def assert_hardly_noticed(cost: Cost) -> None:
    assert cost.under.failures == 0
    assert cost.under.p50 <= LATENCY * cost.idle.p50
    assert cost.under.p99 <= LATENCY * cost.idle.p99
    assert cost.growth < 16 * MIB
    assert cost.share < 0.75


@pytest.mark.red_inside
async def test_a33_slow_hellos_cost_little_and_are_hardly_noticed() -> None:
    cost = await cost_of(drip, SLOW, {HANDSHAKE: TIMEOUT})
    assert_hardly_noticed(cost)
    assert cost.dropped == len(SLOW)
    # Red: places that are held for as long as the attacker likes.
    weakened = await cost_of(drip, SLOW, {HANDSHAKE: 600})
    assert (weakened.held, weakened.dropped) == (len(SLOW), 0)


@pytest.mark.red_inside
async def test_a34_flood_of_connections_costs_little_and_is_hardly_noticed() -> None:
    """Whoever is in is served as before. A newcomer has a small chance beside so many, and tries again."""
    cost = await cost_of(throng, MANY, PATIENT, dials=0)
    assert_hardly_noticed(cost)
    # As the attackers see it: some have been ended, or wait to be, and do not know it yet.
    assert cost.held <= 1.1 * UNAUTHENTICATED
    # Red: a server that holds whatever comes.
    weakened = await cost_of(throng, MANY, PATIENT | UNBOUNDED, dials=0)
    assert (weakened.held, weakened.dropped) == (len(MANY), 0)
