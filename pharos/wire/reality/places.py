"""How many connections of strangers there may be at once, and which of them goes when one more comes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import trio


class Places:
    """A connection has a place until it is known to be a device's, or ends.

    When there are no more, the oldest is ended: a crowd that only holds places keeps nobody out, and a device's
    handshake takes the shortest time of all.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._scopes: dict[int, trio.CancelScope] = {}
        self._count = 0
        self.ended = 0
        """How many had to go."""

    def __len__(self) -> int:
        return len(self._scopes)

    @contextmanager
    def take(self, lifetime: float) -> Iterator[trio.CancelScope]:
        """Hold a place while the block lasts. ``lifetime``: seconds until it is ended anyhow."""
        while len(self._scopes) >= self._most:
            oldest = next(iter(self._scopes))
            self._scopes.pop(oldest).cancel()
            self.ended += 1
        self._count += 1
        number = self._count
        with trio.move_on_after(lifetime) as scope:
            self._scopes[number] = scope
            try:
                yield scope
            finally:
                self._scopes.pop(number, None)
