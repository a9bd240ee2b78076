"""Until when a peer has to finish what it has begun to say (security.md row 33). Sans-IO."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pharos.wire.rpc import limits

if TYPE_CHECKING:
    from pharos.wire.rpc.hotpath import HotMachine


class Slowness:
    """Watches one connection for a peer that speaks, but hardly: octet by octet, or never to the end.

    `due` is when its patience ends, in seconds of the clock that `begin` and `look` are told; infinity while nothing is
    half said.
    """

    __slots__ = ("_number", "due", "waiting_for")

    def __init__(self) -> None:
        self.due = math.inf
        self.waiting_for = ""
        # Of the frame or the header block that is waited for.
        self._number = -1

    def begin(self, now: float) -> None:
        """Start waiting for the peer's preface and SETTINGS."""
        self._wait(now + limits.PREFACE_TIMEOUT, "its preface")

    def look(self, machine: HotMachine, *, up: bool, now: float) -> None:
        """Note what is unfinished after a receive; ``up`` once the peer's SETTINGS have arrived."""
        if not up:
            return
        if machine.in_header_block:
            # The whole block has one time-out, however many frames it is cut into.
            if self.waiting_for != "a header block" or self._number != machine.header_blocks:
                self._wait(now + limits.FRAME_TIMEOUT, "a header block")
                self._number = machine.header_blocks
        elif machine.missing:
            if self.waiting_for != "a frame" or self._number != machine.frames:
                self._wait(now + limits.FRAME_TIMEOUT + machine.missing / limits.MIN_RATE, "a frame")
                self._number = machine.frames
        elif self.waiting_for:
            self._wait(math.inf, "")

    def _wait(self, due: float, waiting_for: str) -> None:
        self.due = due
        self.waiting_for = waiting_for
