"""How many passages helm is asked to serve, and how many of them peers without a certificate may open. Sans-IO."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import attrs

from pharos.beacon.sanitize import Refusal
from pharos.beacon.shares import ShareBounds, Shares
from pharos.wire.rpc.admission import source_of
from pharos.wire.rpc.guard import TokenBucket
from pharos.wire.units import KIB, MINUTES, SECONDS

# security.md §3: 10,000 devices that lost their relay are back within 90 s, with full jitter and a peak of 400 a
# second: 1,000 at once and 400 a second are 37,000 in that time. helm ends a tunnel whose relay resets much more than
# that, and every passage can be reset: what bounds them here keeps strangers from making helm do it.
PASSAGE_BURST: Final = 1_000
PASSAGE_RATE: Final = 400.0

# security.md row 26. Enrolling is one passage; ten are a family behind one address, or one person who mistypes. Then
# one each 5 s.
SOURCE_BURST: Final = 10
SOURCE_RATE: Final = 0.2
# Whoever owns a /48 owns 65,536 sources, so all strangers together have a rate, too: a class of 100 that enrols at
# once, and a twentieth of what helm is asked for at most.
STRANGERS_BURST: Final = 100
STRANGERS_RATE: Final = 20.0
# Sources remembered, the latest: 1 MB of them. A bucket is full again after 50 s, in which all strangers together are
# let in 1,100 times.
SOURCES: Final = 4_096

# What a stranger may send in one passage. A claim is 3 kB of it: CSR, keys, proofs, the inner connection's preface.
STRANGER_OCTETS: Final = 32 * KIB
ENROLMENT_TIME: Final = 60 * SECONDS
# A login waits for a person who looks for a passkey, or for another device to confirm a code.
LOGIN_TIME: Final = 10 * MINUTES
LOGINS: Final = 64
# A quarter of them: an office that sets its computers up on one morning, and nobody holds all places from one address.
SOURCE_LOGINS: Final = 16


@attrs.frozen(kw_only=True)
class Rates:
    """What is let through; the defaults are a beacon's, others are for tests."""

    passage_burst: float = PASSAGE_BURST
    passage_rate: float = PASSAGE_RATE
    strangers_burst: float = STRANGERS_BURST
    strangers_rate: float = STRANGERS_RATE
    source_burst: float = SOURCE_BURST
    source_rate: float = SOURCE_RATE
    sources: int = SOURCES
    logins: int = LOGINS
    source_logins: int = SOURCE_LOGINS
    shares: ShareBounds = attrs.field(factory=ShareBounds)
    """Of one device."""


class Strangers:
    """Lets peers without a certificate do one kind of thing at bounded rates, each source and all of them together."""

    def __init__(self, rates: Rates) -> None:
        self._rates: Final = rates
        self._all = TokenBucket(rates.strangers_burst, rates.strangers_rate)
        self._sources: OrderedDict[bytes, TokenBucket] = OrderedDict()

    def admit(self, now: float, address: str) -> Refusal | None:
        """Let one through, or say why not.

        A source that has used up its own share takes nothing of what it shares with others.
        """
        if not self._source(address).take(now):
            return Refusal.TOO_OFTEN
        return None if self._all.take(now) else Refusal.BUSY

    def _source(self, address: str) -> TokenBucket:
        source = source_of(address)
        bucket = self._sources.get(source)
        if bucket is None:
            bucket = self._sources[source] = TokenBucket(self._rates.source_burst, self._rates.source_rate)
            if len(self._sources) > self._rates.sources:
                self._sources.popitem(last=False)
        self._sources.move_to_end(source)
        return bucket


class PassageLimiter:
    """Lets passages through at bounded rates, for one beacon."""

    def __init__(self, rates: Rates | None = None) -> None:
        self._rates: Final = rates or Rates()
        self.shares: Final = Shares(self._rates.shares)
        """What each device has."""
        self._passages = TokenBucket(self._rates.passage_burst, self._rates.passage_rate)
        self._strangers = Strangers(self._rates)
        # A login asks for the manifest first: that costs helm nothing, and the passage's own share nothing either.
        self._questions = Strangers(self._rates)
        self._logins = 0
        self._logins_of: Counter[bytes] = Counter()

    def admit(self, now: float, *, stranger: str | None) -> Refusal | None:
        """Let one passage through, or say why not. ``stranger`` is the address of a peer without a certificate."""
        refusal = None if stranger is None else self._strangers.admit(now, stranger)
        if refusal is not None:
            return refusal
        return None if self._passages.take(now) else Refusal.BUSY

    def admit_question(self, now: float, *, stranger: str | None) -> Refusal | None:
        """Let somebody ask the beacon itself, or say why not; a device's connections are few."""
        return None if stranger is None else self._questions.admit(now, stranger)

    @contextmanager
    def login(self, address: str | None = None) -> Iterator[Refusal | None]:
        """Count a login from ``address`` while the block runs; gives a reason to refuse it if there are too many."""
        source = b"" if address is None else source_of(address)
        if self._logins_of[source] >= self._rates.source_logins:
            yield Refusal.TOO_OFTEN
            return
        if self._logins >= self._rates.logins:
            yield Refusal.BUSY
            return
        self._logins += 1
        self._logins_of[source] += 1
        try:
            yield None
        finally:
            self._logins -= 1
            self._logins_of[source] -= 1
            if not self._logins_of[source]:
                del self._logins_of[source]
