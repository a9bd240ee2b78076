"""When a node that was there is asked whether it still is, and when it is taken for gone. Pure: time is an argument.

WireGuard answers data within 10 s at the latest, with an empty message where there is nothing to say. That is too long
to wait for somebody who reads a page, so whoever is silent after data is asked inside the tunnel, again and again; and
one who does not answer any of it is gone. An idle line is asked now and then, which keeps NATs open, too.
"""

from __future__ import annotations

import enum
from typing import Final

from pharos.wire.awg.events import PeerStatus
from pharos.wire.units import MILLISECONDS, SECONDS

LOOK_EVERY: Final = 500 * MILLISECONDS
ASK_EVERY: Final = 500 * MILLISECONDS
KNOCK_AFTER: Final = 1.5 * SECONDS
"""Of silence: a node that was restarted answers no question, but an initiation."""
GONE_AFTER: Final = 3 * SECONDS
"""Of silence since it was seen first, five questions and an initiation included. With a look before and the handshake
with another node after it that is below 5 s; on a line with a round trip of 2 s the first three questions count."""
IDLE_ASK: Final = 25 * SECONDS
"""As WireGuard's PersistentKeepalive is usually set: most NATs forget UDP after 30 s."""


class Sign(enum.Enum):
    """What a look at the counters says to do."""

    WELL = "leave it alone"
    ASK = "ask the node by an echo"
    KNOCK = "ask it, and begin a handshake as well"
    GONE = "it is not there"


class Health:
    """Looks at one peer that has been up, every `LOOK_EVERY` seconds."""

    def __init__(self, status: PeerStatus, now: float, *, asks: bool = True) -> None:
        self.heard_at = now
        """When something authentic was seen last."""
        self._received = status.received_bytes
        self._silent_since: float | None = None
        self._asked_at = now
        self._knocked = False
        self._asks = asks

    def expect(self, now: float) -> None:
        """Take whatever comes next for the answer to what was just sent: the line may be another one now."""
        self._silent_since = now

    def restart(self) -> None:
        """The peer is dialled as a new one, and counts from zero."""
        self._received = 0

    def look(self, status: PeerStatus, now: float) -> Sign:
        """Return what to do; `Sign.GONE` as long as that is so."""
        if status.received_bytes > self._received:
            self.heard_at, self._silent_since, self._knocked = now, None, False
            self._received = status.received_bytes
        waits = status.unanswered or status.session_age is None or self._silent_since is not None
        if not waits:
            if self._asks and now - max(self.heard_at, self._asked_at) >= IDLE_ASK:
                self._asked_at = now
                return Sign.ASK
            return Sign.WELL
        if self._silent_since is None:
            self._silent_since = now
        return self._act(now - self._silent_since, now)

    def _act(self, silence: float, now: float) -> Sign:
        if silence >= GONE_AFTER:
            return Sign.GONE
        if silence >= KNOCK_AFTER and not self._knocked:
            self._knocked, self._asked_at = True, now
            return Sign.KNOCK
        if self._asks and now - self._asked_at >= ASK_EVERY:
            self._asked_at = now
            return Sign.ASK
        return Sign.WELL
