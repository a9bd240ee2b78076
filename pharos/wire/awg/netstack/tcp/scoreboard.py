"""What is under way: which of it was delivered, which is lost (RFC 2018, RFC 6675 §3 and §4)."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterator
from operator import attrgetter
from typing import Final

import attrs

from pharos.wire.awg.netstack.tcp.options import Block

_COMPACT: Final = 1024
"""Acknowledged records that may stay in front of the list, so that it is not moved for each of them."""
_start = attrgetter("start")


@attrs.define(eq=False)
class Transmission:
    """One segment that was sent, and perhaps sent again."""

    start: int
    end: int
    """Behind its last octet, and behind the FIN if it has one."""
    payload: bytes | memoryview
    fin: bool
    sent_at: float
    """The last time, in seconds."""
    sends: int = 1
    delivered: bool = False
    """Acknowledged, selectively or not."""
    lost: bool = False
    """And not sent again yet."""
    in_pipe: bool = True
    stamp: int = 0
    """The timestamp of the first time that it was sent again."""


class Scoreboard:
    """Everything between SND.UNA and SND.NXT, in order."""

    __slots__ = ("_first", "_known", "_lost", "_records", "highest", "pipe", "sacked", "sacked_octets")

    def __init__(self) -> None:
        self._records: list[Transmission] = []
        self._first = 0
        self._known: dict[int, int] = {}
        """Blocks that were looked at, by their beginning, so that one that grows costs what it grew by."""
        self._lost: list[Transmission] = []
        """In their order, and with them some that are not lost any more."""
        self.pipe = 0
        """Octets that are believed to be in the network."""
        self.sacked = 0
        self.sacked_octets = 0
        self.highest = -1
        """The end of what was delivered farthest on: rack.fack of RFC 8985 §6.2."""

    def __len__(self) -> int:
        return len(self._records) - self._first

    def __iter__(self) -> Iterator[Transmission]:
        records = self._records
        return (records[at] for at in range(self._first, len(records)))

    @property
    def head(self) -> Transmission:
        return self._records[self._first]

    @property
    def last(self) -> Transmission:
        return self._records[-1]

    def add(self, record: Transmission) -> None:
        """Take what was sent for the first time."""
        self._records.append(record)
        self.pipe += record.end - record.start

    def acknowledge(self, ack: int) -> list[Transmission]:
        """Take out everything before ``ack``; return what of it was not delivered already.

        Of a segment that was acknowledged in part the rest stays.
        """
        records, at = self._records, self._first
        size = len(records)
        fresh: list[Transmission] = []
        while at < size:
            record = records[at]
            if record.end > ack:
                if record.start < ack:
                    self._trim(record, ack)
                break
            at += 1
            if record.delivered:
                self.sacked -= 1
                self.sacked_octets -= record.end - record.start
                continue
            record.delivered = True
            if record.in_pipe:
                self.pipe -= record.end - record.start
            fresh.append(record)
        self._first = at
        if at > _COMPACT and 2 * at > size:
            del records[:at]
            self._first = 0
        if not self.sacked:
            self._known.clear()
        return fresh

    def _trim(self, record: Transmission, ack: int) -> None:
        gone = ack - record.start
        record.payload = record.payload[gone:]
        record.start = ack
        if record.delivered:
            self.sacked_octets -= gone
        elif record.in_pipe:
            self.pipe -= gone

    def select(self, block: Block) -> list[Transmission]:
        """Mark what a block covers as delivered; return what was not before. Segments covered in part stay."""
        start, end = block
        seen = self._known.get(start, start)
        if seen >= end:
            return []
        records, fresh = self._records, []
        at = bisect_right(records, seen - 1, self._first, key=_start)
        size = len(records)
        while at < size:
            record = records[at]
            if record.end > end:
                break
            at += 1
            if not record.delivered:
                record.delivered = True
                length = record.end - record.start
                if record.in_pipe:
                    self.pipe -= length
                    record.in_pipe = False
                self.sacked += 1
                self.sacked_octets += length
                fresh.append(record)
        # What is covered in part is looked at again when the block has grown.
        covered = records[at - 1].end if at > self._first else start
        if start < covered <= end:
            self._known[start] = covered
        return fresh

    def mark_lost(self, record: Transmission) -> None:
        """Believe it to be gone, until it is sent again."""
        if record.delivered or record.lost:
            return
        record.lost = True
        if record.in_pipe:
            record.in_pipe = False
            self.pipe -= record.end - record.start
        insort(self._lost, record, key=_start)

    def next_lost(self) -> Transmission | None:
        """Return what is to be sent again first; it stays so until `sent_again`."""
        lost = self._lost
        while lost:
            record = lost[0]
            if record.lost and not record.delivered:
                return record
            del lost[0]
        return None

    def forget_losses(self) -> list[Transmission]:
        """Believe what waits to be sent again to be under way after all; return it."""
        found = []
        for record in self._lost:
            if record.lost and not record.delivered:
                record.lost, record.in_pipe = False, True
                self.pipe += record.end - record.start
                found.append(record)
        self._lost.clear()
        return found

    def sent_again(self, record: Transmission, now: float, stamp: int) -> None:
        """Count one more transmission of it."""
        if record.sends == 1:
            record.stamp = stamp
        record.sends += 1
        record.sent_at = now
        record.lost = False
        if not record.in_pipe:
            record.in_pipe = True
            self.pipe += record.end - record.start

    def forget_selections(self) -> None:
        """The peer has dropped what it said it had (RFC 2018 §8): all of it is lost."""
        self._known.clear()
        self.sacked = self.sacked_octets = 0
        self.highest = -1
        for record in self:
            if record.delivered:
                record.delivered = False
                self.mark_lost(record)

    def split(self, size: int) -> None:
        """Cut what carries more than ``size`` octets, which the path does not take any more: that is lost."""
        pieces: list[Transmission] = []
        lost: list[Transmission] = []
        for record in self:
            if record.delivered or len(record.payload) <= size:
                pieces.append(record)
                continue
            if record.in_pipe:
                self.pipe -= record.end - record.start
            parts = _cut(record, size)
            # Whoever still has the whole does nothing with it any more.
            record.delivered = True
            pieces += parts
            lost += parts
        self._records, self._first = pieces, 0
        for part in lost:
            self.mark_lost(part)


def _cut(record: Transmission, size: int) -> list[Transmission]:
    parts = []
    for offset in range(0, len(record.payload), size):
        payload = record.payload[offset : offset + size]
        start = record.start + offset
        is_last = offset + size >= len(record.payload)
        parts.append(
            Transmission(
                start=start,
                end=record.end if is_last else start + len(payload),
                payload=payload,
                fin=record.fin and is_last,
                sent_at=record.sent_at,
                sends=record.sends,
                in_pipe=False,
                stamp=record.stamp,
            )
        )
    return parts
