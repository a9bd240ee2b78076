"""The sending half of a connection: what may be sent now, what was, and what the acknowledgements say of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from pharos.wire.awg.netstack.tcp.cubic import Cubic
from pharos.wire.awg.netstack.tcp.options import Block
from pharos.wire.awg.netstack.tcp.pacing import Pacer
from pharos.wire.awg.netstack.tcp.queueing import SendQueue
from pharos.wire.awg.netstack.tcp.rack import Rack
from pharos.wire.awg.netstack.tcp.recovery import Phase, Recovery
from pharos.wire.awg.netstack.tcp.rtt import RoundTrips
from pharos.wire.awg.netstack.tcp.scoreboard import Scoreboard, Transmission
from pharos.wire.awg.netstack.tcp.segment import ACK, FIN, PSH, Header
from pharos.wire.awg.netstack.tcp.sequence import MASK
from pharos.wire.awg.netstack.tcp.timers import SenderTimer, Timer
from pharos.wire.units import KIB

_LEAST_BUFFER: Final = 256 * KIB
"""What may be written ahead however small the congestion window is."""


class Sender:
    """Octets from ``first`` on. Sequence numbers do not wrap here."""

    __slots__ = (
        "_limited",
        "_nagle",
        "_pacer",
        "_probe",
        "_progress_at",
        "_queue",
        "_rack",
        "_rearm",
        "_recovery",
        "_reorder_at",
        "_sack",
        "_sent_at",
        "_tail_again",
        "_tail_end",
        "_timer",
        "_user_timeout",
        "_window_from",
        "board",
        "cubic",
        "eof",
        "fin_sent",
        "largest_window",
        "nxt",
        "segment_size",
        "trips",
        "una",
        "window",
    )

    def __init__(
        self, first: int, segment_size: int, *, sack: bool, nagle: bool, user_timeout: float, trips: RoundTrips
    ) -> None:
        self.una = self.nxt = first
        self.segment_size = segment_size
        """Octets of payload that a packet has room for."""
        self.window = self.largest_window = 0
        """Octets that the peer takes from ``una`` on."""
        self._window_from = (-1, -1)
        """The segment that said so: its sequence number and its acknowledgement."""
        self.trips = trips
        self.board = Scoreboard()
        self.cubic = Cubic(segment_size)
        self.eof = self.fin_sent = False
        self._queue = SendQueue()
        self._rack = Rack()
        self._recovery = Recovery()
        self._pacer = Pacer()
        self._timer = SenderTimer()
        self._reorder_at = math.inf
        self._sack, self._nagle, self._user_timeout = sack, nagle, user_timeout
        self._probe = False
        """Whether the timer wants something to be sent, whatever the windows say."""
        self._tail_end: int | None = None
        """TLP.end_seq and TLP.is_retrans of RFC 8985 §7.1."""
        self._tail_again = False
        self._limited = self._rearm = False
        self._progress_at = self._sent_at = -math.inf

    # What is written.

    @property
    def unsent(self) -> int:
        """Octets that wait for a window."""
        return self._queue.length

    @property
    def unacknowledged(self) -> int:
        """Octets that were written and are not known to have arrived; an unacknowledged FIN counts as one."""
        return self._queue.length + self.nxt - self.una

    def room(self, most: int) -> int:
        """How much may be written now: enough for two windows, at most ``most`` in all."""
        return max(0, min(most, max(_LEAST_BUFFER, int(2 * self.cubic.window))) - self.unacknowledged)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Take octets to send."""
        self._queue.write(data)

    @property
    def acceptable(self) -> int:
        """The number for a segment without octets: at most the end of the window, which the peer may have drawn in."""
        return min(self.nxt, self.una + self.window)

    # What is acknowledged.

    def update_window(self, seq: int, ack: int, window: int) -> None:
        """Take the peer's window, unless an older segment brings it (RFC 9293 §3.10.7.4).

        One that acknowledges more is never older, though its octets may be sent again: the window counts from there.
        """
        if ack > self.una or (seq, ack) >= self._window_from:
            self._window_from = (seq, ack)
            if window != self.window:
                self._rearm = True
                self.window = window
                if window > self.largest_window:
                    self.largest_window = window

    def heard(self, now: float) -> None:
        """A peer without a window has answered: it lives (RFC 9293 §3.8.6.1)."""
        if not len(self.board):
            self._progress_at = now
            if self._timer.kind is Timer.PERSIST and self.window:
                self.trips.backoff = 0

    def acknowledge(
        self, ack: int, blocks: Sequence[Block], duplicate: Block | None, echo: int | None, now: float
    ) -> None:
        """Take an acknowledgement from ``una`` to ``nxt``, with selective ones inside that and a DSACK."""
        board, before = self.board, self.una
        had = board.sacked_octets
        fresh: list[Transmission] = []
        if ack > before:
            fresh = board.acknowledge(ack)
            self.una = ack
            self.trips.backoff = 0
            self._progress_at = now
        elif not blocks and duplicate is None:
            self._end_tail(ack, duplicate)
            return
        delivered = ack - before - (had - board.sacked_octets)
        cumulative = fresh
        if blocks:
            had = board.sacked_octets
            fresh = fresh.copy()
            # In their order, for what is told out of order is not yet reordered.
            for block in sorted(blocks):
                fresh += board.select(block)
            delivered += board.sacked_octets - had
        sample = self._measure(fresh, now)
        if fresh:
            self._rack.delivered(fresh, board, now, self.trips.least, echo)
        if delivered or ack > before:
            self._timer.restart(now)
            self._rearm = True
        self._end_tail(ack, duplicate)
        self._judge(cumulative, duplicate, echo)
        self._control(delivered, sample, now, progress=ack > before)

    def _measure(self, fresh: list[Transmission], now: float) -> float | None:
        if not fresh or fresh[-1].sends > 1 or fresh[0].sends > 1:
            return None
        # Without SACK what stands behind a repaired gap was there long before.
        if not self._sack and any(record.sends > 1 for record in fresh):
            return None
        sample = now - fresh[-1].sent_at
        self.trips.measure(sample, now)
        return sample

    def _end_tail(self, ack: int, duplicate: Block | None) -> None:
        """Find out what a tail loss probe has shown (RFC 8985 §7.4.2)."""
        end = self._tail_end
        if end is None or ack < end:
            return
        if not self._tail_again or (duplicate is not None and duplicate[1] == end):
            self._tail_end = None
        elif ack > end:
            self._tail_end = None
            if self._recovery.phase is Phase.OPEN:
                # The probe has repaired a loss, which is one all the same.
                self.cubic.congested()
                self.cubic.window = self.cubic.threshold
        elif not self.board.sacked:
            self._tail_end = None

    def _judge(self, cumulative: list[Transmission], duplicate: Block | None, echo: int | None) -> None:
        """See whether what was thought to be lost was not."""
        recovery = self._recovery
        superfluous = False
        if duplicate is not None:
            self._rack.duplicate(self.una, self.nxt)
            superfluous = recovery.duplicate()
        if (superfluous or recovery.is_spurious(cumulative, echo)) and recovery.undo(self.cubic):
            self._rack.put_back(self.board.forget_losses())
        if recovery.acknowledged(self.cubic, self.una):
            self._rack.recovered()

    def _control(self, delivered: int, sample: float | None, now: float, *, progress: bool) -> None:
        """Look for losses, and let the congestion window follow."""
        board, recovery, cubic = self.board, self._recovery, self.cubic
        pipe = board.pipe
        recovering = recovery.phase is not Phase.OPEN
        self._reorder_at = self._rack.detect(board, self.trips, now, recovering=recovering)
        is_lossy = board.next_lost() is not None
        if is_lossy and recovery.phase is Phase.OPEN:
            recovery.begin(cubic, una=self.una, nxt=self.nxt)
        if recovery.phase is Phase.RECOVERY:
            recovery.proportion(cubic, delivered, board.pipe, progress=progress and board.pipe == pipe)
        elif delivered and (
            self._limited or (cubic.window < cubic.threshold and 2 * (pipe + delivered) > cubic.window)
        ):
            rtt = self.trips.smoothed or 0.0
            cubic.acknowledged(delivered, now, rtt, una=self.una, nxt=self.nxt, sample=sample)

    # What is sent.

    def emit(self, out: list[bytes], header: Header, now: float, limit: int) -> None:
        """Add the packets that may be sent now to ``out``, until there are ``limit`` of them."""
        self._rearm |= self._probe
        if self._probe:
            self._send_probe(out, header, now)
        if self.board.next_lost() is not None:
            self._send_lost(out, header, now, limit)
        if self._queue.length or (self.eof and not self.fin_sent):
            self._send_new(out, header, now, limit)
        else:
            self._limited = False
        if self._rearm:
            self._arm(now)

    def _send_lost(self, out: list[bytes], header: Header, now: float, limit: int) -> None:
        board, recovery = self.board, self._recovery
        while len(out) < limit and (record := board.next_lost()) is not None:
            size = record.end - record.start
            if board.pipe + size > self.cubic.window and not recovery.force:
                return
            self._send_again(record, out, header, now)
            recovery.sent(size)
            recovery.sent_again(record)

    def _send_again(self, record: Transmission, out: list[bytes], header: Header, now: float) -> None:
        flags = ACK | PSH | FIN if record.fin else ACK | PSH
        seq = record.start & MASK
        out.append(header.writer.write(seq, header.ack, flags, header.window, header.options, record.payload))
        self.board.sent_again(record, now, header.stamp)
        self._rack.sent(record)
        self._sent_at = now
        if record is self.board.head:
            self._timer.restart(now)
        self._rearm = True

    def _send_new(self, out: list[bytes], header: Header, now: float, limit: int) -> None:
        board, queue, size = self.board, self._queue, self.segment_size
        usable = self.una + self.window - self.nxt
        if self.nxt == self.una:
            self._begin_flight(now, usable)
        paced = self._pacer.allowance(self.cubic, self.trips.smoothed, now)
        count = int(min(queue.length, usable, self.cubic.window - board.pipe) // size)
        for _ in range(min(count, paced // size, limit - len(out))):
            self._send_next(size, out, header, now)
        if len(out) >= limit:
            return
        # Less than a segment does not wait: it makes no burst, and somebody may.
        if count and paced < count * size:
            self._limited = True
            self._pacer.wait(self.cubic, now)
            return
        usable = self.una + self.window - self.nxt
        size = min(queue.length, size, max(usable, 0))
        self._limited = queue.length > 0 and board.pipe + size > self.cubic.window
        if queue.length:
            if self._may_send_little(size, usable) and not (self._limited and board.pipe):
                self._send_next(size, out, header, now)
            else:
                self._rearm |= not len(board)
        elif self.eof and not self.fin_sent:
            self._send_next(0, out, header, now)

    def _begin_flight(self, now: float, usable: int) -> None:
        """Nothing is under way: what is sent now is the first."""
        if self._timer.kind is not Timer.PERSIST:
            self._progress_at = now
        self._timer.restart(now)
        if usable > 0 and self._sent_at > -math.inf:
            self.cubic.idle(now - self._sent_at, self.trips.rto)

    def _may_send_little(self, size: int, usable: int) -> bool:
        """Whether it is worth a segment: avoid a silly window (RFC 9293 §3.8.6.2.1), and Nagle's algorithm if asked."""
        if size <= 0:
            return False
        if size == self.segment_size or size >= self.largest_window // 2:
            return True
        if size < self._queue.length:
            return False
        return not self._nagle or self.eof or not len(self.board)

    def _send_next(self, size: int, out: list[bytes], header: Header, now: float) -> None:
        """Send so many of the octets that wait."""
        queue, start = self._queue, self.nxt
        payload = queue.cut(size) if size else b""
        end, flags = start + size, ACK
        fin = False
        if not queue.length:
            flags |= PSH
            if self.eof:
                fin = self.fin_sent = True
                flags |= FIN
                end += 1
        out.append(header.writer.write(start & MASK, header.ack, flags, header.window, header.options, payload))
        record = Transmission(start, end, payload, fin, now)
        self.board.add(record)
        self._rack.sent(record)
        if self._recovery.phase is not Phase.OPEN:
            self._recovery.sent(size)
        self.nxt = end
        self._sent_at = now
        self._pacer.sent(size, now)
        self._rearm = True

    def _send_probe(self, out: list[bytes], header: Header, now: float) -> None:
        """Send what the timer wants: a probe for the tail, or for a window."""
        self._probe = False
        board = self.board
        if len(board):
            usable = self.una + self.window - self.nxt
            size = min(self._queue.length, self.segment_size, max(usable, 0))
            self._tail_again = size <= 0
            if self._tail_again:
                self._send_again(board.last, out, header, now)
            else:
                self._send_next(size, out, header, now)
            self._tail_end = self.nxt
            self._timer.restart(now)
        elif (usable := self.una + self.window - self.nxt) > 0 and self._queue.length:
            self._send_next(min(self._queue.length, self.segment_size, usable), out, header, now)
        else:
            # One that was acknowledged long ago, which has to be answered (RFC 9293 §3.10.7.4).
            seq = (self.una - 1) & MASK
            out.append(header.writer.write(seq, header.ack, ACK, header.window, header.options))
            self._timer.await_window(now, self.trips)

    # Time.

    def _arm(self, now: float) -> None:
        """Set the timer for what is under way now."""
        self._rearm = False
        board, timer = self.board, self._timer
        if not len(board):
            if self._queue.length or (self.eof and not self.fin_sent):
                if timer.kind is not Timer.PERSIST:
                    timer.await_window(now, self.trips)
            else:
                timer.stop()
        elif self._reorder_at < math.inf:
            timer.await_reordering(self._reorder_at)
        elif self._sack and self._tail_end is None and not board.sacked and self._is_calm():
            timer.await_tail(now, self.trips, lone=len(board) == 1)
        else:
            timer.await_acknowledgement(self.trips)

    def _is_calm(self) -> bool:
        return self._recovery.phase is Phase.OPEN and not self.trips.backoff

    @property
    def deadline(self) -> float:
        """When `tick` has something to do."""
        return min(self._timer.at, self._pacer.at, self._given_up_at)

    @property
    def _given_up_at(self) -> float:
        if len(self.board) or self._timer.kind is Timer.PERSIST:
            return self._progress_at + self._user_timeout
        return math.inf

    def tick(self, now: float) -> bool:
        """Do what is due; return whether the peer has not answered for so long that it is given up."""
        if now < self.deadline:
            return False
        if now >= self._given_up_at:
            return True
        if self._rearm or now < self._timer.at:
            # If something came since it was armed, `emit` will arm it anew.
            return False
        kind = self._timer.kind
        self._rearm = True
        if kind is Timer.REORDERING:
            self._reordering_over(now)
        elif kind is Timer.PROBE:
            self._probe = True
        elif kind is Timer.RETRANSMISSION:
            self._timed_out(now)
        elif kind is Timer.PERSIST:
            self.trips.backoff += 1
            self._probe = True
        return False

    def _reordering_over(self, now: float) -> None:
        recovering = self._recovery.phase is not Phase.OPEN
        self._reorder_at = self._rack.detect(self.board, self.trips, now, recovering=recovering)
        if not recovering and self.board.next_lost() is not None:
            self._recovery.begin(self.cubic, una=self.una, nxt=self.nxt)
            self._recovery.proportion(self.cubic, 0, self.board.pipe, progress=False)

    def _timed_out(self, now: float) -> None:
        board = self.board
        if board.head.delivered:
            board.forget_selections()
        self._rack.timed_out(board, self.trips, now)
        self._recovery.time_out(self.cubic, una=self.una, nxt=self.nxt)
        self.trips.backoff += 1
        self._reorder_at, self._tail_end = math.inf, None
        self._timer.restart(now)

    # Paths.

    def resize(self, segment_size: int) -> None:
        """The path takes segments of this size: what is larger and under way is lost, and not by congestion."""
        is_less = segment_size < self.segment_size
        self.segment_size = segment_size
        self.cubic.resize(segment_size)
        if is_less:
            self.board.split(segment_size)
            self._rearm = True

    def restart(self, now: float) -> None:
        """Another path carries the packets: nothing is known of it, and what is under way is sent again at once."""
        self.trips, self.cubic = RoundTrips(), Cubic(self.segment_size)
        self._recovery.end()
        self._rearm = True
        self._reorder_at, self._tail_end = math.inf, None
        self._progress_at = now
        if len(self.board):
            for record in self.board:
                self.board.mark_lost(record)
            self._recovery.force = True
        elif self._timer.kind is Timer.PERSIST:
            self._probe = True
        self._timer.restart(now)
