"""All TCP connections of one host: found by flow, driven in batches, forgotten when they are over."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from typing import Final

import attrs

from pharos.wire.awg.netstack.tcp.config import TcpConfig
from pharos.wire.awg.netstack.tcp.connection import Connection
from pharos.wire.awg.netstack.tcp.flow import Flow
from pharos.wire.awg.netstack.tcp.segment import ACK, RST, SYN, Segment
from pharos.wire.awg.netstack.tcp.states import State
from pharos.wire.awg.randomness import Random
from pharos.wire.awg.timers import NEVER

_SHARE: Final = 32
"""Packets that a connection sends before others get their turn, where there is not room for all."""


def key_of(flow: Flow) -> bytes:
    """Return what a packet of a flow has from its source address on: the key by which its connection is found."""
    ports = flow.remote_port << 16 | flow.local_port
    return flow.remote + flow.local + ports.to_bytes(4, "big")


@attrs.define(eq=False)
class TcpEntry:
    """A connection, and who is to be told of it."""

    key: bytes
    connection: Connection
    on_change: Callable[[], None]
    """Called after a batch in which something came for it, or its time did; it must return at once and not raise."""
    leaving: bool = False
    """Nobody reads or writes it any more; what was written is still to arrive."""
    wakes_at: float = NEVER
    """The table's own: when it will look at the connection by itself."""


class TcpTable:
    """``now`` is any clock in seconds that does not go back. What callers do to a connection they tell by `touch`."""

    def __init__(self, config: TcpConfig, random: Random) -> None:
        self.config = config
        self._random = random
        self._entries: dict[bytes, TcpEntry] = {}
        self._touched: dict[TcpEntry, None] = {}
        self._changed: dict[TcpEntry, None] = {}
        self._deadlines: list[tuple[float, int, TcpEntry]] = []
        self._ties = itertools.count()
        self._inert = 0  # Deadlines in the heap that an earlier one has superseded, or whose connection is gone.

    def __len__(self) -> int:
        return len(self._entries)

    def config_for(self, mtu: int) -> TcpConfig:
        """Return what a connection goes by whose path takes so many bytes."""
        return self.config if mtu == self.config.mtu else attrs.evolve(self.config, mtu=mtu)

    def find(self, key: bytes) -> TcpEntry | None:
        return self._entries.get(key)

    def dial(self, flow: Flow, config: TcpConfig, on_change: Callable[[], None], now: float) -> TcpEntry:
        """Begin a connection; no other of the same flow may be there."""
        connection = Connection.dial(flow, config, isn=self._draw(), now=now, timestamp_offset=self._draw())
        return self._add(flow, connection, on_change)

    def accept(
        self, flow: Flow, syn: Segment, config: TcpConfig, on_change: Callable[[], None], now: float
    ) -> TcpEntry:
        """Answer a SYN; no other connection of the same flow may be there."""
        connection = Connection.accept(flow, syn, config, isn=self._draw(), now=now, timestamp_offset=self._draw())
        return self._add(flow, connection, on_change)

    def receive(self, entry: TcpEntry, segment: Segment, now: float) -> None:
        """Take a segment of a connection's flow."""
        entry.connection.receive(segment, now)
        self.change(entry)

    def makes_way(self, entry: TcpEntry, segment: Segment) -> bool:
        """Whether a segment begins a connection anew in the stead of one that is as good as over (RFC 6191)."""
        if entry.connection.state is not State.TIME_WAIT or segment.flags & (SYN | ACK | RST) != SYN:
            return False
        if not entry.connection.may_be_replaced_by(segment):
            return False
        self.forget(entry)
        return True

    def touch(self, entry: TcpEntry) -> None:
        """Have the next `take` look at a connection."""
        self._touched[entry] = None

    def change(self, entry: TcpEntry) -> None:
        """Have the next `tell` tell of a connection, and the next `take` look at it."""
        self._touched[entry] = None
        self._changed[entry] = None

    def take(self, now: float, room: int) -> list[bytes]:
        """Return packets to send now, about ``room`` at most; who has more keeps it for the next time."""
        packets: list[bytes] = []
        touched, self._touched = self._touched, {}
        while touched:
            entry = next(iter(touched))
            del touched[entry]
            left = room - len(packets)
            if left <= 0:
                self._touched = {entry: None, **touched, **self._touched}
                break
            share = left if not touched else min(left, _SHARE)
            taken = entry.connection.take(now, share)
            packets += taken
            if len(taken) >= share:
                # There may be more; it goes behind the others.
                touched[entry] = None
            elif entry.connection.state is State.CLOSED:
                self.forget(entry)
            else:
                self._schedule(entry)
        return packets

    def tell(self) -> None:
        """Tell those whose connections have changed."""
        changed, self._changed = self._changed, {}
        for entry in changed:
            entry.on_change()

    def next_deadline(self) -> float:
        """No later than the first time at which something is to be done; NEVER if there is none."""
        return self._deadlines[0][0] if self._deadlines else NEVER

    def tick(self, now: float) -> None:
        """Let the time of each connection pass."""
        while self._deadlines and self._deadlines[0][0] <= now:
            deadline, _, entry = heapq.heappop(self._deadlines)
            if deadline != entry.wakes_at:
                self._inert -= 1
                continue
            entry.wakes_at = NEVER
            if entry.connection.next_deadline() <= now:
                entry.connection.tick(now)
                self.change(entry)
            else:
                self._schedule(entry)

    def forget(self, entry: TcpEntry) -> None:
        """Know a connection no more; its owner is told."""
        if self._entries.get(entry.key) is entry:
            del self._entries[entry.key]
        self._abandon(entry)
        self._touched.pop(entry, None)
        self._changed[entry] = None

    def entries(self) -> list[TcpEntry]:
        return list(self._entries.values())

    @property
    def waits(self) -> bool:
        """Whether a connection may have more to send than there was room for."""
        return bool(self._touched)

    def _draw(self) -> int:
        return int.from_bytes(self._random(4), "big")

    def _add(self, flow: Flow, connection: Connection, on_change: Callable[[], None]) -> TcpEntry:
        entry = TcpEntry(key_of(flow), connection, on_change)
        assert entry.key not in self._entries, "a flow has one connection"
        self._entries[entry.key] = entry
        self._touched[entry] = None
        return entry

    def _schedule(self, entry: TcpEntry) -> None:
        deadline = entry.connection.next_deadline()
        if deadline < entry.wakes_at:
            self._abandon(entry)
            entry.wakes_at = deadline
            heapq.heappush(self._deadlines, (deadline, next(self._ties), entry))

    def _abandon(self, entry: TcpEntry) -> None:
        """Leave the deadline of a connection behind; they are swept out when they are the most of the heap."""
        if entry.wakes_at == NEVER:
            return
        entry.wakes_at = NEVER
        self._inert += 1
        if 2 * self._inert > len(self._deadlines):
            self._deadlines = [each for each in self._deadlines if each[0] == each[2].wakes_at]
            heapq.heapify(self._deadlines)
            self._inert = 0
