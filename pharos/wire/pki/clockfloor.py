"""The time that certificates are judged by: the wall clock, but never earlier than what the fleet has shown it to be.

A clock that was set back would revive what has expired. Whatever the fleet signed at a known time proves that this
time has passed; the largest such time is the floor, kept across restarts. Timers go by the monotonic clock instead.
"""

import datetime
from typing import Final

import attrs
from cryptography import x509

from pharos.wire.pki.profile import BACKDATE, as_utc

# A signer's clock may be so far ahead of the true time; what it says is lowered by as much before it counts.
TOLERANCE: Final = datetime.timedelta(minutes=5)

# A floor that is an hour old protects as well as a new one, and one write an hour wears out no SD card.
WORTH_KEEPING: Final = datetime.timedelta(hours=1)

_EPOCH: Final = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


@attrs.define
class ClockFloor:
    """The largest time that this member has proof of.

    Only what was verified may be shown to it: whoever can raise a floor into the future ends every certificate.
    """

    floor: datetime.datetime = attrs.field(default=_EPOCH, converter=as_utc)
    """In UTC and whole seconds; what was kept, to begin with."""
    kept: datetime.datetime = attrs.field(init=False)
    """The floor on disk."""

    @kept.default
    def _kept_at_first(self) -> datetime.datetime:
        return self.floor

    def now(self, wall: datetime.datetime) -> datetime.datetime:
        """Return the time to judge certificates by, of the wall clock's."""
        return max(as_utc(wall), self.floor)

    def behind(self, wall: datetime.datetime) -> datetime.timedelta:
        """Return by how much the wall clock is provably behind; zero if it is not."""
        return self.now(wall) - as_utc(wall)

    def see_certificate(self, certificate: x509.Certificate) -> None:
        """Learn from a verified certificate, which was made when it began to be valid and the backdating later."""
        self.see_signature(certificate.not_valid_before_utc + BACKDATE)

    def see_signature(self, signed: datetime.datetime) -> None:
        """Learn from a verified signature over the time of its making: a deny list's or a bundle's `issued`."""
        self.floor = max(self.floor, as_utc(signed) - TOLERANCE)

    @property
    def worth_keeping(self) -> bool:
        """True if the floor has risen far enough above the one on disk to be written again."""
        return self.floor - self.kept >= WORTH_KEEPING

    def was_kept(self) -> None:
        """Note that the present floor is on disk."""
        self.kept = self.floor
