"""The connections by which helm can be reached: helm dialled every one of them, and opens more as they fill."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final

import attrs
import trio

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

# A tunnel that has left a PING unanswered for 5 s is taken only if there is no other: it may be that of a helm that
# died and came back, and is found dead after 45 s.
_SUSPECT_AFTER: Final = limits.KEEPALIVE_INTERVAL + 5 * SECONDS


class NoUpstreamError(WireError):
    """helm cannot take a passage of this relay now; the caller may try again."""


@attrs.define(eq=False)
class Tunnel:
    """One connection with helm."""

    connection: Connection
    reserved: int = 0
    """Streams for other things than passages."""
    passages: int = 0
    """Those that hold a place, though perhaps no stream yet: more than a few cannot be opened in one breath."""

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


def emptiest(tunnels: list[Tunnel], now: float) -> Tunnel | None:
    """Return the tunnel for the next passage, None if none has a place."""

    def reluctance(tunnel: Tunnel) -> tuple[bool, int]:
        return now - tunnel.connection.heard_at > _SUSPECT_AFTER, tunnel.passages

    return min((tunnel for tunnel in tunnels if tunnel.has_place), key=reluctance, default=None)


class Upstreams:
    """The tunnels that are up, and the places for passages in them."""

    def __init__(self, *, patience: float = PATIENCE, max_waiting: int = MAX_WAITING) -> None:
        self._patience: Final = patience
        self._max_waiting: Final = max_waiting
        self._tunnels: list[Tunnel] = []
        self._waiting = 0
        # Nobody waits while helm is away, either.
        self._gate = Gate(lambda: self._emptiest() is not None or not self._open())

    def __len__(self) -> int:
        return len(self._tunnels)

    @contextmanager
    def joined(self, connection: Connection, *, reserved: int = 0) -> Iterator[None]:
        """Offer a connection to new passages while the block runs; so many of its streams are for other things."""
        tunnel = Tunnel(connection, reserved)
        self._tunnels.append(tunnel)
        self._gate.leave()
        try:
            yield
        finally:
            self._tunnels.remove(tunnel)
            self._gate.leave()

    @asynccontextmanager
    async def place(self) -> AsyncIterator[Connection]:
        """Hold a place for one passage in the emptiest tunnel while the block runs, waiting a little if all are full.

        Raises: NoUpstreamError — helm is away, or opened no further tunnel in time.
        """
        tunnel = self._emptiest() if self._gate.free() else await self._wait_for_place()
        if tunnel is None:
            raise NoUpstreamError("helm is not connected to this relay")
        tunnel.passages += 1
        self._gate.leave()
        try:
            yield tunnel.connection
        finally:
            tunnel.passages -= 1
            self._gate.leave()

    async def _wait_for_place(self) -> Tunnel | None:
        if self._waiting >= self._max_waiting:
            raise NoUpstreamError("this relay is busy")
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
        raise NoUpstreamError("this relay is busy")

    def _emptiest(self) -> Tunnel | None:
        return emptiest(self._tunnels, trio.current_time())

    def _open(self) -> list[Tunnel]:
        return [tunnel for tunnel in self._tunnels if tunnel.is_open]
