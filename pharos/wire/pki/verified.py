"""Leaves that one `Trust` has verified already: the next handshake with the same leaf need not parse and verify it.

Kept is what a leaf says, and never that its holder is welcome: its times, role, id and the deny list are judged anew
each time (`verify.authorize_peer`).
"""

from __future__ import annotations

import datetime
from typing import Final

import attrs
from cryptography import x509

from pharos.wire.pki.profile import as_utc, spki_hash
from pharos.wire.pki.roles import Identity

# A leaf of our profile has 500 to 700 octets; with what is kept beside it one takes at most 2 kB, and all of them 2 MB.
# Members that come back are as many as a relay has devices (1,000 passages). Only leaves that an authority of the fleet
# signed are kept, so that no stranger can fill it.
REMEMBERED: Final = 1_024
LARGEST_REMEMBERED: Final = 1_024


@attrs.frozen
class Verified:
    """What a leaf has been shown to say."""

    identity: Identity
    spki_hash: bytes
    not_before: datetime.datetime
    """The first second at which both the leaf and its anchor are valid, in UTC."""
    not_after: datetime.datetime
    """The last one."""

    @classmethod
    def of(cls, leaf: x509.Certificate, identity: Identity, *, anchor: x509.Certificate) -> Verified:
        return cls(
            identity,
            spki_hash(leaf.public_key()),
            max(leaf.not_valid_before_utc, anchor.not_valid_before_utc),
            min(leaf.not_valid_after_utc, anchor.not_valid_after_utc),
        )


class VerifiedLeaves:
    """The leaves seen last, by their octets."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        # The one seen last is at the end.
        self._known: Final[dict[bytes, Verified]] = {}

    def __len__(self) -> int:
        return len(self._known)

    def recall(self, leaf: bytes, now: datetime.datetime) -> Verified | None:
        """Return what a DER certificate says, if it was verified before and its times hold `now` as well."""
        known = self._known.pop(leaf, None)
        if known is None:
            return None
        # One that has expired is no success any more: whoever verifies it anew can say what is wrong with it.
        if not known.not_before <= as_utc(now) <= known.not_after:
            return None
        self._known[leaf] = known
        return known

    def remember(self, leaf: bytes, verified: Verified) -> None:
        if len(leaf) > LARGEST_REMEMBERED:
            return
        self._known[leaf] = verified
        while len(self._known) > REMEMBERED:
            del self._known[next(iter(self._known))]
