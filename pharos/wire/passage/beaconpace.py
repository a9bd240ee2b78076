"""What one beacon may cost helm by opening passages, which it can do without any device's help (security.md row 29).

Its calls begin, and their handshakes are computed, no faster than an honest beacon lets devices in. What comes faster
waits and holds its places in the tunnel meanwhile, for a refusal would cost as much as what it refuses. So no beacon
has more than its part of helm's time, whatever it sends, and the devices behind the others hardly notice.
"""

from typing import Final

import trio

from pharos.wire.passage.pace import FramePace

OPENING_RATE: Final = 400.0
"""A second and beacon, as a beacon's own limit (`pharos.beacon.limiter`): 1,000 devices that come back together are in
after 2.5 s. An opening that is refused costs helm 1 ms, so that a beacon can have two fifths of a core and no more."""

OPENING_BURST: Final = 1.0
"""At once. Each one more is a millisecond in which nobody else is served, and with two of them the openings of other
beacons already take more than twice as long (`tests/attacks/test_a29_flood_by_a_beacon.py`)."""


class BeaconPace:
    """How fast helm opens passages for each of its beacons; one for all of them, of which there are few."""

    def __init__(self, *, rate: float = OPENING_RATE, burst: float = OPENING_BURST) -> None:
        self._rate: Final = rate
        self._burst: Final = burst
        self._calls: Final[dict[str, FramePace]] = {}
        self._handshakes: Final[dict[str, FramePace]] = {}

    async def wait_for_call(self, beacon: str) -> None:
        """Wait until a beacon may begin one more call. As many may wait as its tunnels have places."""
        await self._wait(self._calls, beacon)

    async def wait_for_handshake(self, beacon: str) -> None:
        """Wait until one more of its handshakes may be computed: it may have held many back, to send them together."""
        await self._wait(self._handshakes, beacon)

    async def _wait(self, paces: dict[str, FramePace], beacon: str) -> None:
        if beacon not in paces:
            paces[beacon] = FramePace(self._rate, self._burst)
        delay = paces[beacon].take(trio.current_time())
        if delay:
            await trio.sleep(delay)
