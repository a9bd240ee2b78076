"""Which devices are there, where a device is many short connections: one that begins, and none for a while. Sans-IO."""

from __future__ import annotations

from typing import Final

import attrs

from pharos.buoy.dataplane.base import REMOVED, SILENT, OnEvent
from pharos.wire.convert import EventKind
from pharos.wire.ids import DeviceId
from pharos.wire.units import SECONDS

LINGER: Final = 10 * SECONDS
"""A page that is read opens no connection for a while, and its reader has not gone."""


@attrs.define
class _Presence:
    sessions: int = 0
    gone_at: float = 0.0
    """When it will have gone, while there are no sessions."""


class Presence:
    """Tells when devices come and go; ``now`` is seconds of any clock, ``at`` microseconds since 1970."""

    def __init__(self, on_event: OnEvent) -> None:
        self.last_seen: dict[DeviceId, int] = {}
        """When a device began its latest connection, microseconds since 1970."""
        self._on_event = on_event
        self._present: dict[DeviceId, _Presence] = {}

    def begin(self, device_id: DeviceId, *, source: str, at: int) -> None:
        """A connection of the device has begun."""
        self.last_seen[device_id] = at
        presence = self._present.get(device_id)
        if presence is None:
            presence = self._present[device_id] = _Presence()
            self._on_event(EventKind.HANDSHAKE, at=at, device_id=device_id, detail=source)
            self._on_event(EventKind.CONNECTED, at=at, device_id=device_id, detail=source)
        presence.sessions += 1

    def end(self, device_id: DeviceId, *, now: float) -> None:
        """One of its connections has ended."""
        presence = self._present.get(device_id)
        if presence is None:
            return
        presence.sessions = max(0, presence.sessions - 1)
        presence.gone_at = now + LINGER

    def end_all(self, *, now: float) -> None:
        """Every connection has ended: their engine has."""
        for presence in self._present.values():
            presence.sessions = 0
            presence.gone_at = now + LINGER

    def forget(self, device_id: DeviceId, *, reason: str = REMOVED, at: int) -> None:
        """The device was taken away, now."""
        self.last_seen.pop(device_id, None)
        if self._present.pop(device_id, None) is not None:
            self._on_event(EventKind.DISCONNECTED, at=at, device_id=device_id, detail=reason)

    def review(self, *, now: float, at: int) -> None:
        """Tell of those that have gone meanwhile."""
        for device_id, presence in list(self._present.items()):
            if not presence.sessions and presence.gone_at <= now:
                del self._present[device_id]
                self._on_event(EventKind.DISCONNECTED, at=at, device_id=device_id, detail=SILENT)
