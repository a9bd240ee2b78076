"""Challenges of passkey ceremonies: drawn here, kept here, each good once, for one purpose and two minutes. Sans-IO."""

from __future__ import annotations

import enum
from collections import OrderedDict
from typing import Final

import attrs

from pharos.helm.errors import NotSignedInError

SIZE: Final = 32
"""Octets; WebAuthn §13.4.3 wants 16."""
LIFETIME: Final = 120.0
"""Seconds. A person looks for a security key and types its PIN meanwhile; browsers themselves give up after as long."""
# Anybody who reaches the loopback edge may ask for one. When there are more, the oldest ends: whoever wants to end
# somebody else's has to ask for 4096 within the seconds in which a finger finds its key, and helm holds 1 MB.
MAX_OPEN: Final = 4096


class Purpose(enum.Enum):
    """What an answer to a challenge may be used for."""

    REGISTER = "register"
    SIGN_IN = "sign-in"
    PROVE = "prove"


@attrs.frozen(kw_only=True)
class Asked:
    """What a challenge was drawn for."""

    purpose: Purpose
    site: str
    """RP ID of the page that asked."""
    subject: str = ""
    """The session's id, or the name that somebody wants to sign in by; empty: whoever the passkey says."""


class Challenges:
    """Those that nobody has answered; times are seconds of a clock that never goes back."""

    def __init__(self) -> None:
        self._open: OrderedDict[bytes, tuple[Asked, float]] = OrderedDict()

    def add(self, challenge: bytes, asked: Asked, now: float) -> None:
        """Keep a challenge that was drawn at random."""
        while self._open and (len(self._open) >= MAX_OPEN or self._oldest() <= now - LIFETIME):
            self._open.popitem(last=False)
        self._open[challenge] = (asked, now)

    def take(self, challenge: bytes, purpose: Purpose, now: float) -> Asked:
        """Use a challenge up, whatever comes of it.

        Raises: NotSignedInError — it is unknown, used up, too old, or was drawn for something else.
        """
        asked, drawn_at = self._open.pop(challenge, (None, 0.0))
        if asked is None or asked.purpose is not purpose or drawn_at <= now - LIFETIME:
            raise NotSignedInError("this answers no question that is open; try again")
        return asked

    def _oldest(self) -> float:
        _, drawn_at = next(iter(self._open.values()))
        return drawn_at
