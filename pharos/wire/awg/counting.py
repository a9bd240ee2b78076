"""Which peers' counters one who watches an engine is to be told, without I/O."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from pharos.wire.awg.events import Count, PeerCounted
from pharos.wire.units import SECONDS

COUNT_EVERY: Final = 1 * SECONDS
"""How often a peer's counters are told at most."""
MAX_COUNTED: Final = 256
"""Peers told of at a time, of 200 bytes each: a quarter of what may wait for a watcher, so that counters alone cut off
nobody. Of ten thousand that all move each is told of every 40 seconds."""


class CountTeller:
    """Remembers what its watcher was told of each peer."""

    def __init__(self) -> None:
        self._told: dict[bytes, tuple[int, int]] = {}
        # Who has moved since, the longest waiting first.
        self._moved: dict[bytes, None] = {}

    def tell(self, counts: Iterable[Count]) -> list[PeerCounted]:
        """Return what to tell of peers that have carried something since they were told of last."""
        now = {peer: (received, sent) for peer, received, sent in counts}
        self._told = {peer: told for peer, told in self._told.items() if peer in now}
        self._moved = {peer: None for peer in self._moved if peer in now}
        for peer, count in now.items():
            if self._told.get(peer, (0, 0)) != count:
                self._moved[peer] = None
        telling = list(self._moved)[:MAX_COUNTED]
        for peer in telling:
            del self._moved[peer]
            self._told[peer] = now[peer]
        return [PeerCounted(peer=peer, received_bytes=now[peer][0], sent_bytes=now[peer][1]) for peer in telling]
