"""Two stacks with a link between them, and what may be wrong with the link."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from ipaddress import ip_address, ip_interface

import attrs
import trio

from pharos.wire.awg.memory import MemoryEnd, memory_link
from pharos.wire.awg.netstack.stack import Netstack, open_netstack
from pharos.wire.awg.netstack.tcpstream import NetstackStream

NEAR4, FAR4 = "10.7.0.2", "10.7.0.1"
NEAR6, FAR6 = "fd07::2", "fd07::1"
NEAR = [ip_interface(f"{NEAR4}/24"), ip_interface(f"{NEAR6}/64")]
FAR = [ip_interface(f"{FAR4}/24"), ip_interface(f"{FAR6}/64")]
RESOLVER = ip_address(FAR4)


class Filtered:
    """A link's end that lets through what a function makes of each batch that is sent. It is an ``InnerEnd``."""

    def __init__(self, end: MemoryEnd, pass_on: Callable[[Sequence[bytes]], Sequence[bytes]]) -> None:
        self._end = end
        self._pass_on = pass_on

    async def receive_packets(self) -> Sequence[bytes]:
        return await self._end.receive_packets()

    def send_packets_nowait(self, packets: Sequence[bytes]) -> None:
        passed = self._pass_on(packets)
        if passed:
            self._end.send_packets_nowait(passed)


def losing(share: float, seed: int) -> Callable[[Sequence[bytes]], Sequence[bytes]]:
    """Lose a share of the packets, and send some of the others twice or late."""
    rng = random.Random(seed)
    late: list[bytes] = []

    def pass_on(packets: Sequence[bytes]) -> Sequence[bytes]:
        passed, late[:] = late[:], []
        for packet in packets:
            fate = rng.random()
            if fate < share:
                continue
            if fate < 1.5 * share:
                late.append(packet)
                continue
            passed += [packet] * (2 if fate < 2 * share else 1)
        return passed

    return pass_on


@attrs.frozen
class Pair:
    near: Netstack
    far: Netstack
    near_end: MemoryEnd
    far_end: MemoryEnd


@asynccontextmanager
async def open_pair(
    *,
    loss: float = 0.0,
    seed: int = 0,
    near_sends: Callable[[Sequence[bytes]], Sequence[bytes]] | None = None,
    far_sends: Callable[[Sequence[bytes]], Sequence[bytes]] | None = None,
    **options: object,
) -> AsyncIterator[Pair]:
    """Open a stack at each end of a link; the near one asks the far one for names."""
    near_end, far_end = memory_link()
    near_sends = near_sends or (losing(loss, seed) if loss else None)
    far_sends = far_sends or (losing(loss, seed + 1) if loss else None)
    near_link = Filtered(near_end, near_sends) if near_sends else near_end
    far_link = Filtered(far_end, far_sends) if far_sends else far_end
    async with (
        open_netstack(near_link, addresses=NEAR, **{"resolvers": [RESOLVER], **options}) as near,
        open_netstack(far_link, addresses=FAR) as far,
    ):
        yield Pair(near, far, near_end, far_end)


@asynccontextmanager
async def open_streams(host: str = FAR4, **options: object) -> AsyncIterator[tuple[NetstackStream, NetstackStream]]:
    """Open a connection from the near stack to the far one; give both of its ends."""
    async with open_pair(**options) as pair, trio.open_nursery() as nursery:
        accepted: list[NetstackStream] = []
        done = trio.Event()
        came = trio.Event()

        async def keep(stream: NetstackStream) -> None:
            accepted.append(stream)
            came.set()
            await done.wait()

        port = await nursery.start(pair.far.serve_tcp, 0, keep)
        near = await pair.near.open_tcp_stream(host, port)
        await came.wait()
        try:
            yield near, accepted[0]
        finally:
            done.set()
            nursery.cancel_scope.cancel()
