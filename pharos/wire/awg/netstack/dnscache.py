"""Answers of resolvers, kept for as long as they may be and as room is for them."""

from __future__ import annotations

from typing import Final, TypeAlias

import attrs

from pharos.wire.awg.netstack.ip import IpAddress

MAX_NAMES: Final = 1024
"""A browser's day; about 300 kB."""

Key: TypeAlias = tuple[str, int]
"""Name in lower case, version of IP."""


@attrs.frozen
class Known:
    """What is known of a name."""

    addresses: tuple[IpAddress, ...]
    """None of them: it has none of this version."""
    exists: bool
    until: float


class DnsCache:
    """``now`` is any clock in seconds that does not go back."""

    def __init__(self) -> None:
        self._known: dict[Key, Known] = {}

    def get(self, key: Key, now: float) -> Known | None:
        known = self._known.get(key)
        if known is None or now >= known.until:
            return None
        return known

    def put(self, key: Key, addresses: tuple[IpAddress, ...], *, exists: bool, until: float) -> None:
        """Keep an answer; the one that was put in first gives way where there is no room."""
        self._known.pop(key, None)
        if len(self._known) >= MAX_NAMES:
            del self._known[next(iter(self._known))]
        self._known[key] = Known(addresses, exists, until)

    def clear(self) -> None:
        """Forget all: another network may give other answers."""
        self._known.clear()
