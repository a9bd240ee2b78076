"""Who may wait at a listener's door: bounds on connections that have not proven who they are (row 34). Sans-IO."""

from __future__ import annotations

import enum
import socket
from collections.abc import Callable
from typing import Final

import attrs

from pharos.wire.rpc.guard import TokenBucket
from pharos.wire.units import MINUTES

# security.md row 34. A home or an office behind one address has some twenty devices that come back at once; a handshake
# takes two milliseconds of CPU, so that one address never has more than 40 ms of it queued.
PENDING_PER_SOURCE: Final = 20
# A pending connection holds a descriptor and 8 kB while it is silent, 60 kB at most: 200 are 12 MB, and leave most of
# 1,024 descriptors free.
UNAUTHENTICATED: Final = 200
# When all places are taken, a newcomer gets the oldest of whoever has most of them: else ten addresses that say nothing
# and come back when their handshakes time out (200 places in 5 s are 40 a second) would keep everybody out. To displace
# costs three times what it costs to refuse, so that of a real flood most is refused.
DISPLACEMENT_BURST: Final = 100.0
DISPLACEMENT_RATE: Final = 100.0
# Descriptors that no connection may take: a daemon at rest holds about 20, and opens a few at a time for files,
# subprocesses and look-ups. Where the limit is very low, a quarter of it.
RESERVED_FILES: Final = 64
# RFC 4291 §2.5.5.2: what an IPv4 address begins with on a socket for both.
_MAPPED: Final = bytes(10) + b"\xff\xff"
# A flood is one line a minute.
REPORT_INTERVAL: Final = 1 * MINUTES


class Refusal(enum.Enum):
    """Why a connection is closed as soon as it was accepted."""

    SOURCE = "too many pending from one address"
    STRANGERS = "too many that have not proven who they are"
    FILES = "no descriptors left"


@attrs.frozen(kw_only=True)
class Bounds:
    """What one listener bears."""

    pending_per_source: int = attrs.field(factory=lambda: PENDING_PER_SOURCE)
    unauthenticated: int = attrs.field(factory=lambda: UNAUTHENTICATED)
    displacement_burst: float = attrs.field(factory=lambda: DISPLACEMENT_BURST)
    displacement_rate: float = attrs.field(factory=lambda: DISPLACEMENT_RATE)
    reserved_files: int = attrs.field(factory=lambda: RESERVED_FILES)

    def last_descriptor(self, limit: int) -> int:
        """Return the highest descriptor that a connection may have, where a process may have ``limit`` of them.

        The kernel gives the lowest that is free, so the number tells how full the whole process is, whatever else
        it has open: all its listeners share what is below, and what is above is the daemon's own.
        """
        return limit - 1 - min(self.reserved_files, limit // 4)


class Place:
    """One connection's place among those that have not proven themselves; left when they have, or end."""

    __slots__ = ("_admission", "_source", "displaced")

    def __init__(self, admission: Admission, source: bytes) -> None:
        self._admission: Admission | None = admission
        self._source = source
        self.displaced: Callable[[], object] = _nothing
        """Called when a newcomer takes the place: the connection is to be closed."""

    def __enter__(self) -> Place:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.leave()

    def leave(self) -> None:
        """Count no more; a second time does nothing."""
        if self._admission is not None:
            self._admission._leave(self, self._source)
            self._admission = None


class Admission:
    """Counts one listener's connections until they are authenticated.

    It remembers a source as long as one of its connections counts: the table is never longer than ``unauthenticated``.
    """

    def __init__(self, bounds: Bounds, *, descriptors: int) -> None:
        """``descriptors`` is how many the process may have (RLIMIT_NOFILE)."""
        self._bounds: Final = bounds
        self._last_descriptor: Final = bounds.last_descriptor(descriptors)
        self._displacements: Final = TokenBucket(bounds.displacement_burst, bounds.displacement_rate)
        # Those of a source, the oldest first.
        self._places: Final[dict[bytes, list[Place]]] = {}
        self.unauthenticated = 0

    @property
    def sources(self) -> int:
        """How many sources are remembered."""
        return len(self._places)

    def admit(self, host: str, descriptor: int, now: float) -> Place | Refusal:
        """Give a place to a connection from ``host``, an IP address in text, or say why not.

        ``now`` is in seconds and never goes back.
        """
        if descriptor > self._last_descriptor:
            return Refusal.FILES
        source = source_of(host)
        if len(self._places.get(source, ())) >= self._bounds.pending_per_source:
            return Refusal.SOURCE
        if self.unauthenticated >= self._bounds.unauthenticated:
            if not self._displacements.take(now):
                return Refusal.STRANGERS
            self._displace()
        place = Place(self, source)
        self._places.setdefault(source, []).append(place)
        self.unauthenticated += 1
        return place

    def _displace(self) -> None:
        oldest = max(self._places.values(), key=len)[0]
        oldest.leave()
        oldest.displaced()

    def _leave(self, place: Place, source: bytes) -> None:
        self.unauthenticated -= 1
        places = self._places[source]
        places.remove(place)
        if not places:
            del self._places[source]


def _nothing() -> None:
    pass


def source_of(host: str) -> bytes:
    """Return what one household has in common: an IPv4 address, mapped or not, or the /64 of an IPv6 address."""
    if ":" not in host:
        return socket.inet_pton(socket.AF_INET, host)
    packed = socket.inet_pton(socket.AF_INET6, host.partition("%")[0])
    return packed[len(_MAPPED) :] if packed.startswith(_MAPPED) else packed[:8]


class Digest:
    """Makes one line of many events: the first at once, those that follow once each interval."""

    __slots__ = ("_counts", "_due")

    def __init__(self) -> None:
        self._counts: Final[dict[str, int]] = {}
        self._due = 0.0

    def note(self, what: str, detail: str, now: float) -> str | None:
        """Count an event; return what there is to say, if it is time, with the ``detail`` of this one.

        ``what`` is one of a few; ``now`` is in seconds and never goes back.
        """
        self._counts[what] = self._counts.get(what, 0) + 1
        if now < self._due:
            return None
        self._due = now + REPORT_INTERVAL
        counts = ", ".join(f"{count} {known}" for known, count in self._counts.items())
        self._counts.clear()
        return f"{counts}; the last: {detail}"
