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
        self.waiting_for, self.due = "its preface", now + limits.PREFACE_TIMEOUT

    def look(self, machine: HotMachine, *, up: bool, now: float) -> bool:
        """Note what is unfinished after a receive; return whether `due` has changed.

        ``up`` is true once the peer's SETTINGS have arrived.
        """
        if not up:
            return False
        if machine.in_header_block:
            # The whole block has one time-out, however many frames it is cut into.
            what, number, due = "a header block", machine.header_blocks, now + limits.FRAME_TIMEOUT
        elif machine.missing:
            due = now + limits.FRAME_TIMEOUT + machine.missing / limits.MIN_RATE
            # How long it may take shows when its header is whole.
            what, number = "a frame", 2 * machine.frames + machine.header_known
        else:
            what, number, due = "", 0, math.inf
        if (what, number) == (self.waiting_for, self._number):
            return False
        self.waiting_for, self._number, self.due = what, number, due
        return True
