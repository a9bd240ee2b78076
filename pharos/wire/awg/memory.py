"""Inner ends that need no root: a link in memory."""

from collections import deque
from collections.abc import Sequence
from typing import Final

import trio

MAX_QUEUED: Final = 256
"""Packets each way, about 360 kB at full size: some milliseconds at full rate, as much as a network card holds."""
_BATCH: Final = 64


class PacketQueue:
    """A bounded queue of packets from any number of senders to one receiver.

    When it is full the oldest packet gives way: in a tunnel fresh packets are worth more, and TCP sees the loss
    sooner.
    """

    def __init__(self, capacity: int = MAX_QUEUED) -> None:
        self.dropped = 0
        """Packets that gave way or came after the end."""
        self._packets: deque[bytes] = deque(maxlen=capacity)
        self._arrived = trio.Event()
        self._closed = False

    def put_nowait(self, packets: Sequence[bytes]) -> None:
        if self._closed:
            self.dropped += len(packets)
            return
        queue = self._packets
        assert queue.maxlen is not None
        self.dropped += max(0, len(queue) + len(packets) - queue.maxlen)
        queue.extend(packets)
        if queue:
            self._arrived.set()

    async def get(self) -> list[bytes]:
        """Wait for packets; return up to 64 of them.

        Raises: trio.EndOfChannel — the queue is closed and empty.
        """
        await trio.lowlevel.checkpoint()
        while not self._packets:
            if self._closed:
                raise trio.EndOfChannel
            self._arrived = trio.Event()
            await self._arrived.wait()
        queue = self._packets
        return [queue.popleft() for _ in range(min(len(queue), _BATCH))]

    def close(self) -> None:
        """End it: what is queued can still be taken, then the receiver learns."""
        self._closed = True
        self._arrived.set()


class MemoryEnd:
    """One end of a link in memory: what is sent at one end is received at the other.

    It is an ``InnerEnd``, and so is its opposite: give one to the pump and use the other.
    """

    def __init__(self, incoming: PacketQueue, outgoing: PacketQueue) -> None:
        self._incoming = incoming
        self._outgoing = outgoing

    async def receive_packets(self) -> Sequence[bytes]:
        """Raises: trio.EndOfChannel — the link is closed."""
        return await self._incoming.get()

    def send_packets_nowait(self, packets: Sequence[bytes]) -> None:
        """Send; if the other end does not keep up its oldest packets are dropped."""
        self._outgoing.put_nowait(packets)

    def close(self) -> None:
        """End both directions."""
        self._incoming.close()
        self._outgoing.close()


def memory_link(capacity: int = MAX_QUEUED) -> tuple[MemoryEnd, MemoryEnd]:
    """Make a link in memory that holds ``capacity`` packets each way."""
    there, back = PacketQueue(capacity), PacketQueue(capacity)
    return MemoryEnd(there, back), MemoryEnd(back, there)
