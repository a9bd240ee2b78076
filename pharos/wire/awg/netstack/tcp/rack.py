"""Which segments are lost, told by the time at which they were sent (RACK, RFC 8985 §6)."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from operator import attrgetter
from typing import Final

from pharos.wire.awg.netstack.tcp.rtt import RoundTrips
from pharos.wire.awg.netstack.tcp.scoreboard import Scoreboard, Transmission
from pharos.wire.awg.netstack.tcp.sequence import is_before

DUPLICATES: Final = 3
"""DupThresh: so many delivered behind a gap say loss at once, where nothing was seen to be reordered."""
_PERSISTENCE: Final = 16
"""Recoveries after which a wider window for reordering is forgotten (RFC 8985 §6.2 step 4)."""
_sent_at = attrgetter("sent_at", "end")


class Rack:
    """Compares each segment with the one that was sent last of those that were delivered."""

    __slots__ = ("_dsack_round", "_end", "_multiplier", "_persist", "_rtt", "_sent", "_sent_at", "reordering")

    def __init__(self) -> None:
        self._sent: deque[tuple[Transmission, int]] = deque()
        """In the order of transmission, each with its count then: whatever was sent again stands farther back, too."""
        self._sent_at = -math.inf
        self._end = -1
        self._rtt = 0.0
        self._multiplier = 1
        self._persist = 0
        self._dsack_round = -1
        self.reordering = False
        """Whether the path has been seen to deliver out of order."""

    def sent(self, record: Transmission) -> None:
        """Note that it was sent, for the first time or again."""
        self._sent.append((record, record.sends))

    def put_back(self, records: Sequence[Transmission]) -> None:
        """Take what was marked lost and is not: it was sent before everything else that is still looked at."""
        for record in sorted(records, key=_sent_at, reverse=True):
            self._sent.appendleft((record, record.sends))

    def delivered(
        self, records: Sequence[Transmission], board: Scoreboard, now: float, least: float, echo: int | None
    ) -> None:
        """Take what an acknowledgement has newly told of (steps 2 and 3); ``echo`` is its TSecr, if it has one."""
        highest = board.highest
        for record in records:
            sent_at = record.sent_at
            if record.end > highest:
                highest = record.end
            elif record.sends == 1 and record.end < highest:
                self.reordering = True
            if record.sends > 1 and (
                now - sent_at < least or (echo is not None and record.sends == 2 and is_before(echo, record.stamp))
            ):
                # It is an earlier transmission that was delivered.
                continue
            if sent_at > self._sent_at or (sent_at == self._sent_at and record.end > self._end):
                self._sent_at, self._end = sent_at, record.end
                self._rtt = now - sent_at
        board.highest = highest

    def duplicate(self, una: int, nxt: int) -> None:
        """Take a DSACK: something was sent again for nothing, so wait longer, once in a round trip (step 4)."""
        if una >= self._dsack_round:
            self._dsack_round = nxt
            self._multiplier += 1
            self._persist = _PERSISTENCE

    def recovered(self) -> None:
        """A recovery is over."""
        self._persist -= 1
        if self._persist <= 0:
            self._multiplier = 1

    def _window(self, board: Scoreboard, trips: RoundTrips, *, recovering: bool) -> float:
        """How much later than others a segment may come that is only reordered, in seconds."""
        if not self.reordering and (recovering or board.sacked >= DUPLICATES):
            return 0.0
        if trips.smoothed is None:
            return 0.0
        return min(self._multiplier * trips.least / 4, trips.smoothed)

    def detect(self, board: Scoreboard, trips: RoundTrips, now: float, *, recovering: bool) -> float:
        """Mark what is lost (step 5); return when to look again, infinity if there is no reason to."""
        sent = self._sent
        last_sent_at, last_end = self._sent_at, self._end
        window = -1.0
        while sent:
            record, sends = sent[0]
            if record.delivered or record.sends != sends or record.lost:
                sent.popleft()
                continue
            if record.sent_at > last_sent_at or (record.sent_at == last_sent_at and record.end >= last_end):
                return math.inf
            if window < 0:
                window = self._window(board, trips, recovering=recovering)
            deadline = record.sent_at + self._rtt + window
            if deadline > now:
                return deadline
            sent.popleft()
            board.mark_lost(record)
        return math.inf

    def timed_out(self, board: Scoreboard, trips: RoundTrips, now: float) -> None:
        """Mark what the retransmission timer says is lost: the first, and all that is as old (RFC 8985 §6.3)."""
        window = self._window(board, trips, recovering=True)
        board.mark_lost(board.head)
        for record in board:
            if not record.delivered and record.sent_at + self._rtt + window <= now:
                board.mark_lost(record)
