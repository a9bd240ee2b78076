"""The inner end of a tunnel: where its IP packets come from and go to.

A TUN interface is one, an in-memory link another (``memory``), and so will a TCP stack be.
"""

from collections.abc import Sequence
from typing import Protocol


class InnerEnd(Protocol):
    """What a pump needs of it. Packets travel in batches, for an await costs more than a packet."""

    async def receive_packets(self) -> Sequence[bytes]:
        """Wait for packets to send through the tunnel; return at least one, at most a few dozen."""
        ...

    def send_packets_nowait(self, packets: Sequence[bytes]) -> None:
        """Take packets that came through the tunnel. Never blocks; what overflows is the end's own policy."""
        ...
