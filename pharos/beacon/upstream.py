"""The connections by which helm can be reached: helm dialled every one of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pharos.wire.rpc.h2conn import Connection


class Upstreams:
    """The tunnel connections that are up; new passages go to the one with the fewest."""

    def __init__(self) -> None:
        self._connections: list[Connection] = []

    def __len__(self) -> int:
        return len(self._connections)

    @contextmanager
    def joined(self, connection: Connection) -> Iterator[None]:
        """Offer a connection to new passages while the block runs."""
        self._connections.append(connection)
        try:
            yield
        finally:
            self._connections.remove(connection)

    def pick(self) -> Connection | None:
        """Return the emptiest connection, None while helm is away."""
        alive = [connection for connection in self._connections if not connection.closed]
        return min(alive, key=lambda connection: len(connection.streams), default=None)
