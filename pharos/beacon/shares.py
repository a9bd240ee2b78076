"""What one device may have of a beacon, so that none takes what others need."""

from __future__ import annotations

import math
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Final

import attrs

from pharos.beacon.sanitize import Refusal
from pharos.wire.rpc.guard import TokenBucket
from pharos.wire.rpc.limits import EDGE_STREAMS

# helm serves one passage of a device, its newest. One connection is the one in use, a second is one that the device has
# lost and that nobody has told us is dead (45 s); two more are for a network that breaks again meanwhile.
DEVICE_CONNECTIONS: Final = 4
# As many as one connection may have, twice: an old connection's are still held when a new one is filled. Of 5,500
# places, 690 devices that do their worst would be needed to take all.
DEVICE_PASSAGES: Final = 2 * EDGE_STREAMS
# Passages of one device, one after the other: a device that fails backs off from one second to thirty. Twenty at once
# are a program that is restarted again and again by hand.
DEVICE_BURST: Final = 20
DEVICE_RATE: Final = 0.5
# Devices remembered, the latest: 4 MB of them. A bucket is full again after 40 s, in which 10,000 devices that all come
# back are let in (security.md §3), and a device that is forgotten before that gains no more than one burst.
DEVICES: Final = 16_384

Device = Hashable
"""Who it is: what its certificate says, or the certificate."""


@attrs.frozen(kw_only=True)
class ShareBounds:
    """What one device may have; the defaults are a beacon's, others are for tests."""

    connections: float = attrs.field(factory=lambda: DEVICE_CONNECTIONS)
    passages: float = attrs.field(factory=lambda: DEVICE_PASSAGES)
    burst: float = attrs.field(factory=lambda: DEVICE_BURST)
    rate: float = attrs.field(factory=lambda: DEVICE_RATE)
    devices: int = DEVICES


UNSHARED: Final = ShareBounds(connections=math.inf, passages=math.inf, burst=math.inf)
"""The weakened beacon, where one device may have everything."""


class Shares:
    """Counts what each device has, for one beacon."""

    def __init__(self, bounds: ShareBounds | None = None) -> None:
        self._bounds: Final = bounds or ShareBounds()
        self._passages: Final[Counter[Device]] = Counter()
        # Those of a device that are open, the oldest first, each by what cuts it.
        self._connections: Final[dict[Device, list[Callable[[], object]]]] = {}
        self._buckets: Final[OrderedDict[Device, TokenBucket]] = OrderedDict()

    def admit(self, device: Device, now: float) -> Refusal | None:
        """Let a device open one more passage, or say why not. ``now`` is in seconds and never goes back."""
        if self._passages[device] >= self._bounds.passages:
            return Refusal.TOO_MANY
        bucket = self._buckets.get(device)
        if bucket is None:
            bucket = self._buckets[device] = TokenBucket(self._bounds.burst, self._bounds.rate)
            if len(self._buckets) > self._bounds.devices:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(device)
        return None if bucket.take(now) else Refusal.DEVICE_TOO_OFTEN

    @contextmanager
    def passage(self, device: Device) -> Iterator[None]:
        """Count a passage that was admitted while the block runs."""
        self._passages[device] += 1
        try:
            yield
        finally:
            self._passages[device] -= 1
            if not self._passages[device]:
                del self._passages[device]

    @contextmanager
    def connection(self, device: Device, cut: Callable[[], object]) -> Iterator[None]:
        """Count a connection while the block runs. One too many costs the device its oldest, by that one's ``cut``."""
        open_ones = self._connections.setdefault(device, [])
        open_ones.append(cut)
        if len(open_ones) > self._bounds.connections:
            open_ones.pop(0)()
        try:
            yield
        finally:
            if cut in open_ones:
                open_ones.remove(cut)
            if not open_ones and self._connections.get(device) is open_ones:
                del self._connections[device]
