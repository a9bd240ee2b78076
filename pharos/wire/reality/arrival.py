"""The first record of a connection, put together as it comes: a hello that may be one of ours, or a stranger's."""

from typing import Final

from pharos.wire.reality.errors import Alert, TlsError
from pharos.wire.reality.hello import CLIENT_HELLO, MAX_HELLO, ClientHello, read_client_hello
from pharos.wire.reality.records import HEADER, ContentType

_MAJOR: Final = 3


class HelloReader:
    """Reads along until there is a whole hello. A device sends it in one record; whoever does not is none of ours."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes | bytearray) -> ClientHello | None:
        """Take what the client sent; returns its hello once that is whole.

        Raises: TlsError — no hello of a device begins like that.
        """
        buffer = self._buffer
        buffer += data
        if buffer and buffer[0] != ContentType.HANDSHAKE:
            raise TlsError(Alert.UNEXPECTED_MESSAGE, "the client does not begin with a handshake record")
        if len(buffer) > 1 and buffer[1] != _MAJOR:
            raise TlsError(Alert.PROTOCOL_VERSION, "the client does not begin with a record of TLS")
        if len(buffer) < HEADER:
            return None
        length = int.from_bytes(buffer[3:HEADER], "big")
        if not 0 < length <= MAX_HELLO:
            raise TlsError(Alert.RECORD_OVERFLOW, f"a first record of {length} octets")
        if len(buffer) > HEADER and buffer[HEADER] != CLIENT_HELLO:
            raise TlsError(Alert.UNEXPECTED_MESSAGE, "the client does not begin with a ClientHello")
        end = HEADER + length
        return read_client_hello(bytes(buffer[HEADER:end])) if len(buffer) >= end else None

    def take_rest(self) -> bytes:
        """Return what came behind the hello's record."""
        end = HEADER + int.from_bytes(self._buffer[3:HEADER], "big")
        return bytes(self._buffer[end:])
