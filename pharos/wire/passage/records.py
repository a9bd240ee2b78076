"""The plaintext of a passage's Noise messages, and the counting that goes with it (passage.md §6).

[kind u8] [length u16, big-endian] [data] [zeros up to a multiple of 256, or up to the largest size]
"""

import enum
from collections.abc import Callable
from typing import Final

from pharos.wire.errors import LocalProtocolError, RemoteProtocolError
from pharos.wire.noise.symmetric import CipherState

MAX_PLAINTEXT: Final = 16_356
"""With 16 octets of tag, 4 of protobuf and 5 of gRPC it is 16,381: a frame fits one DATA frame of 16,384."""

MAX_FRAME: Final = 16_384
"""Octets of a received Noise message; whatever is longer is refused before it is decrypted."""

MAX_HANDSHAKE_FRAME: Final = 512
"""The longest handshake message has 96 octets (IK); 512 leave room for a payload of padding, and for no more."""

PADDING: Final = 256
"""Octets. Hides which small RPC it is; 256 cost a tenth of the throughput, 1,024 a quarter (passage.md §6)."""

REKEY_EVERY: Final = 2**14
"""Frames per direction: a key that leaks later opens at most 256 MiB of what came before."""

MAX_FRAMES: Final = 2**32
"""Per direction and session (security.md §2b), far below what the cipher bears."""

_HEAD: Final = 3
MAX_DATA: Final = MAX_PLAINTEXT - _HEAD


class Kind(enum.IntEnum):
    DATA = 0
    """Stream data."""
    CLOSE = 1
    """The authenticated end; carries nothing."""
    NOTE = 2
    """A word beside the stream, such as "sync now"."""


def encode_record(kind: Kind, data: bytes) -> bytes:
    """Raises: LocalProtocolError — more data than fit into one frame."""
    if len(data) > MAX_DATA:
        raise LocalProtocolError(f"a frame carries at most {MAX_DATA} octets, not {len(data)}")
    record = bytes((kind,)) + len(data).to_bytes(2, "big") + data
    return record.ljust(min(len(record) + -len(record) % PADDING, MAX_PLAINTEXT), b"\0")


def decode_record(record: bytes) -> tuple[Kind, bytes]:
    """Return kind and data. How far it is padded is the sender's affair, as long as it is with zeros.

    Raises: RemoteProtocolError — too long or too short, an unknown kind, or padding that is not zero.
    """
    end = _HEAD + int.from_bytes(record[1:_HEAD], "big")
    if not _HEAD <= end <= len(record) <= MAX_PLAINTEXT or record.count(0, end) != len(record) - end:
        raise RemoteProtocolError("a passage's frame is malformed")
    try:
        kind = Kind(record[0])
    except ValueError:
        raise RemoteProtocolError(f"a passage's frame is of the unknown kind {record[0]}") from None
    data = record[_HEAD:end]
    if kind is Kind.CLOSE and data:
        raise RemoteProtocolError("a passage's end carries data")
    return kind, data


class PassageRecords:
    """Both directions of one session: seals, opens, and changes keys in step with the peer.

    ``on_note`` is called with each note as it is received; what it raises is a bug of ours and goes through.
    """

    max_data = MAX_DATA

    def __init__(self, send: CipherState, receive: CipherState, *, on_note: Callable[[bytes], None]) -> None:
        self._send = send
        self._receive = receive
        self._on_note = on_note

    def seal_data(self, data: bytes) -> bytes:
        return self._seal(Kind.DATA, data)

    def seal_note(self, data: bytes) -> bytes:
        return self._seal(Kind.NOTE, data)

    def seal_end(self) -> bytes:
        return self._seal(Kind.CLOSE, b"")

    def open(self, frame: bytes) -> bytes | None:
        """Return the stream data of a frame, empty for a note, or None for the authenticated end.

        Raises: DecryptError — not authentic; RemoteProtocolError — authentic, and yet not a frame of ours.
        """
        if self._receive.nonce > MAX_FRAMES:
            raise RemoteProtocolError("the peer sent more frames than a passage may have")
        kind, data = decode_record(self._receive.decrypt(b"", frame))
        _count(self._receive)
        if kind is Kind.NOTE:
            self._on_note(data)
            return b""
        return data if kind is Kind.DATA else None

    def _seal(self, kind: Kind, data: bytes) -> bytes:
        # The end may still follow the last of them.
        if self._send.nonce >= MAX_FRAMES and kind is not Kind.CLOSE:
            raise LocalProtocolError("the passage has carried all the frames it may; open a new one")
        frame = self._send.encrypt(b"", encode_record(kind, data))
        _count(self._send)
        return frame


def _count(cipher: CipherState) -> None:
    """Change the key after every ``REKEY_EVERY`` frames; the nonce, which goes on, is the count."""
    if cipher.nonce % REKEY_EVERY == 0:
        cipher.rekey()
