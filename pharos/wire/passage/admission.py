"""Who may wait at helm's door: passages whose peer has not proven yet to be there (passage.md §5). Sans-IO."""

from collections import Counter, OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

from pharos.wire.errors import WireError

Key = TypeVar("Key")

MAX_PER_FINGERPRINT: Final = 2
"""A device opens one passage at a time; the second is for one whose first lost its way and has not timed out yet."""

MAX_PER_BEACON: Final = 64
"""One waits for a round trip between device and helm: 64 at 160 ms are the 400 a second that a beacon admits."""

MAX_STRANGERS: Final = 32
"""Of those, peers without a certificate. Anybody on the Internet is one, and shall not keep devices out."""

REMEMBERED: Final = 10_000
"""Ephemeral keys, about 1.5 MB of them: all first messages of a fleet of 5,000 that comes back twice."""


class CrowdedError(WireError):
    """Too many passages wait to be confirmed; try again in a moment."""


class Door:
    """What one helm knows of passages that are not confirmed: how many there are, and which it has seen before."""

    def __init__(
        self,
        *,
        per_fingerprint: int = MAX_PER_FINGERPRINT,
        per_beacon: int = MAX_PER_BEACON,
        strangers: int = MAX_STRANGERS,
        remembered: int = REMEMBERED,
    ) -> None:
        self._per_fingerprint = per_fingerprint
        self._per_beacon = per_beacon
        self._strangers = strangers
        self._remembered = remembered
        self._at_beacon: Counter[str] = Counter()
        # By beacon as well: one that lies about fingerprints must not keep devices from coming through another.
        self._of_fingerprint: Counter[tuple[str, str | None]] = Counter()
        self._seen: OrderedDict[bytes, None] = OrderedDict()

    @contextmanager
    def waiting(self, beacon: str, fingerprint: str | None) -> Iterator[None]:
        """Hold a place until the peer is confirmed, or has failed to be.

        Raises: CrowdedError — there is none for this certificate, or none at all at this beacon.
        """
        one = (beacon, fingerprint)
        limit = self._strangers if fingerprint is None else self._per_fingerprint
        if self._of_fingerprint[one] >= limit or self._at_beacon[beacon] >= self._per_beacon:
            whose = "this beacon" if self._at_beacon[beacon] >= self._per_beacon else f"certificate {fingerprint}"
            raise CrowdedError(f"{self._at_beacon[beacon]} wait to be confirmed, too many of {whose}")
        self._at_beacon[beacon] += 1
        self._of_fingerprint[one] += 1
        try:
            yield
        finally:
            _release(self._at_beacon, beacon)
            _release(self._of_fingerprint, one)

    def is_repeat(self, ephemeral: bytes) -> bool:
        """Return whether a first message with this key has come before, and remember it.

        It costs nothing to ask, where the handshake costs four exchanges of keys. What is forgotten harms nobody: a
        repeat that gets further is never confirmed.
        """
        if ephemeral in self._seen:
            return True
        self._seen[ephemeral] = None
        if len(self._seen) > self._remembered:
            self._seen.popitem(last=False)
        return False


def _release(counter: Counter[Key], key: Key) -> None:
    counter[key] -= 1
    if not counter[key]:
        del counter[key]
