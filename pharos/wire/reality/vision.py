"""Vision (``xtls-rprx-vision``): blurs the lengths of the first records of inner TLS, then goes past the outer one.

    [user id, 16: before the first block only] [command u8] [content's length u16] [padding's length u16]
    [content] [padding]

    command   0 CONTINUE   another block follows
              1 END        what follows is payload as it is, inside the outer TLS
              2 DIRECT     what follows is payload as it is, on the socket itself

Each direction pads until its own payload is application data of the inner TLS; that both may look at what the other
says is what ties them together. Sans-IO.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Final

from pharos.wire.errors import RemoteProtocolError
from pharos.wire.reality.innertls import BUFFER_OCTETS, InnerTls, Octets, is_complete_data

_USER_ID_OCTETS: Final = 16
_HEADER_OCTETS: Final = 5
MAX_BLOCK: Final = BUFFER_OCTETS
"""Octets of a block that we make, user id included: what Xray holds at a time."""
MAX_CONTENT: Final = MAX_BLOCK - _USER_ID_OCTETS - _HEADER_OCTETS
_CUT_CONTENT: Final = MAX_BLOCK // 2
"""What is too long for one block goes in halves of Xray's buffers."""

MAX_EMPTY_BLOCKS: Final = 16
"""In a row. A client sends one, to cover its request; each takes as long to read as a whole block, and five octets."""

# Hellos and what follows them are made this long, and up to 500 octets more; anything else gets less than 256.
_LONG_TOTAL: Final = 900
_LONG_SPREAD: Final = 500
_SHORT_SPREAD: Final = 256


class VisionCommand(enum.IntEnum):
    CONTINUE = 0
    END = 1
    DIRECT = 2


class VisionWriter:
    """The direction from us. ``random`` gives as many octets as it is asked for."""

    def __init__(self, user_id: bytes, inner: InnerTls, random: Callable[[int], bytes]) -> None:
        self.is_raw = False
        """Whether whatever `write` returns from now on goes on the socket, without the outer TLS."""
        self._prefix = user_id
        self._inner = inner
        self._random = random
        self._pads = True

    def write(self, data: Octets) -> Octets:
        """Return what to send for a piece of payload. Look at `is_raw` before: it speaks of the next piece already."""
        if self._inner.buffers_left:
            self._inner.look(data, ours=True)
        if not self._pads or not data:
            return data
        last = self._last_command(data)
        pieces = _cut(data)
        blocks = [self._block(VisionCommand.CONTINUE, piece) for piece in pieces[:-1]]
        blocks.append(self._block(last, pieces[-1]))
        self._pads = last is VisionCommand.CONTINUE
        self.is_raw = last is VisionCommand.DIRECT
        return b"".join(blocks)

    def write_empty(self) -> bytes:
        """Return a block without content: cover for a VLESS header that has nothing to travel with."""
        return self._block(VisionCommand.CONTINUE, b"", long=True)

    def _last_command(self, data: Octets) -> VisionCommand:
        inner = self._inner
        if inner.is_tls and is_complete_data(data):
            return VisionCommand.DIRECT if inner.is_tls13 else VisionCommand.END
        # One buffer early, as older receivers look no further.
        if not inner.server_answered and inner.buffers_left <= 1:
            return VisionCommand.END
        return VisionCommand.CONTINUE

    def _block(self, command: VisionCommand, content: Octets, *, long: bool = False) -> bytes:
        size = len(content)
        if (long or self._inner.is_tls) and size < _LONG_TOTAL:
            padding = self._below(_LONG_SPREAD) + _LONG_TOTAL - size
        else:
            padding = self._below(_SHORT_SPREAD)
        padding = min(padding, MAX_CONTENT - size)
        prefix, self._prefix = self._prefix, b""
        header = bytes((command, size >> 8, size & 0xFF, padding >> 8, padding & 0xFF))
        return b"".join((prefix, header, content, bytes(padding)))

    def _below(self, limit: int) -> int:
        # Four octets, so that no number is likelier than another by more than one in eight million.
        return int.from_bytes(self._random(4), "big") % limit


class _Reading(enum.Enum):
    USER_ID = "the user id before the first block"
    HEADER = "a block's header"
    CONTENT = "content"
    PADDING = "padding"
    PLAIN = "payload as it is"


class VisionReader:
    """The direction to us. Keeps 20 octets at most.

    Octets are to be given as they come out of the outer TLS, **one record at a time**: once `is_raw`, everything that
    is left in the receive buffer and everything that comes after it is not of the outer TLS any more, and decrypting it
    would fail, or worse.
    """

    def __init__(self, user_id: bytes, inner: InnerTls) -> None:
        self.is_raw = False
        """Whether the outer TLS of this direction has ended."""
        self._user_id = user_id
        self._inner = inner
        self._state = _Reading.USER_ID
        self._head = bytearray()
        self._command = VisionCommand.CONTINUE
        self._content = 0
        self._padding = 0
        self._empty_blocks = 0

    @property
    def is_padded(self) -> bool:
        """Whether the next record may be the last one of the outer TLS."""
        return self._state is not _Reading.PLAIN

    @property
    def is_between(self) -> bool:
        """Whether the stream may end here."""
        between = self._state in (_Reading.USER_ID, _Reading.HEADER) and not self._head
        return between or self._state is _Reading.PLAIN

    def read(self, data: Octets) -> Octets:
        """Return the payload in a piece of what came; often none.

        Raises: RemoteProtocolError — it is no block of Vision's, or not for this user.
        """
        content = data if self._state is _Reading.PLAIN else self._unpad(data)
        if content and self._inner.buffers_left:
            self._inner.look(content, ours=False)
        return content

    def _unpad(self, data: Octets) -> bytes:
        contents: list[Octets] = []
        at = 0
        while at < len(data):
            match self._state:
                case _Reading.USER_ID:
                    at = self._gather(data, at, _USER_ID_OCTETS)
                    if not self._user_id.startswith(self._head):
                        raise RemoteProtocolError("Vision: the first block is not for this user")
                    if len(self._head) == _USER_ID_OCTETS:
                        self._head.clear()
                        self._state = _Reading.HEADER
                case _Reading.HEADER:
                    at = self._gather(data, at, _HEADER_OCTETS)
                    if len(self._head) == _HEADER_OCTETS:
                        self._begin_block()
                case _Reading.CONTENT:
                    contents.append(data[at : at + self._content])
                    self._content -= len(contents[-1])
                    at += len(contents[-1])
                case _Reading.PADDING:
                    passed = min(self._padding, len(data) - at)
                    self._padding -= passed
                    at += passed
                case _Reading.PLAIN:
                    contents.append(data[at:])
                    at = len(data)
            self._go_on()
        return b"".join(contents)

    def _gather(self, data: Octets, at: int, size: int) -> int:
        piece = data[at : at + size - len(self._head)]
        self._head += piece
        return at + len(piece)

    def _begin_block(self) -> None:
        try:
            self._command = VisionCommand(self._head[0])
        except ValueError:
            raise RemoteProtocolError(f"Vision: there is no command {self._head[0]}") from None
        self._content = int.from_bytes(self._head[1:3], "big")
        self._padding = int.from_bytes(self._head[3:5], "big")
        self._empty_blocks = 0 if self._content else self._empty_blocks + 1
        if self._empty_blocks > MAX_EMPTY_BLOCKS:
            raise RemoteProtocolError(f"Vision: more than {MAX_EMPTY_BLOCKS} blocks in a row carry nothing")
        self._head.clear()
        self._state = _Reading.CONTENT

    def _go_on(self) -> None:
        """Leave what has been read to its end."""
        if self._state is _Reading.CONTENT and not self._content:
            self._state = _Reading.PADDING
        if self._state is _Reading.PADDING and not self._padding:
            self._state = _Reading.HEADER if self._command is VisionCommand.CONTINUE else _Reading.PLAIN
            self.is_raw = self._command is VisionCommand.DIRECT


class Vision:
    """Both directions of one connection, at either end of it."""

    def __init__(self, user_id: bytes, random: Callable[[int], bytes]) -> None:
        inner = InnerTls()
        self.writer = VisionWriter(user_id, inner, random)
        self.reader = VisionReader(user_id, inner)


def _cut(data: Octets) -> list[Octets]:
    if len(data) <= MAX_CONTENT:
        return [data]
    return [data[start : start + _CUT_CONTENT] for start in range(0, len(data), _CUT_CONTENT)]
