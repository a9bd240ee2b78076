"""A device of the system as the end of a link for a stack: packets are copied out of it and into it, in batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import trio

from pharos.wire.awg.inner import PacketDevice

_MAX_PACKETS: Final = 256
"""Of one batch: what the kernel has ready for one wake, up to 8 ms of work."""


class TunEnd:
    """It is an ``InnerEnd``."""

    def __init__(self, tun: PacketDevice) -> None:
        self._tun = tun

    async def receive_packets(self) -> Sequence[bytes]:
        """Raises: WireError — the device is gone."""
        await trio.lowlevel.checkpoint()
        packets: list[bytes] = []
        while True:
            try:
                while len(packets) < _MAX_PACKETS:
                    packets += map(bytes, self._tun.read_nowait().views())
            except BlockingIOError:
                pass
            if packets:
                return packets
            await trio.lowlevel.wait_readable(self._tun)

    def send_packets_nowait(self, packets: Sequence[bytes]) -> None:
        """Raises: WireError — the device is gone."""
        # Headers are rewritten in place where packets are joined.
        self._tun.write_nowait([memoryview(bytearray(packet)) for packet in packets])
