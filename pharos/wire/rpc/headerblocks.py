"""HPACK that remembers whole header blocks: gRPC sends the same few again and again. Sans-IO.

A block means the same as long as the dynamic table does not change. Fields whose values hardly repeat would
change it at every call; they go as literals outside of the table (RFC 7541 §6.2.3).
"""

from typing import Final

from h2.events import Event
from hpack.hpack import Decoder, Encoder
from hpack.table import HeaderTable

Headers = list[tuple[str, str]]

VOLATILE: Final = frozenset({"grpc-timeout", "grpc-message", "x-pharos-device-fp", "x-passage"})

# A connection makes calls of a few methods, with a few kinds of answers.
_REMEMBERED: Final = 32
# The bounds make what a peer can have us remember 32 x 1.5 KB. Blocks of honest calls have 10-100 bytes.
_LARGEST_BLOCK: Final = 512
_LARGEST_LIST: Final = 1024


class _Table(HeaderTable):
    """A dynamic table that counts its changes."""

    version = 0

    def add(self, name: bytes, value: bytes) -> None:
        self.version += 1
        super().add(name, value)


class RememberingEncoder(Encoder):
    """An HPACK encoder for header lists that repeat."""

    def __init__(self) -> None:
        super().__init__()
        self.header_table: _Table = _Table()
        self._known: dict[tuple[tuple[str, str], ...], bytes] = {}
        self._known_at = 0

    def encode_list(self, headers: Headers) -> bytes:
        """Encode a header list, its volatile fields last."""
        steady = tuple(header for header in headers if header[0] not in VOLATILE)
        table = self.header_table
        if self._known_at != table.version or table.resized:
            self._known.clear()
            self._known_at = table.version
        block = self._known.get(steady)
        if block is None:
            block = self.encode(steady)
            if table.version == self._known_at and len(block) <= _LARGEST_BLOCK:
                if len(self._known) >= _REMEMBERED:
                    self._known.clear()
                self._known[steady] = block
        if len(steady) == len(headers):
            return block
        literals = [_literal(name, value) for name, value in headers if name in VOLATILE]
        return b"".join([block, *literals])


class RememberingDecoder(Decoder):
    """An HPACK decoder that can be told what became of a block, for the next time it comes."""

    def __init__(self) -> None:
        super().__init__()
        self.header_table: _Table = _Table()
        self._known: dict[bytes, tuple[type[Event], Headers]] = {}
        self._steady = False

    def decode(self, data: bytes, raw: bool = False):  # type: ignore[no-untyped-def]
        before = (self.header_table.version, self.header_table.maxsize)
        headers = super().decode(data, raw)
        self._steady = before == (self.header_table.version, self.header_table.maxsize)
        if not self._steady:
            self._known.clear()
        return headers

    def remember(self, block: bytes, kind: type[Event], headers: Headers) -> None:
        """Keep the checked ``headers`` of the block decoded last, which made an event of ``kind``."""
        if self._steady and len(block) <= _LARGEST_BLOCK:
            if sum(len(name) + len(value) for name, value in headers) > _LARGEST_LIST:
                return
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[block] = (kind, list(headers))

    def recall(self, block: bytes, kind: type[Event]) -> Headers | None:
        """Return the headers of a block that made an event of ``kind`` before, and would do so again."""
        known = self._known.get(block)
        return known[1] if known is not None and known[0] is kind else None


def _literal(name: str, value: str) -> bytes:
    """A field that no table may keep (RFC 7541 §6.2.3): it is not worth a place, and need not be shared."""
    return b"\x10" + _string(name.encode()) + _string(value.encode())


def _string(text: bytes) -> bytes:
    """A string literal without Huffman coding (RFC 7541 §5.2), its length an integer of 7 bits (§5.1)."""
    length = len(text)
    if length < 127:
        return bytes((length,)) + text
    prefix = bytearray(b"\x7f")
    length -= 127
    while length >= 128:
        prefix.append(length % 128 + 128)
        length //= 128
    prefix.append(length)
    return bytes(prefix) + text
