"""A bad line between TCP ends, of which one or none is ours: late, lossy, carried by the test itself."""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from ipaddress import ip_address
from typing import Protocol

import attrs
import trio

from pharos.wire.awg.netstack.tcp.config import TcpConfig
from pharos.wire.awg.netstack.tcp.connection import Connection
from pharos.wire.awg.netstack.tcp.flow import Flow
from pharos.wire.awg.netstack.tcp.segment import ACK, RST, SYN, parse_segment
from pharos.wire.awg.tun import Tun, open_tun
from tests.system.lab.network import Lab

MTU = 1420
CONFIG = TcpConfig(mtu=MTU)


class Port(Protocol):
    """One side of a line."""

    def deliver(self, packets: list[bytes]) -> None: ...


@attrs.define(eq=False)
class Line:
    """Carries packets between two ports; each is late by ``delay`` seconds, and lost by chance."""

    delay: float = 0.0
    loss: float = 0.0
    jitter: float = 0.0
    """Seconds that a packet may be later than the one before it, which reorders them."""
    random: random.Random = attrs.Factory(lambda: random.Random(1))
    lost: int = 0
    _queue: list[tuple[float, int, Port, bytes]] = attrs.Factory(list)
    _ties: itertools.count[int] = attrs.Factory(itertools.count)
    _woken: trio.Event = attrs.Factory(trio.Event)

    def send(self, packets: Iterable[bytes], to: Port) -> None:
        now = trio.current_time()
        for packet in packets:
            if self.random.random() < self.loss:
                self.lost += 1
                continue
            at = now + self.delay + self.random.random() * self.jitter
            heapq.heappush(self._queue, (at, next(self._ties), to, packet))
        self._woken.set()

    async def run(self) -> None:
        """Carry until cancelled."""
        while True:
            now = trio.current_time()
            due: dict[int, tuple[Port, list[bytes]]] = {}
            while self._queue and self._queue[0][0] <= now:
                _, _, port, packet = heapq.heappop(self._queue)
                due.setdefault(id(port), (port, []))[1].append(packet)
            for port, packets in due.values():
                port.deliver(packets)
            self._woken = trio.Event()
            with trio.move_on_at(self._queue[0][0] if self._queue else math.inf):
                await self._woken.wait()


@attrs.define(eq=False)
class Kernel:
    """Linux's TCP, behind a TUN interface."""

    tun: Tun

    def deliver(self, packets: list[bytes]) -> None:
        self.tun.write_nowait([memoryview(bytearray(packet)) for packet in packets])

    async def run(self, line: Line, to: Port) -> None:
        """Send what the kernel sends down the line, until cancelled."""
        while True:
            await trio.lowlevel.wait_readable(self.tun)
            try:
                rows = self.tun.read_nowait()
            except BlockingIOError:
                continue
            # Router solicitations and their like are nobody's here.
            packets = [bytes(view) for view in rows.views()]
            line.send([packet for packet in packets if (packet[9] if packet[0] >> 4 == 4 else packet[6]) == 6], to)


@attrs.define(eq=False)
class Ours:
    """One connection of ours, dialled or accepted, and the little that drives it."""

    line: Line
    to: Port
    connection: Connection | None = None
    _changed: trio.Event = attrs.Factory(trio.Event)
    _woken: trio.Event = attrs.Factory(trio.Event)

    def dial(self, local: str, remote: str, port: int) -> None:
        flow = Flow(
            local=ip_address(local).packed, local_port=40_000, remote=ip_address(remote).packed, remote_port=port
        )
        seed = self.line.random.getrandbits
        now = trio.current_time()
        self.connection = Connection.dial(flow, CONFIG, isn=seed(32), now=now, timestamp_offset=seed(32))
        self.flush()

    def deliver(self, packets: list[bytes]) -> None:
        now = trio.current_time()
        for packet in packets:
            is_v4 = packet[0] >> 4 == 4
            segment = parse_segment(packet, 20 if is_v4 else 40)
            assert segment is not None, "Linux sends sound segments"
            if self.connection is not None:
                self.connection.receive(segment, now)
            elif segment.flags & (SYN | ACK | RST) == SYN:
                flow = Flow(
                    local=packet[16:20] if is_v4 else packet[24:40],
                    local_port=segment.destination_port,
                    remote=packet[12:16] if is_v4 else packet[8:24],
                    remote_port=segment.source_port,
                )
                seed = self.line.random.getrandbits
                self.connection = Connection.accept(
                    flow, segment, CONFIG, isn=seed(32), now=now, timestamp_offset=seed(32)
                )
        self.flush()

    def flush(self) -> None:
        """Send what is to be sent, and tell everybody that something has changed."""
        if self.connection is not None:
            self.line.send(self.connection.take(trio.current_time()), self.to)
        self._woken.set()
        self._changed.set()
        self._changed = trio.Event()

    async def run(self) -> None:
        """Look at the clock for it, until cancelled."""
        while True:
            self._woken = trio.Event()
            deadline = math.inf if self.connection is None else self.connection.next_deadline()
            with trio.move_on_at(deadline):
                await self._woken.wait()
            connection, now = self.connection, trio.current_time()
            if connection is not None and connection.next_deadline() <= now:
                connection.tick(now)
                self.flush()

    async def wait_for(self, condition: Callable[[Connection], object]) -> Connection:
        """Wait until something holds of the connection."""
        while self.connection is None or not condition(self.connection):
            if self.connection is not None and self.connection.failure is not None:
                raise self.connection.failure
            await self._changed.wait()
        return self.connection

    async def send_all(self, data: bytes) -> None:
        at = 0
        while at < len(data):
            connection = await self.wait_for(lambda connection: connection.writable)
            at += connection.write(memoryview(data)[at:], trio.current_time())
            self.flush()

    async def send_eof(self) -> None:
        connection = await self.wait_for(lambda connection: connection.is_established)
        connection.write_eof(trio.current_time())
        self.flush()

    async def receive_some(self) -> bytes:
        """Return what has come, nothing at the end."""
        connection = await self.wait_for(lambda connection: connection.readable or connection.at_eof)
        data = connection.read(1 << 20, trio.current_time())
        self.flush()
        return data


@asynccontextmanager
async def kernel_at(lab: Lab, host: str, addresses: Iterable[str]) -> AsyncIterator[Kernel]:
    """Open a TUN interface at a host of the lab, with addresses of which all of the network is behind it."""
    opening = open_tun("ns0", mtu=MTU, offload=False, is_local=lambda destination: False)
    tun = await lab.namespace(host).call(opening.__enter__)
    try:
        for address in addresses:
            await lab.run(host, "ip", "addr", "add", f"{address}/{24 if '.' in address else 64}", "dev", "ns0", "nodad")
        await lab.run(host, "ip", "link", "set", "ns0", "up")
        yield Kernel(tun)
    finally:
        opening.__exit__(None, None, None)


Send = Callable[[bytes], Awaitable[None]]
Receive = Callable[[], Awaitable[bytes]]


async def goodput(send: Send, receive: Receive, *, seconds: float) -> float:
    """Return how many octets a second arrive while somebody sends as much as it can."""
    count = 0
    part = bytes(64 * 1024)
    with trio.move_on_after(seconds):
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def _() -> None:
                while True:
                    await send(part)

            while True:
                count += len(await receive())
    return count / seconds
