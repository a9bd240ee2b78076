"""Batches of datagrams in caller-owned buffers, as segmentation offload wants them (linux/udp.h UDP_SEGMENT, UDP_GRO).

One system call carries up to 64 datagrams of one size to one address; the last may be shorter.
"""

from collections.abc import Sequence
from typing import Final, TypeAlias

import attrs

from pharos.wire.awg.endpoint import Address

Packet: TypeAlias = bytes | bytearray | memoryview
"""An inner IP packet, wherever it stands."""

MAX_BATCH_BYTES: Final = 65_507
"""The largest UDP payload over IPv4: 65,535 less 20 of IP and 8 of UDP. IPv6 would allow 20 more."""
MAX_BATCH_SEGMENTS: Final = 64
"""UDP_MAX_SEGMENTS of every kernel that can segment; 6.9 doubled it."""
_MAX_ROWS: Final = 16
"""Layouts a buffer remembers, 64 views of 200 bytes each: one stream needs two or three."""


class SlicedBuffer:
    """A buffer that remembers how it was cut: a slice costs a tenth of a packet's cipher, looking it up nothing."""

    __slots__ = ("_rows", "data", "view")

    def __init__(self, size: int = MAX_BATCH_BYTES) -> None:
        self.data = bytearray(size)
        self.view = memoryview(self.data)
        self._rows: dict[tuple[int, int, int], list[memoryview]] = {}

    def __len__(self) -> int:
        return len(self.data)

    def rows(self, first: int, size: int, stride: int) -> list[memoryview]:
        """Slices of ``size`` bytes, ``stride`` from one to the next, the first at ``first``: a batch at most."""
        key = (first, size, stride)
        rows = self._rows.get(key)
        if rows is None:
            view = self.view
            beginnings = range(first, len(view) - size + 1, stride)[:MAX_BATCH_SEGMENTS]
            rows = [view[at : at + size] for at in beginnings]
            if len(self._rows) >= _MAX_ROWS:
                self._rows.clear()
            self._rows[key] = rows
        return rows


@attrs.define(eq=False)
class DatagramBatch:
    """Datagrams for one address in one buffer, to be sent at one go or one after the other."""

    address: Address
    face: int
    """The local port to send from, by the number of its face."""
    segment: int
    """Bytes of each datagram; the last may be shorter."""
    data: bytes | memoryview

    def split(self) -> list[bytes]:
        """Each datagram by itself."""
        data, segment = self.data, self.segment
        if len(data) <= segment:
            return [bytes(data)]
        return [bytes(data[at : at + segment]) for at in range(0, len(data), segment)]


@attrs.define(eq=False)
class PacketRows:
    """Inner packets at equal distances in one buffer, at most a batch: what was read at one go."""

    buffer: SlicedBuffer
    first: int
    """Where the first begins."""
    stride: int
    sizes: Sequence[int]

    def __len__(self) -> int:
        return len(self.sizes)

    def views(self) -> list[memoryview]:
        """Each packet, where it stands."""
        sizes, count = self.sizes, len(self.sizes)
        if sizes.count(sizes[0]) == count:
            return self.buffer.rows(self.first, sizes[0], self.stride)[:count]
        view, beginnings = self.buffer.view, range(self.first, len(self.buffer), self.stride)
        return [view[at : at + size] for at, size in zip(beginnings, sizes, strict=False)]
