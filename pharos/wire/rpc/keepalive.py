"""Finding out that a peer has gone without a word (half-open TCP)."""

from typing import Protocol

import trio

from pharos.wire.rpc import limits


class Watched(Protocol):
    """The part of a connection that keepalive needs."""

    heard_at: float

    def ping(self) -> None: ...
    def lose(self, reason: str) -> None: ...


async def keep_alive(connection: Watched, interval: float) -> None:
    """Send a PING after each ``interval`` seconds of silence; give the peer up at the third.

    Any bytes count as a sign of life, so a busy connection is never asked.
    """
    misses = 0
    while misses < limits.KEEPALIVE_MISSES:
        heard_at = connection.heard_at
        await trio.sleep_until(heard_at + (misses + 1) * interval)
        if connection.heard_at > heard_at:
            misses = 0
            continue
        misses += 1
        if misses < limits.KEEPALIVE_MISSES:
            connection.ping()
    connection.lose(f"the peer has been silent for {limits.KEEPALIVE_MISSES * interval:g} s")
