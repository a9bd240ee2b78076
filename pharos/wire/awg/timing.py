"""WireGuard's constants of time and count (wireguard.pdf §6.1)."""

from typing import Final

import attrs

from pharos.wire.units import MILLISECONDS, SECONDS

REKEY_AFTER_MESSAGES: Final = 2**60
# The largest window any implementation keeps is held back from the end of the counter.
REJECT_AFTER_MESSAGES: Final = 2**64 - 2**13 - 1
HANDSHAKE_JITTER: Final = 333 * MILLISECONDS
"""Added at random to a retry, so that two ends that began together do not go on colliding."""
MIN_INITIATION_GAP: Final = 20 * MILLISECONDS
"""A peer's initiation nearer than this to the one before is dropped, for each costs us a handshake."""
MAX_STAGED: Final = 128
"""Packets kept for a peer while a handshake runs, about 180 kB; the oldest give way, as in wireguard-go."""


@attrs.frozen(kw_only=True)
class Timing:
    """The timers a tunnel may set otherwise, all in seconds; the defaults are WireGuard's."""

    rekey_after: float = 120 * SECONDS
    """Age at which the initiator of a session, when it sends, begins the next handshake."""
    reject_after: float = 180 * SECONDS
    """Age at which a session carries nothing more, either way."""
    rekey_timeout: float = 5 * SECONDS
    """Least time between two initiations to a peer, and the time after which one is repeated."""
    keepalive: float = 10 * SECONDS
    """Silence after which received data is answered by a keepalive."""
    max_attempts: int = 18
    """Initiations sent in vain before giving up: 90 s at 5 s each."""

    @property
    def rekey_on_receive_after(self) -> float:
        """Age at which the initiator, when it receives, begins the next handshake even if it never sends."""
        return self.reject_after - self.keepalive - self.rekey_timeout

    @property
    def no_answer_after(self) -> float:
        """Time after which data sent with nothing authentic back means that the session is gone at the peer."""
        return self.keepalive + self.rekey_timeout

    @property
    def forget_after(self) -> float:
        """Time after the last handshake at which all its keys are dropped."""
        return 3 * self.reject_after
