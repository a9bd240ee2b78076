"""TLS's presentation language: integers and vectors behind their lengths (RFC 8446 §3)."""

from pharos.wire.reality.errors import Alert, TlsError


class Reader:
    """Reads one structure from its beginning to its end, and past neither.

    Every method raises TlsError (decode_error): what there is ends too early.
    """

    __slots__ = ("_data", "_name", "position")

    def __init__(self, data: bytes, name: str) -> None:
        self._data = data
        self._name = name
        self.position = 0
        """Octets read so far."""

    def __bool__(self) -> bool:
        return self.position < len(self._data)

    def take(self, length: int) -> bytes:
        end = self.position + length
        if end > len(self._data):
            raise self.broken("ends too early")
        taken = self._data[self.position : end]
        self.position = end
        return taken

    def integer(self, octets: int) -> int:
        # Here and in `vector` as in `take`, without the call: a handshake has a hundred of them.
        end = self.position + octets
        if end > len(self._data):
            raise self.broken("ends too early")
        value = int.from_bytes(self._data[self.position : end], "big")
        self.position = end
        return value

    def vector(self, octets: int, *, least: int = 0) -> bytes:
        """Return what stands behind a length of so many octets.

        Raises: TlsError — it is shorter than ``least``, or not all there.
        """
        start = self.position + octets
        end = start + int.from_bytes(self._data[self.position : start], "big")
        # A length that is cut reads as a smaller one, and there is nothing behind it.
        if start > len(self._data) or end > len(self._data):
            raise self.broken("ends too early")
        content = self._data[start:end]
        self.position = end
        if len(content) < least:
            raise self.broken(f"holds a vector of {len(content)} octets where {least} are the least")
        return content

    def finish(self) -> None:
        """Raises: TlsError — something follows."""
        if self:
            raise self.broken("goes on behind its end")

    def broken(self, problem: str) -> TlsError:
        return TlsError(Alert.DECODE_ERROR, f"{self._name} {problem}")


def integers(content: bytes, octets: int, name: str) -> tuple[int, ...]:
    """Return a vector's content as integers of so many octets each.

    Raises: TlsError — its length is no multiple of that.
    """
    if len(content) % octets:
        raise Reader(b"", name).broken("ends too early")
    return tuple(int.from_bytes(content[start : start + octets], "big") for start in range(0, len(content), octets))


def vector(octets: int, content: bytes) -> bytes:
    """Put the content behind its length, which has so many octets."""
    return len(content).to_bytes(octets, "big") + content


def pack(values: tuple[int, ...], octets: int = 2) -> bytes:
    """Write integers of so many octets each, one after the other."""
    return b"".join(value.to_bytes(octets, "big") for value in values)
