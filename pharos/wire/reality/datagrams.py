"""Datagrams of VLESS's command UDP: each behind its length, all to and from the one target of the request."""

from __future__ import annotations

from typing import Final

from pharos.wire.errors import LocalProtocolError
from pharos.wire.reality.innertls import Octets

MAX_SENT_DATAGRAM: Final = 8192 - 2
"""Octets. Xray reads a datagram and the length before it into a buffer of 8,192, and drops what does not fit."""

_LENGTH_OCTETS: Final = 2


def render_datagram(data: bytes) -> bytes:
    """Return a datagram as the command UDP carries it: its length, u16, and itself.

    Raises: LocalProtocolError — it is longer than a peer would take.
    """
    if len(data) > MAX_SENT_DATAGRAM:
        raise LocalProtocolError(f"a datagram has at most {MAX_SENT_DATAGRAM} octets here, not {len(data)}")
    return len(data).to_bytes(_LENGTH_OCTETS, "big") + data


class DatagramReader:
    """Takes a stream of the command UDP and gives the datagrams in it. Holds less than one of them."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    @property
    def is_between(self) -> bool:
        """Whether the stream may end here."""
        return not self._buffer

    def receive_data(self, data: Octets) -> list[bytes]:
        self._buffer += data
        datagrams, at = [], 0
        while len(self._buffer) >= at + _LENGTH_OCTETS:
            begin = at + _LENGTH_OCTETS
            end = begin + int.from_bytes(self._buffer[at:begin], "big")
            if len(self._buffer) < end:
                break
            datagrams.append(bytes(self._buffer[begin:end]))
            at = end
        del self._buffer[:at]
        return datagrams
