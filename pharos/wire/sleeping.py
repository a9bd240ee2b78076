"""How long this machine has slept: the boot-time clock goes on then, and the monotonic clock stands still."""

from __future__ import annotations

import time


def slept() -> float:
    """Return the seconds that this machine has slept since it was started.

    Where no clock tells, the wall clock stands in: only differences are of use then, and a clock that was set looks
    like a sleep.
    """
    # They are read one after the other.
    if hasattr(time, "CLOCK_BOOTTIME"):
        return max(time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC), 0.0)
    return time.time() - time.monotonic()
