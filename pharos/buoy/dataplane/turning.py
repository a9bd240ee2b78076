"""Packets from one device to another, which turn round at the node: a router's work, without I/O of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

from pharos.wire.awg.inner import InnerEnd
from pharos.wire.awg.memory import MemoryEnd

IsDevice: TypeAlias = Callable[[bytes], bool]
"""Whether packets to a packed address go to another device."""

_IPV4_BYTES, _IPV6_BYTES = 20, 40
_MAX_KNOWN: Final = 4096


class TurningEnd(InnerEnd):
    """What an engine has for its inside: ``far`` of a link, but packets for devices come back to the engine."""

    def __init__(self, near: MemoryEnd, far: MemoryEnd) -> None:
        self._near = near
        self._far = far
        self._is_device: IsDevice | None = None
        self._known: dict[bytes, bool] = {}

    def set_devices(self, is_device: IsDevice | None) -> None:
        """Turn packets round that go to a device; None: none."""
        self._is_device = is_device
        self._known.clear()

    async def receive_packets(self) -> Sequence[bytes]:
        return await self._far.receive_packets()

    def send_packets_nowait(self, packets: Sequence[bytes]) -> None:
        if self._is_device is None:
            self._far.send_packets_nowait(packets)
            return
        onward: list[bytes] = []
        back: list[bytes] = []
        for packet in packets:
            if not self._turns(destination_of(packet)):
                onward.append(packet)
            elif (hopped := one_hop_on(packet)) is not None:
                back.append(hopped)
        if onward:
            self._far.send_packets_nowait(onward)
        if back:
            self._near.send_packets_nowait(back)

    def _turns(self, destination: bytes) -> bool:
        assert self._is_device is not None, "it was looked at"
        known = self._known.get(destination)
        if known is None:
            if len(self._known) >= _MAX_KNOWN:
                self._known.clear()
            known = self._known[destination] = self._is_device(destination)
        return known


def destination_of(packet: bytes) -> bytes:
    """Return where a packet that an engine has let in goes to, packed."""
    return packet[16:20] if packet[0] >> 4 == 4 else packet[24:40]


def one_hop_on(packet: bytes) -> bytes | None:
    """Return a packet as a router sends it on (RFC 1812 §5.3.1, RFC 8200 §3); None: it has come too far."""
    four = packet[0] >> 4 == 4
    at = 8 if four else 7
    if len(packet) < (_IPV4_BYTES if four else _IPV6_BYTES) or packet[at] <= 1:
        return None
    made = bytearray(packet)
    made[at] -= 1
    if four:
        # RFC 1141: the sum grows by what the field became less.
        check = int.from_bytes(made[10:12], "big") + 0x100
        made[10:12] = ((check + (check >> 16)) & 0xFFFF).to_bytes(2, "big")
    return bytes(made)
