"""HPACK that remembers whole header blocks: gRPC sends the same few again and again. Sans-IO.

A block means the same as long as the dynamic table does not change. Fields whose values hardly repeat would
change it at every call; they go as literals outside of the table (RFC 7541 §6.2.3).

A connection's first blocks do change the table, but from an empty one, and those of the next connection are mostly the
same: what they did is remembered for all connections of the process.
"""

import itertools
from collections import deque
from typing import Final, Generic, TypeVar

import attrs
from h2.errors import ErrorCodes
from h2.events import Event
from h2.exceptions import ProtocolError
from hpack import NeverIndexedHeaderTuple
from hpack.exceptions import HPACKError, OversizedHeaderListError
from hpack.hpack import Decoder, Encoder
from hpack.table import HeaderTable

Headers = list[tuple[str, str]]

VOLATILE: Final = frozenset({"grpc-timeout", "grpc-message", "x-pharos-device-fp", "x-passage"})

# A connection makes calls of a few methods, with a few kinds of answers.
_REMEMBERED: Final = 32
# The bounds make what a peer can have us remember 32 x 1.5 KB. Blocks of honest calls have 10-100 bytes.
_LARGEST_BLOCK: Final = 512
_LARGEST_LIST: Final = 1024
# First blocks that the process remembers in each direction: of two dozen methods the request, the response and its
# trailers. With the same bounds on each that is 100 kB.
_REMEMBERED_FIRSTS: Final = 64

_Key = TypeVar("_Key")
_Result = TypeVar("_Result")


class _Table(HeaderTable):
    """A dynamic table that counts its changes, and knows whether others have come to the same."""

    def __init__(self) -> None:
        super().__init__()
        self.version = 0
        self.path: int | None = 0
        """Which blocks have made the table what it is, as `_Firsts` numbers them: 0 for none, None if it is unknown."""

    def add(self, name: bytes, value: bytes) -> None:
        self.version += 1
        self.path = None
        super().add(name, value)

    @property
    def maxsize(self) -> int:
        return self._maxsize

    @maxsize.setter
    def maxsize(self, newmax: int) -> None:
        # A peer's first SETTINGS mostly say what was so already.
        if newmax != self._maxsize:
            self.version += 1
            self.path = None
        HeaderTable.maxsize.__set__(self, newmax)  # type: ignore[attr-defined]


@attrs.frozen
class _Step(Generic[_Result]):
    """What came of one block, and what it made of a table."""

    result: _Result
    entries: tuple[tuple[bytes, bytes], ...]
    size: int
    path: int


class _Firsts(Generic[_Key, _Result]):
    """The first blocks of the connections of this process."""

    def __init__(self) -> None:
        self._steps: dict[tuple[int, _Key], _Step[_Result]] = {}
        self._paths = itertools.count(1)

    def follow(self, table: _Table, key: _Key) -> _Result | None:
        """Return what came of this block where the table was as here, and change the table as it did."""
        if table.path is None or (step := self._steps.get((table.path, key))) is None:
            return None
        table.dynamic_entries = deque(step.entries)
        table._current_size = step.size
        table.version += 1
        table.path = step.path
        return step.result

    def remember(self, path: int, key: _Key, result: _Result, table: _Table) -> None:
        """Keep what a block just did to ``table``, which had come by ``path`` before."""
        while len(self._steps) >= _REMEMBERED_FIRSTS:
            del self._steps[next(iter(self._steps))]
        table.path = next(self._paths)
        self._steps[path, key] = _Step(result, tuple(table.dynamic_entries), table._current_size, table.path)


_ENCODED: Final[_Firsts[tuple[tuple[str, str], ...], bytes]] = _Firsts()
_DECODED: Final[_Firsts[tuple[type[Event], bytes], Headers]] = _Firsts()


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
            block = _ENCODED.follow(table, steady) or self._encode(steady)
        if len(steady) == len(headers):
            return block
        literals = [_literal(name, value) for name, value in headers if name in VOLATILE]
        return b"".join([block, *literals])

    def _encode(self, steady: tuple[tuple[str, str], ...]) -> bytes:
        table = self.header_table
        path = table.path
        # Huffman coding saves 30 octets once, and costs both ends more than the rest of the block.
        block = self.encode(steady, huffman=False)
        if len(block) > _LARGEST_BLOCK:
            return block
        if table.version == self._known_at:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[steady] = block
        elif path is not None:
            _ENCODED.remember(path, steady, block, table)
        return block


class CompressionError(ProtocolError):
    """A header block does not decode (RFC 9113 §4.3). h2 would call it a PROTOCOL_ERROR."""

    error_code = ErrorCodes.COMPRESSION_ERROR


class RememberingDecoder(Decoder):
    """An HPACK decoder that can be told what became of a block, for the next time it comes."""

    def __init__(self) -> None:
        super().__init__()
        self.header_table: _Table = _Table()
        self._known: dict[bytes, tuple[type[Event], Headers]] = {}
        self._steady = False
        self._path: int | None = None

    def decode(self, data: bytes, raw: bool = False):  # type: ignore[no-untyped-def]
        before, self._path = self.header_table.version, self.header_table.path
        try:
            headers = super().decode(data, raw)
        except OversizedHeaderListError:
            raise
        except (HPACKError, IndexError) as error:
            raise CompressionError(f"a header block does not decode: {error}") from error
        self._steady = before == self.header_table.version
        if not self._steady:
            self._known.clear()
        return headers

    def remember(self, block: bytes, kind: type[Event], headers: Headers) -> None:
        """Keep the checked ``headers`` of the block decoded last, which made an event of ``kind``."""
        if len(block) > _LARGEST_BLOCK or sum(len(name) + len(value) for name, value in headers) > _LARGEST_LIST:
            return
        if self._steady:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[block] = (kind, list(headers))
        # What a peer marks as never to be indexed (RFC 7541 §7.1.3) outlives no connection.
        elif self._path is not None and not any(isinstance(header, NeverIndexedHeaderTuple) for header in headers):
            _DECODED.remember(self._path, (kind, block), list(headers), self.header_table)

    def recall(self, block: bytes, kind: type[Event]) -> Headers | None:
        """Return the headers of a block that made an event of ``kind`` before, and would do so again."""
        known = self._known.get(block)
        if known is not None:
            return known[1] if known[0] is kind else None
        headers = _DECODED.follow(self.header_table, (kind, block))
        if headers is not None:
            self._known.clear()
        return headers


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
