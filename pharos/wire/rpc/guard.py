"""What a peer may make us do for nothing: resets and frames that carry no work (security.md rows 36-39). Sans-IO.

`Tally` counts while frames are parsed, without a clock; `Guard` charges the counts once per turn, with one.
"""

from __future__ import annotations

from typing import Final

import attrs
from h2.exceptions import DenialOfServiceError

from pharos.wire.rpc import limits


class TokenBucket:
    """Allows ``rate`` events per second, and ``burst`` of them at once after a quiet time."""

    __slots__ = ("_at", "_tokens", "burst", "rate")

    def __init__(self, burst: float, rate: float) -> None:
        self.burst: Final = burst
        self.rate: Final = rate
        self._tokens = burst
        self._at = 0.0

    def take(self, now: float, amount: float = 1.0) -> bool:
        """Take ``amount`` tokens, or none and return False. ``now`` is in seconds and never goes back."""
        tokens = min(self.burst, self._tokens + (now - self._at) * self.rate)
        self._at = now
        if tokens < amount:
            self._tokens = tokens
            return False
        self._tokens = tokens - amount
        return True

    def put(self, amount: float) -> None:
        """Give tokens back, or as a reward; never more than a burst."""
        self._tokens = min(self.burst, self._tokens + amount)


@attrs.frozen(kw_only=True)
class Allowance:
    """How much of each kind a connection bears: at once, and per second."""

    reset_burst: float = attrs.field(factory=lambda: limits.RESET_BURST)
    reset_rate: float = attrs.field(factory=lambda: limits.RESET_RATE)
    control_burst: float = attrs.field(factory=lambda: limits.CONTROL_BURST)
    control_rate: float = attrs.field(factory=lambda: limits.CONTROL_RATE)


# A beacon's tunnel carries what hundreds of strangers do: it resets all passages of a full tunnel (500), and all that
# the beacon lets in, 1,000 at once and 400 a second. One may count twice, for helm's own reset of it and the beacon's
# can cross on the way. A beacon that lets in more is cut off, and no stranger can make helm do it.
TUNNEL_ALLOWANCE: Final = Allowance(reset_burst=3_000, reset_rate=800, control_burst=3_000, control_rate=1_000)


@attrs.define
class Tally:
    """What a machine has met since the last `Guard.charge`."""

    resets: int = 0
    """Streams that the peer reset, or made us reset."""
    control: int = 0
    """Frames that ask for an answer, or for nothing at all."""
    sent: int = 0
    """Octets of DATA that we sent: they are what WINDOW_UPDATE frames are for."""


class Guard:
    """Charges one connection's tally to its allowance."""

    __slots__ = ("_control", "_resets")

    def __init__(self, allowance: Allowance) -> None:
        self._resets: Final = TokenBucket(allowance.reset_burst, allowance.reset_rate)
        self._control: Final = TokenBucket(allowance.control_burst, allowance.control_rate)

    def charge(self, tally: Tally, now: float) -> None:
        """Charge and clear what was counted.

        Raises: DenialOfServiceError — it is more than the peer may ask of us.
        """
        resets, control, sent = tally.resets, tally.control, tally.sent
        tally.resets = tally.control = tally.sent = 0
        if resets and not self._resets.take(now, resets):
            raise DenialOfServiceError(f"more than {self._resets.rate:g} resets a second")
        if control:
            self._control.put(sent / limits.DATA_PER_CONTROL)
            if not self._control.take(now, control):
                raise DenialOfServiceError(f"more than {self._control.rate:g} control frames a second")
        else:
            tally.sent = sent
