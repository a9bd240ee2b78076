"""As much of DER as an X.509 certificate of REALITY takes (X.690 §8, §10): definite lengths, single-octet tags."""

from typing import Final

from pharos.wire.reality.errors import Alert, TlsError

INTEGER: Final = 0x02
BIT_STRING: Final = 0x03
OCTET_STRING: Final = 0x04
OBJECT_IDENTIFIER: Final = 0x06
UTC_TIME: Final = 0x17
SEQUENCE: Final = 0x30
VERSION: Final = 0xA0
EXTENSIONS: Final = 0xA3
"""Context-specific, constructed: [0] and [3] of a TBSCertificate (RFC 5280 §4.1)."""

_LONG: Final = 0x80
_MAX_LENGTH_OCTETS: Final = 3
"""A certificate in a handshake message is shorter than 2^24."""


class DerReader:
    """Reads the elements of one constructed element, in their order.

    Every method raises TlsError (decode_error): it is not DER, or not what was asked for.
    """

    __slots__ = ("_data", "_position")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    def __bool__(self) -> bool:
        return self._position < len(self._data)

    def next_is(self, tag: int) -> bool:
        return bool(self) and self._data[self._position] == tag

    def take(self, tag: int) -> bytes:
        """Return the content of the next element, which has this tag."""
        if not self.next_is(tag):
            raise broken(f"has no element {tag:#04x} where one has to be")
        self._position += 1
        length = self._octets(1)[0]
        if length >= _LONG:
            octets = length - _LONG
            if not 0 < octets <= _MAX_LENGTH_OCTETS:
                raise broken("has an impossible length")
            length = int.from_bytes(self._octets(octets), "big")
            # The shortest form is the only one (§10.1).
            if length < _LONG or length < 1 << 8 * (octets - 1):
                raise broken("has a length that is not written as DER has it")
        return self._octets(length)

    def enter(self, tag: int) -> "DerReader":
        return DerReader(self.take(tag))

    def finish(self) -> None:
        if self:
            raise broken("goes on behind its end")

    def _octets(self, count: int) -> bytes:
        end = self._position + count
        if end > len(self._data):
            raise broken("ends too early")
        octets = self._data[self._position : end]
        self._position = end
        return octets


def broken(problem: str) -> TlsError:
    return TlsError(Alert.DECODE_ERROR, f"the certificate {problem}")


def element(tag: int, *parts: bytes) -> bytes:
    content = b"".join(parts)
    size = len(content)
    if size < _LONG:
        return bytes((tag, size)) + content
    octets = (size.bit_length() + 7) // 8
    return bytes((tag, _LONG + octets)) + size.to_bytes(octets, "big") + content
