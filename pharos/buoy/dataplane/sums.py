"""Octets of devices, summed over engines that may begin anew from nothing at any time. Sans-IO."""

from __future__ import annotations

from collections.abc import Iterator

from pharos.wire.ids import DeviceId

Octets = tuple[int, int]
"""Received and sent."""


class Sums:
    """What each of so many engines said last, and what those before them had said; never goes down."""

    def __init__(self, engines: int) -> None:
        self._last: list[dict[DeviceId, Octets]] = [{} for _ in range(engines)]
        self._before: dict[DeviceId, Octets] = {}

    def set(self, engine: int, device_id: DeviceId, received: int, sent: int) -> None:
        """An engine says so much of a device; less than before means that it has begun anew."""
        old = self._last[engine].get(device_id, (0, 0))
        if received < old[0] or sent < old[1]:
            self._keep(device_id, old)
        self._last[engine][device_id] = (received, sent)

    def begin_anew(self, engine: int) -> None:
        """It is another engine now: whatever it says next is on top of what the one before said last."""
        for device_id, octets in self._last[engine].items():
            self._keep(device_id, octets)
        self._last[engine].clear()

    def forget(self, device_id: DeviceId) -> None:
        """The device is nobody any more."""
        self._before.pop(device_id, None)
        for last in self._last:
            last.pop(device_id, None)

    def all(self) -> Iterator[tuple[DeviceId, Octets]]:
        """Yield each device that anything was said of."""
        for device_id in self._before.keys() | {device_id for last in self._last for device_id in last}:
            octets = [self._before.get(device_id, (0, 0)), *(last.get(device_id, (0, 0)) for last in self._last)]
            yield device_id, (sum(one[0] for one in octets), sum(one[1] for one in octets))

    def _keep(self, device_id: DeviceId, octets: Octets) -> None:
        before = self._before.get(device_id, (0, 0))
        self._before[device_id] = (before[0] + octets[0], before[1] + octets[1])
