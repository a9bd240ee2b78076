"""Watches the first buffers of a tunnelled connection for TLS, as Vision needs to know it (reality.md §4). Sans-IO.

Both directions are looked at together: what one end says decides what the other may do.
"""

from __future__ import annotations

from typing import Final, TypeAlias

Octets: TypeAlias = bytes | bytearray | memoryview

BUFFER_OCTETS: Final = 8192
"""What Xray reads at a time; a longer piece counts as several."""
MAX_BUFFERS: Final = 8
"""Of both directions together; who has not begun TLS by then, does not."""

_RECORD_HEADER: Final = 5
_HANDSHAKE, _APPLICATION_DATA = 0x16, 0x17
_CLIENT_HELLO, _SERVER_HELLO = 1, 2
# Record header, handshake header, legacy version and random come before the session id (RFC 8446 §4.1.3).
_SESSION_ID_AT: Final = _RECORD_HEADER + 4 + 2 + 32
_SUPPORTED_VERSIONS: Final = 43
_TLS_1_3: Final = b"\x03\x04"
# AES-128-GCM, AES-256-GCM, ChaCha20-Poly1305 and AES-128-CCM; the fifth of RFC 8446 §B.4, CCM_8, has a short tag.
_SUITES: Final = range(0x1301, 0x1305)


class InnerTls:
    """What is known of a connection: whether it is TLS, and whether it may leave the outer one."""

    def __init__(self) -> None:
        self.is_tls = False
        """A hello was seen, of either side."""
        self.server_answered = False
        """The server's hello was seen: TLS 1.2 or newer is spoken."""
        self.is_tls13 = False
        """Its hello chose TLS 1.3 and a strong suite: whatever follows is as well protected without the outer TLS."""
        self.buffers_left = MAX_BUFFERS
        # The server's hello as far as it has come, and from which direction: a record may come in pieces.
        self._hello = bytearray()
        self._hello_is_ours = False

    def look(self, data: Octets, *, ours: bool) -> None:
        """Take a piece of payload; ``ours`` tells the two directions apart."""
        for start in range(0, len(data), BUFFER_OCTETS):
            if not self.buffers_left:
                return
            self.buffers_left -= 1
            self._look_at(bytes(data[start : start + BUFFER_OCTETS]), ours)

    def _look_at(self, piece: bytes, ours: bool) -> None:
        if self._hello:
            if ours == self._hello_is_ours:
                self._hello += piece
        elif len(piece) > _RECORD_HEADER and piece[0] == _HANDSHAKE and piece[1] == 3:
            if piece[_RECORD_HEADER] == _CLIENT_HELLO:
                self.is_tls = True
            elif piece[_RECORD_HEADER] == _SERVER_HELLO and piece[2] == 3:
                self.is_tls = self.server_answered = True
                self._hello += piece
                self._hello_is_ours = ours
        if self._hello and len(self._hello) >= (end := _record_end(self._hello, 0)):
            self.is_tls13 = _chooses_tls13(bytes(self._hello[:end]))
            self.buffers_left = 0
            self._hello.clear()


def is_complete_data(data: Octets) -> bool:
    """Whether it is made of whole records of application data, and of nothing else."""
    at = 0
    while len(data) - at > _RECORD_HEADER:
        if data[at] != _APPLICATION_DATA or data[at + 1] != 3 or data[at + 2] != 3:
            return False
        end = _record_end(data, at)
        if end == at + _RECORD_HEADER:
            return False
        at = end
    return at == len(data) > 0


def _record_end(data: Octets, at: int) -> int:
    return at + _RECORD_HEADER + (data[at + 3] << 8 | data[at + 4])


def _chooses_tls13(record: bytes) -> bool:
    """Whether a ServerHello chooses TLS 1.3 and one of the suites that are good enough; damage is a no."""
    if len(record) <= _SESSION_ID_AT:
        return False
    at = _SESSION_ID_AT + 1 + record[_SESSION_ID_AT]
    suite = int.from_bytes(record[at : at + 2], "big")
    # Suite, compression, and the length of the extensions.
    at += 2 + 1 + 2
    while at + 4 <= len(record):
        kind, length = int.from_bytes(record[at : at + 2], "big"), int.from_bytes(record[at + 2 : at + 4], "big")
        at += 4
        if kind == _SUPPORTED_VERSIONS:
            return record[at : at + length] == _TLS_1_3 and suite in _SUITES
        at += length
    return False
