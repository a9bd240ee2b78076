"""The network between two daemons, to be disturbed: a relay of octets on loopback."""

from __future__ import annotations

import math
from typing import Final

import trio

from pharos.wire.units import KIB

_PIECE: Final = 4 * KIB


class Strait:
    """Carries connections from ``port`` to ``target``, whole or not.

    What is lost is lost for both ends at once, and without a word of TLS.
    """

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.host = host
        """Of both ends."""
        self._live: set[trio.CancelScope] = set()
        self.port = 0
        self.target = 0
        self.closed = False
        """Whether whoever dials is turned away."""
        self.delay = 0.0
        """Seconds that each piece of at most 4 KiB takes, either way."""
        self.allowance = math.inf
        """Octets, both ways together, after which a connection is cut."""

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Carry until cancelled."""
        (listener,) = await trio.open_tcp_listeners(0, host=self.host)
        self.port = listener.socket.getsockname()[1]
        task_status.started()
        await trio.serve_listeners(self._carry, [listener])

    def cut(self) -> None:
        """End every connection as it is."""
        for scope in self._live:
            scope.cancel()

    @property
    def is_calm(self) -> bool:
        """Whether it carries everything at once."""
        return not self.closed and not self.delay and math.isinf(self.allowance)

    def calm(self) -> None:
        """Let everything through again, at once."""
        self.closed, self.delay, self.allowance = False, 0.0, math.inf

    async def _carry(self, near: trio.SocketStream) -> None:
        with trio.CancelScope() as scope:
            self._live.add(scope)
            try:
                if not self.closed:
                    async with await trio.open_tcp_stream(self.host, self.target) as far, trio.open_nursery() as both:
                        both.start_soon(self._pump, near, far, scope)
                        both.start_soon(self._pump, far, near, scope)
            except* OSError:
                # Nobody is there.
                pass
            finally:
                self._live.discard(scope)
        await trio.aclose_forcefully(near)

    async def _pump(self, source: trio.SocketStream, sink: trio.SocketStream, scope: trio.CancelScope) -> None:
        carried = 0
        try:
            while piece := await source.receive_some(_PIECE):
                if self.delay:
                    await trio.sleep(self.delay)
                carried += len(piece)
                await sink.send_all(piece)
                if carried > self.allowance:
                    scope.cancel()
            # One direction may end before the other.
            await sink.send_eof()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            scope.cancel()
