"""TAI64N timestamps, which keep an old initiation from being played again (wireguard.pdf §5.1)."""

from collections.abc import Callable
from struct import Struct
from typing import Final, TypeAlias

WallClock: TypeAlias = Callable[[], int]
"""Returns Unix time in nanoseconds: ``time.time_ns`` in a daemon, virtual time in a test."""

TIMESTAMP_BYTES: Final = 12
BEFORE_ALL: Final = bytes(TIMESTAMP_BYTES)
"""Sorts before every timestamp a peer can send."""

_LABEL: Final = Struct(">QI")
# TAI runs 10 s ahead of Unix time at the Unix epoch; WireGuard ignores every leap second since.
_UNIX_EPOCH: Final = 0x400000000000000A
_NS: Final = 10**9
# Coarse nanoseconds (16.8 ms), as in wireguard-go, so that the handshake does not tell the exact clock.
_GRAIN_NS: Final = 1 << 24


class TimestampSource:
    """Gives timestamps that always rise, even when the wall clock is set back while we run."""

    def __init__(self, wall_clock: WallClock) -> None:
        self._wall_clock = wall_clock
        self._last_ns = 0

    def next(self) -> bytes:
        """Return a timestamp later than every one before it; they compare as bytes."""
        seconds, ns = divmod(max(self._wall_clock(), self._last_ns + _GRAIN_NS), _NS)
        self._last_ns = seconds * _NS + ns
        return _LABEL.pack(_UNIX_EPOCH + seconds, ns & ~(_GRAIN_NS - 1))
