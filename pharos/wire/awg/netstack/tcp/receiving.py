"""The receiving half of a connection: the window it offers, and when and how it acknowledges."""

from __future__ import annotations

import math
from typing import Final

from pharos.wire.awg.netstack.tcp.config import TcpConfig
from pharos.wire.awg.netstack.tcp.options import Block, Timestamp
from pharos.wire.awg.netstack.tcp.reassembly import Reassembly
from pharos.wire.awg.netstack.tcp.segment import Segment
from pharos.wire.awg.netstack.tcp.sequence import MASK, is_before
from pharos.wire.units import DAYS

_EVERY: Final = 2
"""Segments that are acknowledged together at most, if they did not come at once (RFC 9293 §3.8.6.3)."""
_AHEAD: Final = 4
"""How much of what was read in a round trip is offered: a sender that begins slowly doubles with each of them."""
_PAWS_IDLE: Final = 24 * DAYS
"""After which a timestamp says nothing any more (RFC 7323 §5.5)."""
_MAX_WINDOW: Final = 0xFFFF


class Receiver:
    """What comes from the peer, from ``first`` on."""

    __slots__ = (
        "_buffer",
        "_delay",
        "_duplicate",
        "_edge",
        "_full",
        "_measure_from",
        "_most",
        "_offered",
        "_read",
        "_scale",
        "_segments",
        "_stamped_at",
        "ack_at",
        "ack_now",
        "acknowledged",
        "discarding",
        "fin",
        "parts",
        "recent_stamp",
    )

    def __init__(self, first: int, config: TcpConfig, *, scale: int, segment_size: int) -> None:
        self.parts = Reassembly(first)
        self.fin: int | None = None
        """Where the peer's octets end, once it has said so."""
        self.acknowledged = first
        """What our last packet said."""
        self.ack_now = False
        self.ack_at = math.inf
        self.recent_stamp: int | None = None
        """TS.Recent of RFC 7323 §4.3; None: the peer sends no timestamps."""
        self.discarding = False
        """Whether nobody reads any more."""
        self._stamped_at = 0.0
        self._scale = scale
        self._delay = config.delayed_ack
        self._buffer = min(config.receive_window, config.receive_buffer)
        self._most = config.receive_buffer
        self._full = segment_size
        self._edge = self._offered = first
        self._segments = 0
        self._duplicate: Block | None = None
        self._read = 0
        self._measure_from = -math.inf

    # The window.

    @property
    def next(self) -> int:
        """The first octet that is missing, behind the peer's FIN if all is here."""
        missing = self.parts.next
        return missing + 1 if missing == self.fin else missing

    @property
    def edge(self) -> int:
        """The first octet that has no room. It never goes back."""
        return self._edge

    def offer(self, *, scaled: bool = True) -> int:
        """Return the window field for the next packet; it holds once `sent_ack` says that the packet went."""
        scale = self._scale if scaled else 0
        following = self.next
        room = max(self._edge - following, self._buffer - self.parts.readable)
        # Below a segment it stays shut (RFC 9293 §3.8.6.2.2).
        if room < min(self._full, self._buffer // 2) and self._edge <= following:
            room = 0
        # Rounded down it may go back by less than its unit; what was offered is taken all the same (RFC 7323 §2.4).
        field = min(room >> scale, _MAX_WINDOW)
        self._offered = following + (field << scale)
        return field

    def opened(self, octets: int, now: float, trip: float) -> None:
        """A reader has taken octets: tell the peer if it matters, and give it more room if it can use it.

        Its size follows what a reader takes in a round trip (dynamic right-sizing: Fisk and Feng, 2001).
        """
        self._read += octets
        elapsed = now - self._measure_from
        if elapsed >= trip and elapsed > 0:
            wanted = int(_AHEAD * self._read * trip / elapsed)
            self._buffer = max(self._buffer, min(wanted, self._most))
            self._measure_from, self._read = now, 0
        gained = self.next + self._buffer - self.parts.readable - self._edge
        offered = self._edge - self.next
        if gained >= min(self._buffer // 2, 2 * self._full) and 2 * offered <= self._buffer:
            self.ack_now = True

    # Timestamps (RFC 7323).

    def is_old(self, segment: Segment, now: float) -> bool:
        """Whether its timestamp says that it is of another age (PAWS, RFC 7323 §5.3)."""
        stamp, recent = segment.timestamp, self.recent_stamp
        if stamp is None or recent is None or not is_before(stamp[0], recent):
            return False
        return now - self._stamped_at < _PAWS_IDLE

    def note_stamp(self, stamp: Timestamp, start: int, now: float) -> None:
        """Remember what is to be echoed (RFC 7323 §4.3)."""
        if start <= self.acknowledged:
            self.recent_stamp, self._stamped_at = stamp[0], now

    # Octets.

    def take(self, start: int, payload: bytes, now: float) -> None:
        """Take octets that begin inside the window or before it."""
        parts = self.parts
        limit = self._edge if self.fin is None else min(self._edge, self.fin)
        if start + len(payload) > limit:
            payload = payload[: max(0, limit - start)]
            self.ack_now = True
        if start == parts.next and not parts.early:
            if payload:
                parts.append(payload)
                self._acknowledge_later(len(payload), now)
        else:
            self._duplicate = parts.take(start, payload) or self._duplicate
            self.ack_now = True
        if self.discarding:
            parts.discard()

    def _acknowledge_later(self, size: int, now: float) -> None:
        self._segments += 1 if size <= self._full else _EVERY
        if self._segments >= _EVERY:
            self.ack_now = True
        elif self.ack_at == math.inf:
            self.ack_at = now + self._delay

    def take_again(self, start: int, end: int) -> None:
        """Note octets that were here before, for a DSACK."""
        self._duplicate = start, end

    def take_fin(self, at: int) -> None:
        """The peer's octets end there; a second opinion is not heard."""
        if self.fin is None and self.parts.farthest <= at <= self._edge:
            self.fin = at
        self.ack_now = True

    def blocks(self, most: int) -> tuple[Block, ...]:
        """Return what a SACK option says, the duplicate first (RFC 2883 §4); 32 bits each."""
        found = self.parts.blocks(most)
        if self._duplicate is not None:
            found = [self._duplicate, *found][:most]
            self._duplicate = None
        return tuple((start & MASK, end & MASK) for start, end in found)

    @property
    def has_blocks(self) -> bool:
        """Whether there is anything to be told selectively."""
        return bool(self.parts.early or self._duplicate is not None)

    def sent_ack(self) -> None:
        """A packet says where we are."""
        self.acknowledged = self.next
        if self._offered > self._edge:
            self._edge = self._offered
        self.ack_now, self.ack_at, self._segments = False, math.inf, 0
