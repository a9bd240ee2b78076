"""A node's end of REALITY, for one hello that was let in: its target's handshake, as far as anybody can see.

It sends the target's ServerHello with another key share and nothing else changed, and its own four messages in records
that are as long as the target's.
"""

import hmac
from typing import Final

from pharos.wire.reality.auth import Admitted
from pharos.wire.reality.certificate import NodeSigner
from pharos.wire.reality.connection import Connection, HandshakeCompleted, State
from pharos.wire.reality.draws import Random
from pharos.wire.reality.errors import Alert, TargetError, TlsError
from pharos.wire.reality.flight import TargetFlight, check_room
from pharos.wire.reality.groups import answer_share
from pharos.wire.reality.hello import ClientHello
from pharos.wire.reality.messages import (
    HEAD,
    HandshakeType,
    write_certificate,
    write_certificate_verify,
    write_message,
)
from pharos.wire.reality.records import (
    CHANGE_CIPHER_SPEC,
    MAX_SEALED,
    MAX_USELESS,
    OVERHEAD,
    ContentType,
    TrafficKey,
)
from pharos.wire.reality.suites import SUITES
from pharos.wire.reality.tls13 import KeySchedule, Transcript, finished_mac

_MAX_CLIENT_MESSAGE: Final = HEAD + 48
"""A Finished with SHA-384; of the rest, a client of ours sends KeyUpdates."""
_NO_EXTENSIONS: Final = write_message(HandshakeType.ENCRYPTED_EXTENSIONS, b"\0\0")


class ServerConnection(Connection):
    """One connection of a device; the output holds the server's flight from the start.

    ``post_handshake``: octets of the records that the target sends behind a client's Finished; as many are sent that
    carry nothing. ``max_useless``: how many change_cipher_spec and other empty records the target bears in a row.

    Raises: TargetError — this flight cannot be borrowed: the connection has to be passed on instead.
    """

    def __init__(
        self,
        hello: ClientHello,
        admitted: Admitted,
        flight: TargetFlight,
        signer: NodeSigner,
        *,
        random: Random,
        post_handshake: tuple[int, ...] = (),
        max_useless: int = MAX_USELESS,
    ) -> None:
        super().__init__(state=State.WAIT_FINISHED, max_useless=max_useless, max_message=_MAX_CLIENT_MESSAGE)
        flight.check(hello)
        for size in post_handshake:
            if not OVERHEAD <= size <= MAX_SEALED:
                raise TargetError(f"no record behind the handshake has {size} octets")
        answer = flight.server_hello
        group, suite = answer.group or 0, SUITES[answer.suite]
        try:
            share, secret = answer_share(group, hello.shares[group], random)
        except TlsError as error:
            raise TargetError(f"the hello cannot be answered: {error}") from None
        server_hello = answer.with_share(share)
        transcript = Transcript(suite)
        transcript.add(hello.raw)
        transcript.add(server_hello)
        schedule = KeySchedule(suite, secret)
        secrets = schedule.handshake_secrets(transcript.digest())
        self._output += [self._writer.plain(ContentType.HANDSHAKE, server_hello), CHANGE_CIPHER_SPEC]
        self._writer.key = TrafficKey(suite, secrets.server)
        self._reader.key = TrafficKey(suite, secrets.client)

        certificate = signer.certificate(admitted.auth_key, client_hello=hello.raw, server_hello=server_hello)
        messages = [_NO_EXTENSIONS, write_certificate(certificate)]
        for message in messages:
            transcript.add(message)
        messages.append(write_certificate_verify(signer.sign(transcript.digest())))
        transcript.add(messages[-1])
        verify_data = finished_mac(suite, secrets.server, transcript.digest())
        messages.append(write_message(HandshakeType.FINISHED, verify_data))
        transcript.add(messages[-1])
        self._put_flight(messages, flight.records)

        application = schedule.application_secrets(transcript.digest())
        self._writer.key = TrafficKey(suite, application.server)
        # Where the target's ticket would be stands a record of the same length that carries nothing.
        for size in flight.records[len(messages) :]:
            check_room(len(messages), needed=0, given=size)
            self._put(ContentType.APPLICATION_DATA, b"", size=size)
        self._application_key = TrafficKey(suite, application.client)
        self._expected = finished_mac(suite, secrets.client, transcript.digest())
        self._post_handshake = post_handshake
        self._completed = HandshakeCompleted(suite=suite.code, group=group)

    def _put_flight(self, messages: list[bytes], records: tuple[int, ...]) -> None:
        contents = [b"".join(messages)] if len(records) == 1 else messages
        for index, (content, size) in enumerate(zip(contents, records, strict=False)):
            check_room(index, needed=len(content), given=size)
            self._put(ContentType.HANDSHAKE, content, size=size)

    def _take_message(self, message: bytes) -> None:
        if self._state is not State.WAIT_FINISHED or message[0] != HandshakeType.FINISHED:
            super()._take_message(message)
            return
        if not hmac.compare_digest(self._expected, message[HEAD:]):
            raise TlsError(Alert.DECRYPT_ERROR, "the client's Finished does not fit the handshake")
        self._check_key_change()
        self._reader.key = self._application_key
        self._reader.tolerates_change_cipher_spec = False
        self._reader.count_useful()
        self._state = State.CONNECTED
        for size in self._post_handshake:
            self._put(ContentType.APPLICATION_DATA, b"", size=size)
        self._events.append(self._completed)
