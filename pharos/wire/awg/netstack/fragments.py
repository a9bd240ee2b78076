"""Fragments put together again (RFC 791 p. 27, RFC 8200 §4.5), within bounds that a flood of them cannot move.

Fragments that overlap are an attack or a bug: all of their packet is dropped (RFC 5722, RFC 8200 §4.5).
"""

from __future__ import annotations

from typing import Final, TypeAlias

import attrs

from pharos.wire.awg.netstack.ip import IpPacket, build_ip
from pharos.wire.units import KIB, SECONDS

TIMEOUT: Final = 30 * SECONDS
"""From the first fragment of a packet on; Linux's, RFC 8200 allows twice as much."""
MAX_PACKETS: Final = 64
"""Unfinished at a time: what a path reorders is some milliseconds' worth."""
MAX_BYTES: Final = 512 * KIB
"""Of unfinished packets: eight of the largest."""
MAX_FRAGMENTS: Final = 128
"""Of one packet: 65,535 bytes in pieces of 512."""
MAX_PAYLOAD: Final = 65_515
"""Bytes behind the header of an IPv4 packet; nobody needs the 20 more that IPv6 could have."""

_Key: TypeAlias = tuple[bytes, bytes, int, int]


@attrs.define(eq=False)
class _Unfinished:
    began_at: float
    parts: dict[int, bytes] = attrs.field(factory=dict)
    """By offset."""
    held: int = 0
    total: int | None = None
    """Known with the last fragment."""
    protocol: int = 0
    """As the first one says; the others' is not looked at (RFC 8200 §4.5)."""


class Reassembler:
    """Holds fragments until their packet is whole."""

    def __init__(self) -> None:
        self._unfinished: dict[_Key, _Unfinished] = {}
        self._held = 0

    @property
    def held(self) -> int:
        """Bytes that wait for others."""
        return self._held

    def receive(self, packet: IpPacket, now: float) -> bytes | None:
        """Take a fragment; return the whole packet if it was the last that was missing."""
        fragment = packet.fragment
        assert fragment is not None
        self._expire(now)
        # IPv4 tells packets apart by their protocol, too.
        of_protocol = packet.protocol if packet.version == 4 else 0
        key = (packet.source, packet.destination, of_protocol, fragment.identification)
        part = packet.payload
        entry = self._unfinished.get(key)
        if entry is None:
            entry = self._unfinished[key] = _Unfinished(began_at=now)
        if not self._fits(entry, fragment.offset, part, more=fragment.more):
            self._drop(key)
            return None
        if entry.parts.get(fragment.offset) == part:
            return None  # The same once more, which happens.
        entry.parts[fragment.offset] = part
        entry.held += len(part)
        self._held += len(part)
        if not fragment.offset:
            entry.protocol = packet.protocol
        if not fragment.more:
            entry.total = fragment.offset + len(part)
        if entry.held == entry.total:
            self._drop(key)
            payload = b"".join(entry.parts[offset] for offset in sorted(entry.parts))
            return build_ip(packet.source, packet.destination, entry.protocol, payload)
        while self._held > MAX_BYTES or len(self._unfinished) > MAX_PACKETS:
            self._drop(next(iter(self._unfinished)))
        return None

    @staticmethod
    def _fits(entry: _Unfinished, offset: int, part: bytes, *, more: bool) -> bool:
        """Whether a fragment can be one of a packet that the others are of."""
        if entry.parts.get(offset) == part:
            return True
        end = offset + len(part)
        if not part or end > MAX_PAYLOAD or (more and len(part) % 8) or len(entry.parts) >= MAX_FRAGMENTS:
            return False
        if entry.total is not None and (end > entry.total or not more):
            return False
        others = [(at, at + len(other)) for at, other in entry.parts.items()]
        if not more and any(other_end > end for _, other_end in others):
            return False
        return not any(at < end and offset < other_end for at, other_end in others)

    def _expire(self, now: float) -> None:
        # They are in the order in which they began.
        while self._unfinished:
            key, entry = next(iter(self._unfinished.items()))
            if now < entry.began_at + TIMEOUT:
                return
            self._drop(key)

    def _drop(self, key: _Key) -> None:
        self._held -= self._unfinished.pop(key).held
