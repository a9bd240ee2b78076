"""Repairing a loss: how fast, until when, and what if there was none (RFC 6937, RFC 6675 §5, RFC 4015, RFC 3708)."""

from __future__ import annotations

import enum

from pharos.wire.awg.netstack.tcp.cubic import Cubic
from pharos.wire.awg.netstack.tcp.scoreboard import Transmission
from pharos.wire.awg.netstack.tcp.sequence import is_before


class Phase(enum.Enum):
    """Of the congestion control."""

    OPEN = "nothing is known to be lost"
    RECOVERY = "a loss is being repaired"
    LOSS = "the retransmission timer went off"


class Recovery:
    """One episode after another; within one the window is reduced once."""

    __slots__ = (
        "_delivered",
        "_flight",
        "_out",
        "_retransmissions",
        "_trigger",
        "_undoable",
        "force",
        "phase",
        "point",
    )

    def __init__(self) -> None:
        self.phase = Phase.OPEN
        self.point = -1
        """The episode is over when everything before it is acknowledged."""
        self.force = False
        """Whether one segment is sent again whatever the window says (RFC 6675 §5 step 4.3)."""
        self._flight = 1
        self._delivered = 0
        self._out = 0
        self._undoable = False
        self._retransmissions = 0
        """Of this episode, that nobody has said were superfluous."""
        self._trigger: Transmission | None = None
        """What was sent again first."""

    def begin(self, cubic: Cubic, *, una: int, nxt: int) -> None:
        """Something is lost."""
        cubic.congested()
        self._start(Phase.RECOVERY, una, nxt)

    def time_out(self, cubic: Cubic, *, una: int, nxt: int) -> None:
        """The timer went off; again in the same episode it costs no more than that the window is one segment."""
        if self.phase is Phase.LOSS and una < self.point:
            cubic.window = cubic.mss
            self.force = True
            return
        cubic.timed_out()
        self._start(Phase.LOSS, una, nxt)

    def _start(self, phase: Phase, una: int, nxt: int) -> None:
        self.phase, self.point = phase, nxt
        self._flight = max(1, nxt - una)
        self._delivered = self._out = self._retransmissions = 0
        self._trigger, self._undoable, self.force = None, True, True

    def sent(self, octets: int) -> None:
        """Count what was sent during a recovery."""
        self._out += octets

    def sent_again(self, record: Transmission) -> None:
        """Count a retransmission."""
        self.force = False
        self._retransmissions += 1
        if self._trigger is None:
            self._trigger = record

    def proportion(self, cubic: Cubic, delivered: int, pipe: int, *, progress: bool) -> None:
        """Set the window during a recovery, by what was delivered (Proportional Rate Reduction, RFC 6937 §3)."""
        self._delivered += delivered
        threshold = int(cubic.threshold)
        if pipe > threshold:
            room = -(-self._delivered * threshold // self._flight) - self._out
        else:
            room = self._delivered - self._out
            if progress:
                room = max(room, delivered) + cubic.mss
            room = min(threshold - pipe, room)
        cubic.window = pipe + max(room, 0)

    def acknowledged(self, cubic: Cubic, una: int) -> bool:
        """Take that ``una`` moved on; return whether that ends the episode."""
        if self.phase is Phase.OPEN or una < self.point:
            return False
        if self.phase is Phase.RECOVERY:
            cubic.window = cubic.threshold
        self.end()
        return True

    def end(self) -> None:
        """The episode is over."""
        self.phase, self._undoable, self._trigger, self.force = Phase.OPEN, False, None, False

    def is_spurious(self, fresh: list[Transmission], echo: int | None) -> bool:
        """Whether it was the first transmission that was acknowledged of what was sent again first (RFC 4015 §3.2)."""
        trigger = self._trigger
        if trigger is None or echo is None or not trigger.delivered or trigger not in fresh:
            return False
        return is_before(echo, trigger.stamp)

    def duplicate(self) -> bool:
        """Take a DSACK; return whether all that was sent again was superfluous."""
        if not self._undoable:
            return False
        self._retransmissions -= 1
        return self._retransmissions == 0

    def undo(self, cubic: Cubic) -> bool:
        """Nothing was lost: take back what the episode has cost; return whether there was one."""
        if not self._undoable:
            return False
        cubic.undo()
        self.end()
        return True
