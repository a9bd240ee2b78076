"""What was carried for each device, over all the Xrays there were: their own counters begin at nothing. Sans-IO."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeAlias

from pharos.wire.ids import DeviceId

Octets: TypeAlias = tuple[int, int]
"""Received from the device, and sent to it."""

CLOCK_SLACK: Final = 3_000_000
"""Microseconds by which two readings of one start differ: an uptime is whole seconds, and the answer takes a while."""


class Counters:
    """Sums that never go down; ``baseline`` is where they begin."""

    def __init__(self, baseline: Mapping[DeviceId, Octets] | None = None) -> None:
        self._before: dict[DeviceId, Octets] = dict(baseline or {})
        self._last: dict[DeviceId, Octets] = {}
        self._started_at: int | None = None

    def note_start(self, started_at: int) -> None:
        """Say when the Xray that is asked began, microseconds since 1970: if it is another one, it counts anew."""
        if self._started_at is not None and abs(started_at - self._started_at) > CLOCK_SLACK:
            self.begin_anew()
        self._started_at = started_at

    def begin_anew(self) -> None:
        """Say that the Xray that was asked has ended, however soon after the last one."""
        for device_id in list(self._last):
            self._keep(device_id)
        self._started_at = None

    def note(self, device_id: DeviceId, received: int, sent: int) -> None:
        """Say what Xray has counted of a device since it began."""
        last = self._last.get(device_id, (0, 0))
        if received < last[0] or sent < last[1]:
            self._keep(device_id)
        self._last[device_id] = (received, sent)

    def sum(self, device_id: DeviceId) -> Octets:
        before, last = self._before.get(device_id, (0, 0)), self._last.get(device_id, (0, 0))
        return before[0] + last[0], before[1] + last[1]

    def _keep(self, device_id: DeviceId) -> None:
        self._before[device_id] = self.sum(device_id)
        del self._last[device_id]
