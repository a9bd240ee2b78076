"""Two ends of a connection on a path of virtual time: every packet, loss and deadline in its order."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable

import attrs

from pharos.wire.awg.netstack.tcp.config import TcpConfig
from pharos.wire.awg.netstack.tcp.connection import Connection
from pharos.wire.awg.netstack.tcp.flow import Flow
from pharos.wire.awg.netstack.tcp.segment import Segment, parse_segment
from pharos.wire.awg.netstack.tcp.states import State

LATENCY = 0.01
FLOW4 = Flow(local=bytes((10, 0, 0, 1)), local_port=40000, remote=bytes((10, 0, 0, 2)), remote_port=80)
FLOW6 = Flow(local=bytes(15) + b"\1", local_port=40000, remote=bytes(15) + b"\2", remote_port=80)
CONFIG = TcpConfig()

Filter = Callable[["Sent"], list[float]]
"""Delays of the copies that arrive; an empty list is a loss."""


@attrs.frozen
class Sent:
    """A packet on its way."""

    at: float
    by: End
    packet: bytes
    segment: Segment


def read_packet(packet: bytes) -> Segment:
    """Return the segment of a packet, which has to be sound."""
    segment = parse_segment(packet, 20 if packet[0] >> 4 == 4 else 40)
    assert segment is not None
    return segment


def pattern(size: int, start: int = 0) -> bytes:
    """Return octets that tell where they belong."""
    return b"".join(number.to_bytes(4, "big") for number in range(start // 4, (start + size) // 4 + 2))[
        start % 4 : start % 4 + size
    ]


@attrs.define(eq=False)
class End:
    """A connection and the program that has it: it writes all of `outgoing`, reads all, then closes."""

    name: str
    connection: Connection | None = None
    outgoing: bytes = b""
    written: int = 0
    received: bytearray = attrs.Factory(bytearray)
    reads: bool = True
    ends: bool = True
    """Whether its FIN follows what it writes."""
    read_at: list[tuple[float, int]] = attrs.Factory(list)

    def run(self, now: float) -> None:
        """Do what a program does when something has changed."""
        connection = self.connection
        if connection is None:
            return
        if self.reads and connection.readable:
            data = connection.read(1 << 24, now)
            self.received += data
            self.read_at.append((now, len(data)))
        if connection.failure is not None or not connection.is_established:
            return
        while self.written < len(self.outgoing) and (room := connection.writable):
            self.written += connection.write(self.outgoing[self.written : self.written + room], now)
        if self.ends and self.written == len(self.outgoing):
            connection.write_eof(now)


class Path:
    """Carries packets between `dialler` and `listener`; the latter accepts the first SYN."""

    def __init__(
        self,
        *,
        flow: Flow = FLOW4,
        config: TcpConfig = CONFIG,
        listener_config: TcpConfig | None = None,
        isn: int = 1000,
    ) -> None:
        self.now = 0.0
        self.filter: Filter = lambda sent: [LATENCY]
        self.sent: list[Sent] = []
        self.keep_sent = True
        self.peak = 0
        self.listener_config = listener_config or config
        self.isn = isn
        self.dialler = End("dialler", Connection.dial(flow, config, isn=isn, now=0.0, timestamp_offset=7))
        self.listener = End("listener")
        self._queue: list[tuple[float, int, End, bytes]] = []
        self._ties = itertools.count()

    @property
    def ends(self) -> tuple[End, End]:
        return self.dialler, self.listener

    def other(self, end: End) -> End:
        return self.listener if end is self.dialler else self.dialler

    def pump(self, end: End) -> None:
        """Let a program run, and put what its connection sends on the path."""
        end.run(self.now)
        connection = end.connection
        if connection is None:
            return
        while packets := connection.take(self.now, 64):
            for packet in packets:
                self.transmit(end, packet)
            if len(packets) < 64:
                break

    def transmit(self, end: End, packet: bytes) -> None:
        sent = Sent(self.now, end, packet, read_packet(packet))
        if self.keep_sent:
            self.sent.append(sent)
        for delay in self.filter(sent):
            heapq.heappush(self._queue, (self.now + delay, next(self._ties), self.other(end), packet))

    def deliver(self, end: End, packet: bytes) -> None:
        segment = read_packet(packet)
        if end.connection is None:
            flow = self.dialler.connection.flow.reversed()
            end.connection = Connection.accept(
                flow, segment, self.listener_config, isn=self.isn ^ 0x5555, now=self.now, timestamp_offset=99
            )
        else:
            end.connection.receive(segment, self.now)

    def next_time(self) -> float:
        at = self._queue[0][0] if self._queue else math.inf
        for end in self.ends:
            if end.connection is not None:
                at = min(at, end.connection.next_deadline())
        return at

    def step(self, until: float) -> bool:
        """Let the next thing happen, if it does by then."""
        at = self.next_time()
        if at == math.inf or at > until:
            return False
        self.now = max(self.now, at)
        touched = set()
        while self._queue and self._queue[0][0] <= self.now:
            _, _, end, packet = heapq.heappop(self._queue)
            self.deliver(end, packet)
            touched.add(end.name)
        for end in self.ends:
            if end.connection is not None and end.connection.next_deadline() <= self.now:
                end.connection.tick(self.now)
                touched.add(end.name)
        for end in self.ends:
            if end.name in touched:
                self.pump(end)
        return True

    def run(self, until: float = math.inf, *, steps: int = 2_000_000) -> None:
        """Let everything happen up to a time; there must be an end to it."""
        for end in self.ends:
            self.pump(end)
        for _ in range(steps):
            if not self.step(until):
                break
        else:
            raise AssertionError(f"still busy at {self.now}")
        if until < math.inf:
            self.now = max(self.now, until)

    def run_while(self, condition: Callable[[], bool], until: float = 3600.0) -> None:
        """Likewise, as long as a condition holds."""
        for end in self.ends:
            self.pump(end)
        while condition():
            if not self.step(until):
                raise AssertionError(f"still waiting at {self.now}")

    @property
    def is_over(self) -> bool:
        return all(end.connection is not None and end.connection.state is State.CLOSED for end in self.ends)


def connected(**words: object) -> Path:
    """Return a path whose ends have shaken hands; neither program ends by itself."""
    path = Path(**words)  # type: ignore[arg-type]
    path.dialler.ends = path.listener.ends = False
    path.run(until=0.5)
    assert path.dialler.connection.state is State.ESTABLISHED
    assert path.listener.connection.state is State.ESTABLISHED
    return path
