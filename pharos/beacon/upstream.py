"""The connections by which helm can be reached: helm dialled every one of them, and opens more as they fill."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final

import attrs
import trio

from pharos.beacon.sanitize import Refusal
from pharos.wire.errors import WireError
from pharos.wire.rpc import limits
from pharos.wire.rpc.flow import Gate
from pharos.wire.rpc.h2conn import Connection
from pharos.wire.units import SECONDS

# helm dials the next tunnel before the last is full. TCP, TLS and SETTINGS are four round trips: 5 s let one packet of
# them be lost on a bad link.
PATIENCE: Final = 5 * SECONDS
# Passages that may wait for it, 2.5 s of them at 400 a second: a tunnel brings room for 500.
MAX_WAITING: Final = 1_000

# A tunnel that has left a PING unanswered for 5 s is taken only if there is no other: its helm may have died.
_SUSPECT_AFTER: Final = limits.KEEPALIVE_INTERVAL + 5 * SECONDS

# The twelve that a helm keeps at most, and as many of its former self, until they are found dead.
MAX_TUNNELS: Final = 2 * 12
# Older tunnels are asked for a sign of life when a new one arrives. A living helm answers within a round trip; this
# lets three packets in a row be lost (TCP sends again after 1, 3 and 7 s).
SETTLE_TIME: Final = 10 * SECONDS
# Runs of helm remembered, the latest: one that is forgotten would count as the newest. Two are enough while one helm
# leads; the rest is for an operator who tries.
_RUNS: Final = 64


class NoUpstreamError(WireError):
    """helm cannot take a passage of this relay now; the caller may try again."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.value)
        self.refusal: Final = refusal
        """What to tell the caller."""


@attrs.define(eq=False)
class Tunnel:
    """One connection with helm."""

    connection: Connection
    reserved: int = 0
    """Streams for other things than passages."""
    passages: int = 0
    """Those that hold a place, though perhaps no stream yet: more than a few cannot be opened in one breath."""
    joined_at: float = -math.inf
    """On Trio's clock, as all times here."""
    asked_at: float = -math.inf
    """When a newer tunnel made us ask it for a sign of life."""
    run: int | None = None
    """Which run of helm it belongs to, in the order of their appearance; None while that is not known."""
    superseded: trio.Event = attrs.field(factory=trio.Event)
    """Set when a newer run of helm takes over; replaced by whoever has waited for it."""

    @property
    def has_place(self) -> bool:
        """Whether one more passage may be opened: helm is not closing it, and takes so many."""
        if not self.is_open:
            return False
        remote = self.connection.machine.remote_settings
        return self.passages + self.reserved < min(limits.TUNNEL_STREAMS, remote.max_concurrent_streams)

    @property
    def is_open(self) -> bool:
        """Whether it is up, and helm has not said goodbye on it."""
        return not self.connection.leaving

    def ask(self, now: float) -> None:
        """Ask for a sign of life; until one comes it is taken for new passages only if there is no other."""
        self.asked_at = now
        self.connection.ping()

    def is_silent(self, now: float) -> bool:
        """Whether it owes an answer."""
        heard_at = self.connection.heard_at
        return heard_at < self.asked_at or now - heard_at > _SUSPECT_AFTER


def leading(tunnels: list[Tunnel]) -> list[Tunnel]:
    """Return the tunnels of the newest run of helm that is here, and those of which the run is not known."""
    newest = max((tunnel.run for tunnel in tunnels if tunnel.run is not None), default=None)
    return [tunnel for tunnel in tunnels if tunnel.run in {None, newest}]


def emptiest(tunnels: list[Tunnel], now: float) -> Tunnel | None:
    """Return the tunnel for the next passage, None if none has a place."""
    leaders = leading(tunnels)
    known = any(tunnel.run is not None for tunnel in leaders)

    def reluctance(tunnel: Tunnel) -> tuple[bool, bool, int]:
        return tunnel.is_silent(now), known and tunnel.run is None, tunnel.passages

    return min((tunnel for tunnel in leaders if tunnel.has_place), key=reluctance, default=None)


class Upstreams:
    """The tunnels that are up, and the places for passages in them.

    A helm opens several tunnels on purpose, and one that died leaves several behind. A new tunnel therefore makes all
    older ones prove that they live; those that cannot are ended after `SETTLE_TIME`. Of two helms that both live, with
    one identity, the one that appeared here last has all new passages as long as it is here (`announce`).
    """

    def __init__(self, *, patience: float = PATIENCE, max_waiting: int = MAX_WAITING) -> None:
        self._patience: Final = patience
        self._max_waiting: Final = max_waiting
        self._tunnels: list[Tunnel] = []
        # Of helm, numbered in the order of their appearance.
        self._runs: OrderedDict[str, int] = OrderedDict()
        self._seen = 0
        self._waiting = 0
        # Nobody waits while helm is away, either.
        self._gate = Gate(lambda: self._emptiest() is not None or not self._open())

    def __len__(self) -> int:
        return len(self._tunnels)

    @contextmanager
    def joined(self, connection: Connection, *, reserved: int = 0) -> Iterator[Tunnel]:
        """Offer a connection to new passages while the block runs; so many of its streams are for other things.

        It comes before all older ones until they have shown that they live. Where there are too many, the one that has
        been silent longest goes: the newest is never turned away.
        """
        now = trio.current_time()
        for older in self._tunnels:
            older.ask(now)
        if len(self._tunnels) >= MAX_TUNNELS:
            min(self._tunnels, key=lambda tunnel: tunnel.connection.heard_at).connection.lose(
                "helm has too many tunnels"
            )
        tunnel = Tunnel(connection, reserved, joined_at=now)
        self._tunnels.append(tunnel)
        self._gate.leave()
        try:
            yield tunnel
        finally:
            self._tunnels.remove(tunnel)
            self._gate.leave()

    async def settle(self, tunnel: Tunnel) -> None:
        """Give tunnels that are older than this one their time to answer, and end those that did not."""
        await trio.sleep_until(tunnel.joined_at + SETTLE_TIME)
        for older in self._tunnels[: self._tunnels.index(tunnel)]:
            if older.connection.heard_at < tunnel.joined_at:
                older.connection.lose("helm has come back, and does not answer here")

    def announce(self, connection: Connection, run: str) -> None:
        """Note which run of helm a tunnel belongs to, and tell the tunnels of older runs that they are superseded.

        The newest is the one that appeared here last, by no clock but ours: an older one that dials again stays older.
        """
        if run not in self._runs:
            self._seen += 1
            self._runs[run] = self._seen
            if len(self._runs) > _RUNS:
                self._runs.popitem(last=False)
        for tunnel in self._tunnels:
            if tunnel.connection is connection:
                tunnel.run = self._runs[run]
        leaders = leading(self._tunnels)
        for tunnel in self._tunnels:
            if tunnel not in leaders:
                tunnel.superseded.set()
        # Whoever waits may have waited for a place in one of those.
        self._gate.leave()

    @asynccontextmanager
    async def place(self) -> AsyncIterator[Connection]:
        """Hold a place for one passage in the emptiest tunnel while the block runs, waiting a little if all are full.

        Raises: NoUpstreamError — helm is away, or opened no further tunnel in time.
        """
        tunnel = self._emptiest() if self._gate.free() else await self._wait_for_place()
        if tunnel is None:
            raise NoUpstreamError(Refusal.HELM_AWAY)
        tunnel.passages += 1
        self._gate.leave()
        try:
            yield tunnel.connection
        finally:
            tunnel.passages -= 1
            self._gate.leave()

    async def _wait_for_place(self) -> Tunnel | None:
        if self._waiting >= self._max_waiting:
            raise NoUpstreamError(Refusal.BUSY)
        self._waiting += 1
        try:
            with trio.move_on_after(self._patience):
                await self._gate.enter()
                tunnel = self._emptiest()
                if tunnel is None:
                    # helm went away, which the next in the queue has to learn as well.
                    self._gate.leave()
                return tunnel
        finally:
            self._waiting -= 1
        raise NoUpstreamError(Refusal.BUSY)

    def _emptiest(self) -> Tunnel | None:
        return emptiest(self._tunnels, trio.current_time())

    def _open(self) -> list[Tunnel]:
        return [tunnel for tunnel in leading(self._tunnels) if tunnel.is_open]
