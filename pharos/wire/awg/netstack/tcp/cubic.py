"""How much may be under way: CUBIC (RFC 9438) with HyStart++ (RFC 9406). Windows are in octets."""

from __future__ import annotations

import math
from typing import Final

from pharos.wire.awg.netstack.tcp.hystart import GROWTH_DIVISOR, HyStart

INITIAL_SEGMENTS: Final = 10
"""RFC 6928."""
_INITIAL_OCTETS: Final = 14_600
BETA: Final = 0.7
_C: Final = 0.4
_ALPHA: Final = 3 * (1 - BETA) / (1 + BETA)
"""What grows on average as fast as Reno (RFC 9438 §4.3)."""
_MIN_SEGMENTS: Final = 2


def initial_window(mss: int) -> int:
    """Return the window of a connection that knows nothing of its path yet (RFC 6928 §2)."""
    return min(INITIAL_SEGMENTS * mss, max(2 * mss, _INITIAL_OCTETS))


class Cubic:
    """The congestion window and what it depends on."""

    __slots__ = ("_epoch", "_estimate", "_hystart", "_k", "_maximum", "_prior", "_saved", "mss", "threshold", "window")

    def __init__(self, mss: int) -> None:
        self.mss = mss
        self.window: float = initial_window(mss)
        self.threshold: float = math.inf
        """ssthresh: from here on it is no slow start any more."""
        self._hystart: HyStart | None = HyStart()
        """Of the first slow start only (RFC 9406 §4.3)."""
        self._maximum = 0.0
        self._prior = 0.0
        self._k = 0.0
        self._epoch: float | None = None
        """Since when the window grows by the cubic function; None: not yet."""
        self._estimate = 0.0
        self._saved: tuple[float, float, float, float, float | None, float, float] | None = None

    def acknowledged(self, acked: int, now: float, rtt: float, *, una: int, nxt: int, sample: float | None) -> None:
        """Grow by octets that were delivered while the window was what limited us; rtt is the smoothed one."""
        if self.window < self.threshold:
            acked = self._slow_start(acked, una, nxt, sample)
        if acked > 0:
            self._avoid(acked, now, rtt)

    def _slow_start(self, acked: int, una: int, nxt: int, sample: float | None) -> int:
        """Grow by what was acknowledged; return what is over when the threshold is reached."""
        step = acked
        if self._hystart is not None:
            if self._hystart.acknowledged(una, nxt, sample):
                self.threshold, self._hystart = self.window, None
                return acked
            if self._hystart.conservative:
                step //= GROWTH_DIVISOR
        room = self.threshold - self.window
        if step <= room:
            self.window += step
            return 0
        self.window += room
        return int(step - room)

    def _avoid(self, acked: int, now: float, rtt: float) -> None:
        """RFC 9438 §4.2 to §4.5."""
        window = self.window / self.mss
        segments = acked / self.mss
        if self._epoch is None:
            self._begin_epoch(window, now)
        assert self._epoch is not None
        elapsed = now - self._epoch
        alpha = _ALPHA if self._estimate < self._prior else 1.0
        self._estimate += alpha * segments / window
        if _C * (elapsed - self._k) ** 3 + self._maximum < self._estimate:
            if self._estimate > window:
                self.window = self._estimate * self.mss
            return
        target = _C * (elapsed + rtt - self._k) ** 3 + self._maximum
        target = max(window, min(target, 1.5 * window))
        self.window += (target - window) / window * acked

    def _begin_epoch(self, window: float, now: float) -> None:
        self._epoch = now
        self._estimate = window
        if self._maximum > window:
            self._k = ((self._maximum - window) / _C) ** (1 / 3)
        else:
            # After a timeout, or after a slow start that ended by itself (RFC 9438 §4.8 and §4.10).
            self._k, self._maximum = 0.0, window

    def congested(self) -> None:
        """Something was lost: what is under way has to become less (RFC 9438 §4.6 and §4.7)."""
        self._save()
        window = self.window / self.mss
        self._prior = window
        self._maximum = window * (1 + BETA) / 2 if window < self._maximum else window
        self.threshold = max(self.window * BETA, _MIN_SEGMENTS * self.mss)
        self._epoch, self._hystart = None, None

    def timed_out(self) -> None:
        """The timer went off: all begins again with one segment (RFC 5681 §3.1)."""
        self.congested()
        self.window = self.mss

    def undo(self) -> None:
        """Nothing was lost after all (RFC 9438 §4.9)."""
        if self._saved is not None:
            window, self.threshold, self._maximum, self._prior, self._epoch, self._k, self._estimate = self._saved
            self.window = max(self.window, window)
            self._saved = None

    def _save(self) -> None:
        self._saved = (
            self.window,
            self.threshold,
            self._maximum,
            self._prior,
            self._epoch,
            self._k,
            self._estimate,
        )

    def idle(self, seconds: float, rto: float) -> None:
        """Nothing was sent for longer than a timeout: what was known of the path is worth less (RFC 5681 §4.1)."""
        if self._epoch is not None:
            self._epoch += seconds
        if seconds > rto:
            if self.threshold < math.inf:
                self.threshold = max(self.threshold, self.window * 3 / 4)
            self.window = min(self.window, initial_window(self.mss))

    def resize(self, mss: int) -> None:
        """Segments are of another size from now on; what may be under way is the same in octets."""
        self._maximum *= self.mss / mss
        self._prior *= self.mss / mss
        self._estimate *= self.mss / mss
        self.mss = mss
