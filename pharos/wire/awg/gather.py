"""Gathers datagrams that come one by one into batches, as the kernel does for peers that send them so (UDP_GRO).

What a device does once per batch costs as much as two packets; a system call cannot be saved, but that can.
"""

from __future__ import annotations

from typing import Final

from pharos.wire.awg.batches import MAX_BATCH_SEGMENTS, SlicedBuffer
from pharos.wire.awg.endpoint import Address
from pharos.wire.awg.udp import UdpPort
from pharos.wire.units import KIB

RECEIVE_BYTES: Final = 65_535
"""What the kernel joins at most, IPv6 included."""
MAX_SINGLE_BYTES: Final = 2 * KIB
"""Larger ones come seldom, and fill the buffer soon."""


class Gatherer:
    """Reads one port. What it has read stands in ``buffer``, until the next read."""

    def __init__(self, port: UdpPort) -> None:
        self.buffer = SlicedBuffer(2 * RECEIVE_BYTES)  # A batch, and behind it whatever comes next.
        self._port = port
        self._kept: tuple[int, int, int, Address] | None = None

    def gather_nowait(self) -> tuple[int, int, Address]:
        """Read a batch from one sender: its bytes, those of each datagram but the last, the sender.

        Raises: BlockingIOError — there is none.
        """
        view, receive = self.buffer.view, self._port.receive_nowait
        if self._kept is None:
            size, segment, source = receive(view)
        else:
            at, size, segment, source = self._kept
            self._kept = None
            view[:size] = view[at : at + size]
        if not 0 < size <= MAX_SINGLE_BYTES or size != segment:
            return size, segment, source
        for _ in range(MAX_BATCH_SEGMENTS - 1):
            if size + segment > RECEIVE_BYTES:
                break
            try:
                more, its_segment, its_source = receive(view[size:])
            except BlockingIOError:
                break
            if its_source != source or more != its_segment or not 0 < more <= segment:
                self._kept = size, more, its_segment, its_source
                break
            size += more
            if more < segment:
                break
        return size, segment, source
