"""A device's end of REALITY: TLS 1.3 with a marked hello, which believes in one certificate only (RFC 8446 §2)."""

import hmac
from typing import Final

import attrs

from pharos.wire.reality.auth import KEY_LENGTH, Mark, Version, seal_offer
from pharos.wire.reality.certificate import verify_certificate, verify_signature
from pharos.wire.reality.connection import Connection, HandshakeCompleted, State
from pharos.wire.reality.draws import Random
from pharos.wire.reality.errors import Alert, RealCertificateError, TlsError
from pharos.wire.reality.messages import (
    HEAD,
    HandshakeType,
    read_certificate,
    read_certificate_verify,
    read_encrypted_extensions,
    write_message,
)
from pharos.wire.reality.offer import make_offer
from pharos.wire.reality.parrots import CHROME, Parrot
from pharos.wire.reality.records import CHANGE_CIPHER_SPEC, ContentType, TrafficKey
from pharos.wire.reality.serverhello import ServerHello, read_server_hello
from pharos.wire.reality.suites import SUITES, Suite
from pharos.wire.reality.tls13 import KeySchedule, TrafficSecrets, Transcript, finished_mac

CLIENT_VERSION: Final[Version] = (26, 3, 27)
"""What Xray's nodes ask for from v26.7.11 on, if they are not told otherwise."""

# What is missing is an error of the server's. A HelloRetryRequest leaves the first state as it is, once.
TRANSITIONS: Final[dict[tuple[State, HandshakeType], State]] = {
    (State.WAIT_SERVER_HELLO, HandshakeType.SERVER_HELLO): State.WAIT_ENCRYPTED_EXTENSIONS,
    (State.WAIT_ENCRYPTED_EXTENSIONS, HandshakeType.ENCRYPTED_EXTENSIONS): State.WAIT_CERTIFICATE,
    (State.WAIT_CERTIFICATE, HandshakeType.CERTIFICATE): State.WAIT_CERTIFICATE_VERIFY,
    (State.WAIT_CERTIFICATE_VERIFY, HandshakeType.CERTIFICATE_VERIFY): State.WAIT_FINISHED,
    (State.WAIT_FINISHED, HandshakeType.FINISHED): State.CONNECTED,
    (State.CONNECTED, HandshakeType.NEW_SESSION_TICKET): State.CONNECTED,
}
_NOT_A_NODES: Final = frozenset({HandshakeType.COMPRESSED_CERTIFICATE, HandshakeType.CERTIFICATE_REQUEST})
"""In the place of the certificate: a real site may send them, a node never does."""


@attrs.frozen(kw_only=True)
class ClientSettings:
    """What a device knows of its node."""

    server_name: str
    public_key: bytes
    """The node's, X25519."""
    short_id: bytes
    """Eight octets, zeros behind a shorter one."""
    parrot: Parrot = CHROME
    post_quantum: bool = True
    """Whether the hello offers X25519MLKEM768, as browsers do. Xray's nodes before May 2025 fail at it."""
    version: Version = CLIENT_VERSION
    mldsa65_key: bytes | None = attrs.field(default=None, repr=False)
    """The node's ML-DSA-65 key: then only a certificate that it signed is believed."""

    def __attrs_post_init__(self) -> None:
        assert len(self.public_key) == KEY_LENGTH, "parameters were checked where they came in"


class ClientConnection(Connection):
    """One connection to a node; the output holds the hello from the start. ``now``: Unix seconds.

    Raises: LocalProtocolError — the node's key is no X25519 key, or the short id has not eight octets.
    """

    def __init__(self, settings: ClientSettings, *, now: float, random: Random) -> None:
        super().__init__(state=State.WAIT_SERVER_HELLO)
        self._settings = settings
        self._random = random
        offer = make_offer(
            settings.parrot, server_name=settings.server_name, random=random, post_quantum=settings.post_quantum
        )
        mark = Mark(version=settings.version, time=int(now), short_id=settings.short_id)
        self._offer, self._auth_key = seal_offer(offer, public_key=settings.public_key, mark=mark)
        self._hello = self._offer.message
        self._retry: ServerHello | None = None
        self._server_hello: ServerHello | None = None
        self._transcript: Transcript | None = None
        self._secrets: TrafficSecrets | None = None
        self._schedule: KeySchedule | None = None
        self._server_key = b""
        self._output.append(self._writer.plain(ContentType.HANDSHAKE, self._hello, version=0x0301))

    def _take_message(self, message: bytes) -> None:
        kind = message[0]
        if self._state is State.WAIT_CERTIFICATE and kind in _NOT_A_NODES:
            raise RealCertificateError(f"the server sent {HandshakeType(kind).name.lower()}, which no node does")
        known = kind in set(HandshakeType)
        if not known or (following := TRANSITIONS.get((self._state, HandshakeType(kind)))) is None:
            super()._take_message(message)
            return
        match kind:
            case HandshakeType.SERVER_HELLO:
                self._take_server_hello(message)
                if self._server_hello is None:
                    return
            case HandshakeType.ENCRYPTED_EXTENSIONS:
                self._take_encrypted_extensions(message)
            case HandshakeType.CERTIFICATE:
                self._take_certificate(message)
            case HandshakeType.CERTIFICATE_VERIFY:
                verify_signature(self._server_key, read_certificate_verify(message), self._running.digest())
                self._running.add(message)
            case HandshakeType.FINISHED:
                self._take_finished(message)
            case _:
                # A ticket: it leads to a session that REALITY has no use for.
                self._reader.count_useless()
        self._state = following

    def _take_server_hello(self, message: bytes) -> None:
        hello = read_server_hello(message)
        self._check_key_change()
        suite = self._chosen_suite(hello)
        if hello.is_retry:
            self._take_retry(hello, suite)
            return
        # Behind a retry the offer has a share of the group that was asked for, and no other.
        share = self._offer.shares.get(hello.group or 0)
        if share is None:
            raise TlsError(Alert.ILLEGAL_PARAMETER, f"the ServerHello answers in group {hello.group}, unasked")
        secret = share.exchange(hello.share)
        transcript = self._transcript or self._begin(suite)
        transcript.add(message)
        self._transcript = transcript
        self._schedule = KeySchedule(suite, secret)
        self._secrets = self._schedule.handshake_secrets(transcript.digest())
        self._reader.key = TrafficKey(suite, self._secrets.server)
        self._writer.key = TrafficKey(suite, self._secrets.client)
        self._server_hello = hello

    def _take_retry(self, retry: ServerHello, suite: Suite) -> None:
        """Only a real site, or somebody between, asks for another hello: a node's target was not made to."""
        if self._retry is not None:
            raise TlsError(Alert.UNEXPECTED_MESSAGE, "a second HelloRetryRequest")
        self._retry = retry
        self._offer = self._offer.again(group=retry.group, cookie=retry.cookie, random=self._random)
        transcript = self._begin(suite)
        transcript.replace_by_hash()
        transcript.add(retry.raw)
        self._hello = self._offer.message
        transcript.add(self._hello)
        self._transcript = transcript
        self._output += [CHANGE_CIPHER_SPEC, self._writer.plain(ContentType.HANDSHAKE, self._hello)]

    def _chosen_suite(self, hello: ServerHello) -> Suite:
        if hello.session_id != self._offer.session_id:
            raise TlsError(Alert.ILLEGAL_PARAMETER, "the ServerHello does not echo our session id")
        suite = SUITES.get(hello.suite) if hello.suite in self._offer.suites else None
        if suite is None or (self._retry is not None and self._retry.suite != hello.suite):
            raise TlsError(Alert.ILLEGAL_PARAMETER, f"the ServerHello chooses suite {hello.suite:#06x}, unasked")
        return suite

    def _begin(self, suite: Suite) -> Transcript:
        transcript = Transcript(suite)
        transcript.add(self._hello)
        return transcript

    def _take_encrypted_extensions(self, message: bytes) -> None:
        for code in read_encrypted_extensions(message):
            if code not in self._offer.extensions:
                raise TlsError(Alert.UNSUPPORTED_EXTENSION, f"the server answers extension {code}, unasked")
        self._running.add(message)

    def _take_certificate(self, message: bytes) -> None:
        assert self._server_hello is not None, "the state says so"
        self._server_key = verify_certificate(
            read_certificate(message),
            self._auth_key,
            mldsa65_key=self._settings.mldsa65_key,
            client_hello=self._hello,
            server_hello=self._server_hello.raw,
        )
        self._running.add(message)

    def _take_finished(self, message: bytes) -> None:
        assert self._secrets is not None, "the state says so"
        assert self._schedule is not None, "the state says so"
        assert self._server_hello is not None, "the state says so"
        suite, transcript = SUITES[self._server_hello.suite], self._running
        expected = finished_mac(suite, self._secrets.server, transcript.digest())
        if not hmac.compare_digest(expected, message[HEAD:]):
            raise TlsError(Alert.DECRYPT_ERROR, "the server's Finished does not fit the handshake")
        self._check_key_change()
        transcript.add(message)
        application = self._schedule.application_secrets(transcript.digest())
        verify_data = finished_mac(suite, self._secrets.client, transcript.digest())
        if self._retry is None:
            self._output.append(CHANGE_CIPHER_SPEC)
        self._put(ContentType.HANDSHAKE, write_message(HandshakeType.FINISHED, verify_data))
        self._writer.key = TrafficKey(suite, application.client)
        self._reader.key = TrafficKey(suite, application.server)
        self._reader.tolerates_change_cipher_spec = False
        self._reader.count_useful()
        self._events.append(HandshakeCompleted(suite=suite.code, group=self._server_hello.group or 0))
        # No secret of the handshake is needed any more.
        self._secrets = self._schedule = None

    @property
    def _running(self) -> Transcript:
        assert self._transcript is not None, "the state says so"
        return self._transcript
