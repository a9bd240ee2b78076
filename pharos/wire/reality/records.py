"""TLS 1.3's record layer, each direction by itself (RFC 8446 §5).

[type u8] [3, 3] [length u16] [fragment], and once there are keys: [23] [3, 3] [length u16] [sealed: content, its type,
zeros].
"""

import enum
from typing import Final

from cryptography.exceptions import InvalidTag

from pharos.wire.errors import LocalProtocolError
from pharos.wire.reality.errors import Alert, RecordForgedError, TlsError
from pharos.wire.reality.suites import TAG_LENGTH, Octets, Suite
from pharos.wire.reality.tls13 import next_secret, traffic_key

HEADER: Final = 5
MAX_PLAINTEXT: Final = 2**14
"""Octets of content in a record (§5.1)."""
MAX_CIPHERTEXT: Final = MAX_PLAINTEXT + 256
"""Octets behind the header of a sealed record (§5.2)."""
OVERHEAD: Final = HEADER + 1 + TAG_LENGTH
"""Octets that a sealed record has beside its content and its padding."""
MAX_SEALED: Final = MAX_PLAINTEXT + OVERHEAD
"""Octets of a sealed record whose content and padding are all that a record may hold (§5.4); a larger one has been
padded beyond that, and is refused."""
MAX_RECORDS: Final = 2**24
"""Under one key: of full size AES-GCM bears 2^24.5 (§5.5), and another key costs one record in 256 GiB."""
MAX_USELESS: Final = 32
"""Records in a row that carry nothing forward, as OpenSSL takes them; Go takes 16, a node as many as its target."""

CHANGE_CIPHER_SPEC: Final = b"\x14\x03\x03\x00\x01\x01"
"""The whole record that both ends send for the sake of middleboxes (§D.4)."""


class ContentType(enum.IntEnum):
    CHANGE_CIPHER_SPEC = 20
    ALERT = 21
    HANDSHAKE = 22
    APPLICATION_DATA = 23


_KINDS: Final = frozenset(ContentType)


class TrafficKey:
    """Cipher, sequence number and secret of one direction."""

    __slots__ = ("_iv", "_secret", "_suite", "aead", "sequence")

    def __init__(self, suite: Suite, secret: bytes) -> None:
        self._suite = suite
        self._secret = secret
        self.aead, iv = traffic_key(suite, secret)
        self._iv = int.from_bytes(iv, "big")
        self.sequence = 0
        """Number of the next record."""

    def nonce(self) -> bytes:
        """Return the next record's nonce, and count it (§5.3)."""
        nonce = self.next_nonce()
        self.sequence += 1
        return nonce

    def next_nonce(self) -> bytes:
        """Return the next record's nonce, uncounted."""
        return (self._iv ^ self.sequence).to_bytes(12, "big")

    def following(self) -> "TrafficKey":
        """Return the key behind a KeyUpdate."""
        return TrafficKey(self._suite, next_secret(self._suite, self._secret))

    def __repr__(self) -> str:
        return f"<TrafficKey {self._suite.name} sequence={self.sequence}>"


class RecordWriter:
    """Makes the records of one direction: in the clear until there is a ``key``."""

    __slots__ = ("key",)

    def __init__(self) -> None:
        self.key: TrafficKey | None = None

    def plain(self, kind: ContentType, content: bytes, *, version: int = 0x0303) -> bytes:
        """Make records in the clear; only a hello's first record has the version 0x0301 (§5.1)."""
        records = []
        for start in range(0, len(content), MAX_PLAINTEXT):
            fragment = content[start : start + MAX_PLAINTEXT]
            records.append(b"%c%b%b%b" % (kind, version.to_bytes(2, "big"), len(fragment).to_bytes(2, "big"), fragment))
        return b"".join(records)

    def sealed(self, kind: ContentType, content: bytes, *, size: int = 0) -> bytes:
        """Make one record, padded to ``size`` octets with its header; 0 leaves it as it is.

        Raises: LocalProtocolError — there is no key, or the content does not fit.
        """
        padding = max(0, size - OVERHEAD - len(content)) if size else 0
        length = len(content) + padding + 1 + TAG_LENGTH
        if self.key is None or HEADER + length > MAX_SEALED or 0 < size != HEADER + length:
            raise LocalProtocolError(f"no record of {size or 'any'} octets can carry {len(content)}")
        header = b"\x17\x03\x03" + length.to_bytes(2, "big")
        return header + self.key.aead.encrypt(self.key.nonce(), b"%b%c%b" % (content, kind, bytes(padding)), header)

    def application_data(self, data: Octets) -> bytearray:
        """Make as few records as hold all of it.

        Raises: LocalProtocolError — there is no key.
        """
        if self.key is None:
            raise LocalProtocolError("there is no key yet to seal application data")
        view = memoryview(data).cast("B")
        size = len(view)
        records = bytearray(size + OVERHEAD * -(-size // MAX_PLAINTEXT))
        output = memoryview(records)
        encrypt, nonce = self.key.aead.encrypt_into, self.key.nonce
        position = 0
        for start in range(0, size, MAX_PLAINTEXT):
            inner = b"".join((view[start : start + MAX_PLAINTEXT], b"\x17"))
            length = len(inner) + TAG_LENGTH
            header = b"\x17\x03\x03" + length.to_bytes(2, "big")
            output[position : position + HEADER] = header
            position += HEADER
            encrypt(nonce(), inner, header, output[position : position + length])
            position += length
        return records


class RecordReader:
    """Takes one direction's octets as they come, and opens one record at a time, when asked to.

    What is not asked for stays as it was received: `take_rest` gives it back. A record is opened where it lies in what
    was fed; only one that begins in one piece and ends in another is put together first.
    """

    __slots__ = ("_at", "_begun", "_piece", "_useless", "key", "max_useless", "tolerates_change_cipher_spec")

    def __init__(self, *, max_useless: int = MAX_USELESS) -> None:
        # A record whose end is still to come. It stands before what is left of the piece, from `_at` on.
        self._begun = bytearray()
        self._piece = b""
        self._at = 0
        self._useless = 0
        self.max_useless = max_useless
        """How many records in a row may carry nothing forward."""
        self.key: TrafficKey | None = None
        self.tolerates_change_cipher_spec = True
        """Until the peer's Finished these records mean nothing; behind it they are an error (§5)."""

    def feed(self, data: Octets) -> None:
        left = self._piece[self._at :]
        self._piece = left + data if left else bytes(data)
        self._at = 0

    @property
    def buffered(self) -> int:
        """Octets that are not opened yet."""
        return len(self._begun) + len(self._piece) - self._at

    def take_rest(self) -> bytes:
        """Give back, and forget, what was received and not opened."""
        rest = bytes(self._begun) + self._piece[self._at :]
        self._begun = bytearray()
        self._piece, self._at = b"", 0
        return rest

    def count_useless(self) -> None:
        """Raises: TlsError — too many records in a row carried nothing forward."""
        self._useless += 1
        if self._useless > self.max_useless:
            raise TlsError(Alert.UNEXPECTED_MESSAGE, f"more than {self.max_useless} records in a row carry nothing")

    def count_useful(self) -> None:
        self._useless = 0

    def next_record(self) -> tuple[int, bytes | memoryview] | None:
        """Open the next record: its type and content; None if no whole one is there.

        Raises: TlsError — it is no record, too long, out of place, or not authentic.
        """
        while (record := self._next_whole()) is not None:
            kind = record[0]
            if kind == ContentType.APPLICATION_DATA and self.key is not None:
                return self._open(self.key, record)
            if kind != ContentType.CHANGE_CIPHER_SPEC:
                return self._plain(kind, bytes(record[HEADER:]))
            self._ignore_change_cipher_spec(bytes(record[HEADER:]))
        return None

    def open_data(self) -> bytearray:
        """Open at once as many records as lie whole in what was fed and hold data and no padding; perhaps none.

        For bulk, where a third of the time goes into what `next_record` does around each record. Whatever else there
        is, what is not authentic too, is left for it to tell of.
        """
        key, piece, at, size = self.key, self._piece, self._at, len(self._piece)
        if key is None or self._begun or size - at <= MAX_SEALED:
            # A record that stands alone is as soon opened by itself.
            return bytearray()
        contents = bytearray(size - at)
        source, sink, filled = memoryview(piece), memoryview(contents), 0
        while size - at >= HEADER and piece[at] == ContentType.APPLICATION_DATA and piece[at + 1] == 3:
            end = at + HEADER + (piece[at + 3] << 8 | piece[at + 4])
            # Where the type stands if there is no padding; the next content goes over it.
            last = filled + end - at - OVERHEAD
            if end > size or not filled < last <= filled + MAX_PLAINTEXT:
                break
            head = source[at : at + HEADER]
            try:
                key.aead.decrypt_into(key.next_nonce(), source[at + HEADER : end], head, sink[filled : last + 1])
            except InvalidTag:
                break
            if contents[last] != ContentType.APPLICATION_DATA:
                break
            key.sequence += 1
            at, filled = end, last
        self._at = at
        sink.release()
        del contents[filled:]
        return contents

    def _next_whole(self) -> memoryview | None:
        """Return the next record as it was received, header and all."""
        if not self._begun:
            piece, at = self._piece, self._at
            if len(piece) - at >= HEADER and (end := at + self._size(piece, at)) <= len(piece):
                self._at = end
                return memoryview(piece)[at:end]
            self._complete(len(piece) - at)
            return None
        if not self._complete(HEADER) or not self._complete(self._size(self._begun, 0)):
            return None
        record, self._begun = memoryview(self._begun), bytearray()
        return record

    def _complete(self, size: int) -> bool:
        """Move what the begun record lacks of so many octets; says whether it has them."""
        if (missing := size - len(self._begun)) > 0:
            moved = self._piece[self._at : self._at + missing]
            self._begun += moved
            self._at += len(moved)
        return len(self._begun) >= size

    def _size(self, data: bytes | bytearray, at: int) -> int:
        """Return how long the record is whose header stands there."""
        length = data[at + 3] << 8 | data[at + 4]
        if data[at + 1] != 3 or data[at] not in _KINDS:
            raise TlsError(Alert.UNEXPECTED_MESSAGE, f"what begins with {data[at : at + 3].hex()} is no TLS record")
        if length > (MAX_PLAINTEXT if self.key is None else MAX_CIPHERTEXT):
            raise TlsError(Alert.RECORD_OVERFLOW, f"a record of {length} octets is too long")
        return HEADER + length

    def _open(self, key: TrafficKey, record: memoryview) -> tuple[int, bytes | memoryview]:
        try:
            plaintext = key.aead.decrypt(key.nonce(), record[HEADER:], record[:HEADER])
        except (InvalidTag, ValueError):
            # ValueError: shorter than a tag.
            raise RecordForgedError(
                Alert.BAD_RECORD_MAC, f"record {key.sequence - 1} of the peer is not authentic"
            ) from None
        if len(plaintext) > MAX_PLAINTEXT + 1:
            raise TlsError(Alert.RECORD_OVERFLOW, f"a record holds {len(plaintext)} octets")
        if plaintext and plaintext[-1]:
            return plaintext[-1], memoryview(plaintext)[:-1]
        unpadded = plaintext.rstrip(b"\0")
        if not unpadded:
            raise TlsError(Alert.UNEXPECTED_MESSAGE, "a record is all padding and has no type")
        return unpadded[-1], unpadded[:-1]

    def _ignore_change_cipher_spec(self, fragment: bytes) -> None:
        if not self.tolerates_change_cipher_spec or fragment != b"\x01":
            raise TlsError(Alert.UNEXPECTED_MESSAGE, "a change_cipher_spec record is out of place")
        self.count_useless()

    def _plain(self, kind: int, fragment: bytes) -> tuple[int, bytes]:
        # A peer that could not read our first flight says so in the clear: before its Finished an alert is one.
        early_alert = kind == ContentType.ALERT and self.tolerates_change_cipher_spec
        if self.key is not None and not early_alert:
            raise TlsError(Alert.UNEXPECTED_MESSAGE, f"a record of type {kind} is not encrypted")
        return kind, fragment
