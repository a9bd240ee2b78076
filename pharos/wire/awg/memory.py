"""Inner ends that need no root: a link in memory."""

from collections import deque
from collections.abc import Sequence
from typing import Final

import trio

MAX_QUEUED: Final = 2048
"""Packets each way, 2.9 MB at full size. A pump hands over 740 at a time (1 MiB), and does so twice before the other
end has its turn if chance wants it; what has room for fewer loses them."""
ROOM: Final = 256
"""Packets that a sender who can wait lets wait there: some milliseconds at full rate. More would only make all late."""
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
        self._most = min(capacity, ROOM)
        self._arrived = trio.Event()
        self._left = trio.lowlevel.ParkingLot()
        self._closed = False

    @property
    def room(self) -> int:
        """Packets that whoever can wait should put now at most."""
        return max(0, self._most - len(self._packets))

    async def wait_room(self) -> None:
        """Wait until there is room for half as many as ever, or it is closed."""
        await trio.lowlevel.checkpoint()
        while 2 * self.room < self._most and not self._closed:
            await self._left.park()

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
        return self.get_nowait()

    def get_nowait(self) -> list[bytes]:
        """Return up to 64 packets, or none."""
        queue = self._packets
        packets = [queue.popleft() for _ in range(min(len(queue), _BATCH))]
        self._left.unpark_all()
        return packets

    def close(self) -> None:
        """End it: what is queued can still be taken, then the receiver learns."""
        self._closed = True
        self._arrived.set()
        self._left.unpark_all()


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

    def receive_packets_nowait(self) -> Sequence[bytes]:
        """Return what is there of what comes next, or nothing."""
        return self._incoming.get_nowait()

    def send_packets_nowait(self, packets: Sequence[bytes]) -> None:
        """Send; if the other end does not keep up its oldest packets are dropped."""
        self._outgoing.put_nowait(packets)

    @property
    def room(self) -> int:
        """Packets that whoever can wait should send now at most; none of them is dropped."""
        return self._outgoing.room

    async def wait_room(self) -> None:
        """Wait until there is much room, or the link is closed."""
        await self._outgoing.wait_room()

    def close(self) -> None:
        """End both directions."""
        self._incoming.close()
        self._outgoing.close()


def memory_link(capacity: int = MAX_QUEUED) -> tuple[MemoryEnd, MemoryEnd]:
    """Make a link in memory that holds ``capacity`` packets each way."""
    there, back = PacketQueue(capacity), PacketQueue(capacity)
    return MemoryEnd(there, back), MemoryEnd(back, there)
