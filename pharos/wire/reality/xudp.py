"""XUDP: datagrams to and from any address, in the frames of VLESS's command MUX (Xray's mux.cool, session 0).

    [metadata's length u16] [session u16] [status u8] [option u8] [2, UDP] [port u16] [type] [address]
    [global id, 8: with NEW only] | [data's length u16] [data]: where the option has bit 0

The first frame is NEW; each datagram after it goes in a KEEP with the address it goes to, or comes from. The global id
is the client's own name for a socket: a server that knows it from a connection that broke hands the socket on.
"""

from __future__ import annotations

import enum
from typing import Final

import attrs

from pharos.wire.addresses import Datagram as Datagram
from pharos.wire.errors import LocalProtocolError, RemoteProtocolError
from pharos.wire.reality.addresses import VLESS, Address
from pharos.wire.reality.innertls import Octets

GLOBAL_ID_OCTETS: Final = 8
NO_GLOBAL_ID: Final = bytes(GLOBAL_ID_OCTETS)
MAX_METADATA: Final = 512
"""Octets. Xray takes no more; the longest that means anything has 272: 4, the network, 2, 1, 1, 255 and 8."""
MAX_SENT_DATAGRAM: Final = 8192 - 666
"""Octets. Xray reads a datagram into a buffer of 8,192 and breaks the connection over a longer one; its own writer
leaves 666 of them for the metadata."""

_LENGTH_OCTETS: Final = 2
_FIXED_OCTETS: Final = 4
_UDP: Final = 2
_HAS_DATA: Final = 1


class Status(enum.IntEnum):
    NEW = 1
    KEEP = 2
    END = 3
    KEEP_ALIVE = 4


@attrs.frozen(kw_only=True)
class Frame:
    """Raises: LocalProtocolError — its parts do not fit each other."""

    status: Status
    session: int = 0
    address: Address | None = None
    """Always there with NEW, may be missing with KEEP: it is then that of NEW. With others it means nothing."""
    global_id: bytes = NO_GLOBAL_ID
    data: bytes | None = None
    """None is no datagram, and another thing than an empty one."""

    def __attrs_post_init__(self) -> None:
        if len(self.global_id) != GLOBAL_ID_OCTETS:
            raise LocalProtocolError(f"a global id has {GLOBAL_ID_OCTETS} octets, not {len(self.global_id)}")
        if self.status is Status.NEW and self.address is None:
            raise LocalProtocolError("XUDP: a frame NEW has an address")

    def render(self) -> bytes:
        """Raises: LocalProtocolError — the datagram is longer than a peer would take."""
        data = self.data
        if data is not None and len(data) > MAX_SENT_DATAGRAM:
            raise LocalProtocolError(f"a datagram has at most {MAX_SENT_DATAGRAM} octets here, not {len(data)}")
        metadata = self.session.to_bytes(2, "big") + bytes((self.status, 0 if data is None else _HAS_DATA))
        if self.status in (Status.NEW, Status.KEEP) and self.address is not None:
            metadata += bytes((_UDP,)) + VLESS.render(self.address)
        if self.status is Status.NEW:
            metadata += self.global_id
        head = len(metadata).to_bytes(_LENGTH_OCTETS, "big") + metadata
        return head if data is None else b"".join((head, len(data).to_bytes(_LENGTH_OCTETS, "big"), data))


class FrameReader:
    """Takes the stream of a MUX command and gives the frames in it. Holds less than one: 66,051 octets."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    @property
    def is_between(self) -> bool:
        """Whether the stream may end here."""
        return not self._buffer

    def receive_data(self, data: Octets) -> list[Frame]:
        """Raises: RemoteProtocolError — no frame is like that, or it is not for UDP: close the connection."""
        self._buffer += data
        frames, at = [], 0
        while (found := _parse(self._buffer, at)) is not None:
            frame, at = found
            frames.append(frame)
        del self._buffer[:at]
        return frames


def _parse(buffer: bytearray, start: int) -> tuple[Frame, int] | None:
    begin = start + _LENGTH_OCTETS
    if len(buffer) < begin:
        return None
    size = int.from_bytes(buffer[start:begin], "big")
    if not _FIXED_OCTETS <= size <= MAX_METADATA:
        raise RemoteProtocolError(f"XUDP: metadata of {size} octets are none")
    end = begin + size
    if len(buffer) < end:
        return None
    metadata = bytes(buffer[begin:end])
    data = None
    if metadata[3] & _HAS_DATA:
        data_at = end + _LENGTH_OCTETS
        if len(buffer) < data_at:
            return None
        end = data_at + int.from_bytes(buffer[end:data_at], "big")
        if len(buffer) < end:
            return None
        data = bytes(buffer[data_at:end])
    return _frame(metadata, data), end


def _frame(metadata: bytes, data: bytes | None) -> Frame:
    try:
        status = Status(metadata[2])
    except ValueError:
        raise RemoteProtocolError(f"XUDP: there is no status {metadata[2]}") from None
    address, global_id = None, NO_GLOBAL_ID
    if status is Status.NEW or (status is Status.KEEP and len(metadata) > _FIXED_OCTETS):
        if len(metadata) == _FIXED_OCTETS or metadata[_FIXED_OCTETS] != _UDP:
            raise RemoteProtocolError("XUDP: frames of a MUX carry UDP here and nothing else")
        found = VLESS.parse(metadata, _FIXED_OCTETS + 1)
        if found is None:
            raise RemoteProtocolError("XUDP: the address is cut off")
        address, end = found
        # Octets behind it are padding. Whoever has no global id may leave it out.
        if status is Status.NEW and len(metadata) >= end + GLOBAL_ID_OCTETS:
            global_id = metadata[end : end + GLOBAL_ID_OCTETS]
    session = int.from_bytes(metadata[:2], "big")
    return Frame(status=status, session=session, address=address, global_id=global_id, data=data)


class XudpEnd:
    """One end of XUDP's one session: datagrams in, frames out, and back.

    A client gives its ``global_id``, which may be zeros; a server learns it.
    """

    def __init__(self, *, client: bool, global_id: bytes = NO_GLOBAL_ID) -> None:
        self.global_id = global_id
        """A server's is zeros until the first frame."""
        self.target: Address | None = None
        """The address of the frame NEW; None until then."""
        self.ended = False
        """Whether the peer has said that no more will come."""
        self._client = client
        self._reader = FrameReader()

    @property
    def is_between(self) -> bool:
        """Whether the stream may end here."""
        return self._reader.is_between

    def send_datagram(self, datagram: Datagram) -> bytes:
        """Return the frame that carries it.

        Raises: LocalProtocolError — it is too long, or a server's before the client has begun.
        """
        if self.target is None:
            if not self._client:
                raise LocalProtocolError("XUDP: the client has not begun yet")
            frame = Frame(
                status=Status.NEW, address=datagram.address, global_id=self.global_id, data=datagram.data
            ).render()
            self.target = datagram.address
            return frame
        return Frame(status=Status.KEEP, address=datagram.address, data=datagram.data).render()

    def send_end(self) -> bytes:
        return Frame(status=Status.END).render()

    def receive_data(self, data: Octets) -> list[Datagram]:
        """Return the datagrams that are whole now; what comes after the peer's end counts for nothing.

        Raises: RemoteProtocolError — a frame is damaged, or out of place.
        """
        datagrams: list[Datagram] = []
        for frame in self._reader.receive_data(data):
            if frame.session:
                raise RemoteProtocolError(f"XUDP: there is no session {frame.session} but 0")
            match frame.status:
                case Status.NEW:
                    self._begin(frame)
                case Status.END:
                    self.ended = True
                    continue
                case Status.KEEP_ALIVE:
                    # It may carry octets, which nobody is meant to read.
                    continue
            address = frame.address or self.target
            if address is None:
                raise RemoteProtocolError("XUDP: the first frame is not NEW")
            if frame.data is not None and not self.ended:
                datagrams.append(Datagram(address, frame.data))
        return datagrams

    def _begin(self, frame: Frame) -> None:
        if self._client or self.target is not None:
            raise RemoteProtocolError("XUDP: a frame NEW out of place")
        self.target, self.global_id = frame.address, frame.global_id
