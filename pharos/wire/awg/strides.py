"""The same fields of many packets at one go: packets of a batch stand at equal distances, and so do their headers.

One call of ``struct`` for a whole batch costs a tenth of one for each packet.
"""

import functools
from struct import Struct, calcsize
from typing import Final

from pharos.wire.awg.batches import MAX_BATCH_SEGMENTS, SlicedBuffer

WORTHWHILE: Final = 4
"""Packets from which on a batch costs less than so many single ones."""
_NONCE: Final = "<4xQ"
_NONCE_BYTES: Final = 12
_MAX_LAYOUTS: Final = 256
"""Remembered, of 10 kB at most each: two or three for each size of packet and length of batch."""


@functools.lru_cache(maxsize=_MAX_LAYOUTS)
def strided(fields: str, stride: int, count: int) -> Struct:
    """Return how ``fields`` (with a mark of byte order in front) stand ``count`` times, ``stride`` bytes apart.

    Whoever packs with it fills what is between them with zeros.
    """
    order, each = fields[0], fields[1:]
    return Struct(order + f"{each}{stride - calcsize(fields)}x" * (count - 1) + each)


class Nonces:
    """Room for the nonces of one batch."""

    __slots__ = ("_buffer", "_rows")

    def __init__(self) -> None:
        self._buffer = SlicedBuffer(_NONCE_BYTES * MAX_BATCH_SEGMENTS)
        self._rows = self._buffer.rows(0, _NONCE_BYTES, _NONCE_BYTES)

    def write(self, counters: range | tuple[int, ...]) -> list[memoryview]:
        """Return the nonces of messages with these counters; valid until the next call."""
        strided(_NONCE, _NONCE_BYTES, len(counters)).pack_into(self._buffer.data, 0, *counters)
        return self._rows
