"""How fast helm reads the frames of one passage (passage.md §6). Sans-IO."""

from typing import Final

FRAME_RATE: Final = 2_500.0
"""Frames per second. The fastest that a device was seen to send bulk is 34 MB/s (passage.md §3), 2,080 full frames. A
frame without data costs helm some 100 µs: 2,500 of them are a quarter of a core, so that no device has it to itself."""

FRAME_BURST: Final = 2_500.0
"""Frames at once after a quiet second: 40 MB, so that no upload of a device's (messages are at most 1 MiB) waits."""


class FramePace:
    """A token bucket of frames that never overflows the peer's patience: who is too fast is read more slowly.

    Nobody is cut off for being fast, for a frame says nothing of its sender's intent, and one that is not read holds up
    its own stream only: the credit of the streams around it is what makes the device wait.
    """

    __slots__ = ("_earned", "_interval", "_spent_until")

    def __init__(self, rate: float = FRAME_RATE, burst: float = FRAME_BURST) -> None:
        self._interval: Final = 1 / rate
        self._earned: Final = burst / rate
        # When all frames that were read will have been paid for.
        self._spent_until = 0.0

    def take(self, now: float) -> float:
        """Count a frame read at ``now``, which never goes back; return how many seconds to wait before the next."""
        self._spent_until = max(self._spent_until, now) + self._interval
        return max(0.0, self._spent_until - now - self._earned)
