"""The plaintext of a passage's Noise messages, and the counting that goes with it (passage.md §6).

[kind u8] [length u16, big-endian] [data] [zeros up to a multiple of 256, or up to the largest size]
"""

import enum
from typing import Final

from pharos.wire.errors import LocalProtocolError, RemoteProtocolError
from pharos.wire.noise.symmetric import CipherState
from pharos.wire.passage.epochs import Epochs, Input, State

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


class SpentError(LocalProtocolError):
    """The passage has carried all the frames it may; open a new one."""


class Kind(enum.IntEnum):
    DATA = 0
    """Octets of the inner connection."""
    CLOSE = 1
    """The authenticated end of the passage; carries nothing."""
    NOTE = 2
    """A word beside the stream; see `pharos.wire.passage.notes`."""
    END = 3
    """The inner connection has ended and the passage stays; carries nothing."""


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
    if data and kind in {Kind.CLOSE, Kind.END}:
        raise RemoteProtocolError("a passage's end carries data")
    return kind, data


class PassageRecords:
    """Both directions of one session: seals, opens, and changes keys in step with the peer."""

    def __init__(self, send: CipherState, receive: CipherState, *, device: bool) -> None:
        self._send = send
        self._receive = receive
        self._epochs = Epochs(device=device)

    @property
    def light(self) -> bool:
        """Whether there is no inner connection, nor the rest of one."""
        return self._epochs.state is State.LIGHT

    def open(self, frame: bytes) -> tuple[Kind, bytes]:
        """Return what a frame is and carries.

        Raises: DecryptError — not authentic; RemoteProtocolError — authentic, and yet not a frame of ours.
        """
        if self._receive.nonce > MAX_FRAMES:
            raise RemoteProtocolError("the peer sent more frames than a passage may have")
        kind, data = decode_record(self._receive.decrypt(b"", frame))
        _count(self._receive)
        if kind in _RECEIVED:
            self._epochs.step(_RECEIVED[kind])
        return kind, data

    def seal(self, kind: Kind, data: bytes = b"") -> bytes:
        """Make the next frame to send.

        Raises: SpentError — the session has carried all that it may; LocalProtocolError — too long, or out of place.
        """
        # The end may still follow the last of them.
        if self._send.nonce >= MAX_FRAMES and kind is not Kind.CLOSE:
            raise SpentError("the passage has carried all the frames it may; open a new one")
        record = encode_record(kind, data)
        if kind in _SENT:
            self._epochs.step(_SENT[kind])
        frame = self._send.encrypt(b"", record)
        _count(self._send)
        return frame


_SENT: Final = {Kind.DATA: Input.SEND_DATA, Kind.END: Input.SEND_END}
_RECEIVED: Final = {Kind.DATA: Input.RECEIVE_DATA, Kind.END: Input.RECEIVE_END}


def _count(cipher: CipherState) -> None:
    """Change the key after every ``REKEY_EVERY`` frames; the nonce, which goes on, is the count."""
    if cipher.nonce % REKEY_EVERY == 0:
        cipher.rekey()
