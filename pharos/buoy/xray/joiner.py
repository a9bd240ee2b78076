"""Joins what Xray tells, that a connection began, with what Linux tells, that it is there no more. Sans-IO."""

from __future__ import annotations

from collections.abc import Collection, Container
from ipaddress import IPv4Address, IPv6Address
from typing import TypeAlias

import attrs

from pharos.buoy.dataplane.base import REMOVED
from pharos.buoy.dataplane.presence import Presence
from pharos.buoy.roothelper.acts import SocketAddress, SocketPair
from pharos.buoy.xray.accesslog import Connected
from pharos.wire.ids import DeviceId

IPAddress: TypeAlias = IPv4Address | IPv6Address


@attrs.frozen
class _Heard:
    device_id: DeviceId
    at: float


class Joiner:
    """Knows whose connections are open; ``now`` is seconds of any clock, ``at`` microseconds since 1970."""

    def __init__(self, presence: Presence) -> None:
        self.presence = presence
        self._heard: dict[SocketAddress, _Heard] = {}

    def __len__(self) -> int:
        return len(self._heard)

    def hear(self, connected: Connected, *, now: float, at: int) -> None:
        """A device was let through; a connection that carries many streams is told of at each."""
        device_id, source = connected.device_id, connected.source
        before = self._heard.get(source)
        if before is not None and before.device_id == device_id:
            self.presence.last_seen[device_id] = at
            return
        if before is not None:
            # Somebody else's by now, behind the same address: the end of the other one was not seen.
            self.presence.end(before.device_id, now=now)
        self._heard[source] = _Heard(device_id, now)
        self.presence.begin(device_id, source=str(source.address), at=at)

    def look(self, pairs: Collection[SocketPair], *, asked_at: float, now: float) -> None:
        """These connections were open at some time after ``asked_at``; what began later may not be among them."""
        there = {pair.remote for pair in pairs}
        for source, heard in list(self._heard.items()):
            if source not in there and heard.at < asked_at:
                del self._heard[source]
                self.presence.end(heard.device_id, now=now)

    def forget(self, device_id: DeviceId, *, reason: str = REMOVED, at: int) -> None:
        """The device was taken away, now."""
        for source in [source for source, heard in self._heard.items() if heard.device_id == device_id]:
            del self._heard[source]
        self.presence.forget(device_id, reason=reason, at=at)

    def sockets_of(
        self, devices: Container[DeviceId], pairs: Collection[SocketPair], *, elsewhere: Container[IPAddress] = ()
    ) -> tuple[SocketPair, ...]:
        """Return which of the open connections are those of some devices.

        ``elsewhere`` are addresses from which they are said to come: connections from there of which nobody told whose
        they are, as those that began before this agent did, count as theirs.
        """
        found = []
        for pair in pairs:
            heard = self._heard.get(pair.remote)
            theirs = pair.remote.address in elsewhere if heard is None else heard.device_id in devices
            if theirs:
                found.append(pair)
        return tuple(found)
