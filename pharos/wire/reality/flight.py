"""What a node learns of its target's answer: the ServerHello, and how long the encrypted records behind it are."""

from typing import Final

import attrs

from pharos.wire.reality.errors import TargetError, TlsError
from pharos.wire.reality.groups import CLIENT_SHARE, SERVER_SHARE
from pharos.wire.reality.hello import ClientHello
from pharos.wire.reality.messages import MessageBuffer
from pharos.wire.reality.records import CHANGE_CIPHER_SPEC, HEADER, MAX_CIPHERTEXT, OVERHEAD, ContentType
from pharos.wire.reality.serverhello import SERVER_HELLO, ServerHello, read_server_hello
from pharos.wire.reality.suites import SUITES
from pharos.wire.units import KIB

SEPARATE: Final = 4
"""Records of a flight in which EncryptedExtensions, Certificate, CertificateVerify and Finished go each by itself."""
COALESCED_ABOVE: Final = 512
"""Octets: a first record that is longer holds more than EncryptedExtensions, and so all four."""
MAX_FLIGHT: Final = 8 * KIB
"""Octets of a flight that is borrowed, as Xray has it: a larger one does not fit into one record with its rest."""
MAX_SERVER_HELLO: Final = 4096
"""Octets of its record; with a post-quantum share it has 1,215."""
_MOST: Final = {
    ContentType.HANDSHAKE: MAX_SERVER_HELLO,
    ContentType.CHANGE_CIPHER_SPEC: len(CHANGE_CIPHER_SPEC),
    ContentType.APPLICATION_DATA: HEADER + MAX_CIPHERTEXT,
}


@attrs.frozen(kw_only=True)
class TargetFlight:
    """The target's answer to one hello."""

    server_hello: ServerHello
    records: tuple[int, ...]
    """Octets of the encrypted records, headers included: one for all four messages, or four, or four and a ticket's."""

    def __attrs_post_init__(self) -> None:
        if len(self.records) not in {1, SEPARATE, SEPARATE + 1}:
            raise TargetError(f"the target's flight has {len(self.records)} records")

    def check(self, hello: ClientHello) -> None:
        """Raises: TargetError — a node cannot give this answer to the hello in the target's stead."""
        answer = self.server_hello
        if answer.is_retry:
            raise TargetError("the target asks for another hello")
        if answer.session_id != hello.session_id:
            raise TargetError("the target does not echo the session id")
        if answer.suite not in SUITES or answer.suite not in hello.suites:
            raise TargetError(f"the target chooses cipher suite {answer.suite:#06x}")
        group = answer.group
        if group not in SERVER_SHARE or len(answer.share) != SERVER_SHARE[group]:
            raise TargetError(f"the target chooses the key exchange group {group}")
        if len(hello.shares.get(group, b"")) != CLIENT_SHARE[group]:
            raise TargetError(f"the target answers in group {group:#06x}, of which the hello has no share")


class FlightRecorder:
    """Reads along what the target sends until its flight is known.

    A ticket's length is part of it only if the ticket follows at once, as it does at targets that do not wait for the
    client's Finished.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._server_hello: ServerHello | None = None
        self._ready_for_records = False
        self._records: list[int] = []

    def feed(self, data: bytes) -> TargetFlight | None:
        """Take the target's octets as they come; returns its flight once that is known.

        Raises: TargetError — it is no flight that a node could give in the target's stead.
        """
        self._buffer += data
        while len(self._buffer) >= HEADER:
            length = HEADER + int.from_bytes(self._buffer[3:HEADER], "big")
            kind = self._expected()
            self._check_head(kind, length)
            first, last = not self._records, len(self._records) == SEPARATE
            if kind is ContentType.APPLICATION_DATA and (last or (first and length > COALESCED_ABOVE)):
                # The length is all that counts: the rest need not arrive.
                return self._flight(length)
            if len(self._buffer) < length:
                return None
            self._take(bytes(self._buffer[:length]))
            del self._buffer[:length]
        return self._flight() if len(self._records) == SEPARATE and not self._buffer else None

    def _expected(self) -> ContentType:
        if self._server_hello is None:
            return ContentType.HANDSHAKE
        return ContentType.APPLICATION_DATA if self._ready_for_records else ContentType.CHANGE_CIPHER_SPEC

    def _check_head(self, kind: ContentType, length: int) -> None:
        if self._buffer[0] != kind or self._buffer[1:3] != b"\3\3":
            raise TargetError(f"the target sent {bytes(self._buffer[:3]).hex()} where {kind.name.lower()} has to come")
        if length > _MOST[kind]:
            raise TargetError(f"the target's {kind.name.lower()} record of {length} octets is too long")

    def _flight(self, *more: int) -> TargetFlight:
        assert self._server_hello is not None, "it comes before the records"
        return TargetFlight(server_hello=self._server_hello, records=(*self._records, *more))

    def _take(self, record: bytes) -> None:
        if self._server_hello is None:
            self._server_hello = _only_message(record[HEADER:])
        elif not self._ready_for_records:
            if record != CHANGE_CIPHER_SPEC:
                raise TargetError("the target sent no change_cipher_spec behind its ServerHello")
            self._ready_for_records = True
        else:
            self._records.append(len(record))


def check_room(index: int, *, needed: int, given: int) -> None:
    """Raises: TargetError — a message of ours does not fit into the target's record."""
    if given < needed + OVERHEAD:
        raise TargetError(f"record {index} of the target has {given} octets, and ours needs {needed + OVERHEAD}")


def _only_message(fragment: bytes) -> ServerHello:
    messages = MessageBuffer(max_message=MAX_SERVER_HELLO)
    try:
        messages.feed(fragment)
        message = messages.next_message()
        if message is None or messages or message[0] != SERVER_HELLO:
            raise TargetError("the target's first record is not its ServerHello, whole and alone")
        hello = read_server_hello(message)
    except TlsError as error:
        raise TargetError(f"the target's answer: {error}") from None
    if hello.is_retry:
        raise TargetError("the target asks for another hello")
    return hello
