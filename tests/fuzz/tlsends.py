"""REALITY's two ends against a peer that knows the handshake's keys and says anything at all, as fuzz targets."""

from __future__ import annotations

import functools
from typing import Any

import attrs

from pharos.wire.errors import RemoteProtocolError
from pharos.wire.reality.client import ClientConnection
from pharos.wire.reality.connection import Connection, DataReceived, Event, HandshakeCompleted
from pharos.wire.reality.errors import RealCertificateError
from pharos.wire.reality.groups import X25519, answer_share
from pharos.wire.reality.learning import _Visitor
from pharos.wire.reality.messages import HandshakeType, write_certificate, write_certificate_verify, write_message
from pharos.wire.reality.records import (
    CHANGE_CIPHER_SPEC,
    MAX_SEALED,
    OVERHEAD,
    ContentType,
    RecordWriter,
    TrafficKey,
)
from pharos.wire.reality.suites import SUITES
from pharos.wire.reality.tls13 import KeySchedule, TrafficSecrets, Transcript, finished_mac
from tests.fuzz.proxies import halves
from tests.fuzz.tlshellos import answers, device_hello, server_hellos
from tests.fuzz.tlsrecords import MOST_PART, part, parts
from tests.support import reality
from tests.support.reality import NOW, PQ_SIGNER, gate, seeded

SUITE = SUITES[0x1301]
RAW, IN_CLEAR, SEALED, CONNECTED = range(4)
"""How what is said comes; a node is told nothing in the clear."""
KEY_UPDATES = tuple(write_message(HandshakeType.KEY_UPDATE, bytes((wanted,))) for wanted in (0, 1))
MOST_OUTPUT = 4000
"""Octets that an end may answer by: a second hello is the longest."""


def device(data: bytes) -> None:
    """A device waits, or ends with an error of the house, and believes nothing but its node's own handshake.

    The first byte says who it is (a device, one that asks for ML-DSA-65, a node that visits its target) and how the
    rest comes: as it is, as messages in the clear, or sealed in parts of any type, under the handshake's keys or behind
    its node's own handshake.
    """
    if not data:
        return
    way, rest = data[0] >> 2 & 3, data[1:]
    connection = new_device(data[0])
    writer, messages = RecordWriter(), b""
    if way == RAW:
        octets = rest
    elif way == IN_CLEAR:
        octets = writer.plain(ContentType.HANDSHAKE, rest)
    else:
        writer.key = TrafficKey(SUITE, handshake().secrets.server)
        octets = handshake().in_clear
        if way == CONNECTED:
            octets += b"".join(writer.sealed(ContentType.HANDSHAKE, message) for message in handshake().messages)
            writer.key = TrafficKey(SUITE, handshake().application.server)
        octets += b"".join(seal(writer, *one) for one in parts(rest))
        messages = b"".join(content for kind, _, content in parts(rest) if kind_of(kind) is ContentType.HANDSHAKE)
    outcome = what_becomes_of(connection, octets)
    if way == CONNECTED:
        assert type(outcome.events[0]) is HandshakeCompleted
        assert sent_in(rest).startswith(received_in(outcome.events))
    elif not isinstance(connection, _Visitor) and HandshakeCompleted in map(type, outcome.events):
        assert messages.startswith(b"".join(handshake().messages)), "it believed somebody else"
    if isinstance(outcome.error, RealCertificateError):
        assert not outcome.output


def node(data: bytes) -> None:
    """A node waits, or ends with an error of the house, whatever its device says before the Finished or after.

    The first byte says how the rest comes: as it is, sealed under the handshake's keys, or under those behind it.
    """
    if not data:
        return
    way, rest = data[0] & 3, data[1:]
    pair = reality.ends(group=X25519, post_handshake=(255,))
    reality.deliver(pair.node, pair.client)
    writer = pair.client._writer
    if way == CONNECTED:
        reality.deliver(pair.client, pair.node)
        pair.node.take_output()
    elif pair.node._reader.key is not None:
        # What it would say itself is not said: it begins with its first key again.
        writer.key = TrafficKey(SUITE, pair.node._reader.key._secret)
    octets = rest if way == RAW else b"".join(seal(writer, *one) for one in parts(rest))
    outcome = what_becomes_of(pair.node, octets)
    if way == CONNECTED:
        assert sent_in(rest).startswith(received_in(outcome.events))
    else:
        assert not outcome.events, "it believed who sent no Finished"


@attrs.frozen(kw_only=True)
class Outcome:
    events: list[Event]
    error: Exception | None
    output: bytes | bytearray


def what_becomes_of(connection: Connection, octets: bytes) -> Outcome:
    """Let an end receive octets in two pieces."""
    events: list[Event] = []
    error: Exception | None = None
    try:
        for piece in halves(octets):
            connection.receive(piece)
            while (event := connection.next_event()) is not None:
                events.append(event)
    except (RemoteProtocolError, RealCertificateError) as caught:
        error = caught
    assert connection.buffered <= len(octets)
    output = connection.take_output()
    assert len(output) < MOST_OUTPUT
    return Outcome(events=events, error=error, output=output)


def seal(writer: RecordWriter, kind: int, size: int, content: bytes) -> bytes:
    """Seal a part, and go on with the next key behind a KeyUpdate."""
    record = writer.sealed(kind_of(kind), content, size=size if len(content) + OVERHEAD <= size <= MAX_SEALED else 0)
    if content in KEY_UPDATES and kind_of(kind) is ContentType.HANDSHAKE:
        assert writer.key is not None
        writer.key = writer.key.following()
    return record


def sent_in(data: bytes) -> bytes:
    """Return the application data in what `parts` cuts."""
    return b"".join(content for kind, _, content in parts(data) if kind_of(kind) is ContentType.APPLICATION_DATA)


def received_in(events: list[Event]) -> bytes:
    return b"".join(event.data for event in events if isinstance(event, DataReceived))


def kind_of(number: int) -> ContentType:
    return ContentType(20 + number % 4)


def new_device(scene: int) -> ClientConnection:
    """Return one that has sent the hello of `device_hello`, whoever it is."""
    changes: dict[str, Any] = {"mldsa65_key": PQ_SIGNER.mldsa65_key} if scene & 1 else {}
    kind = _Visitor if scene & 2 else ClientConnection
    made = kind(reality.settings(**changes), now=NOW, random=seeded())
    assert reality.hello_in(made.take_output()) == device_hello()
    return made


@attrs.frozen(kw_only=True)
class Handshake:
    """The node's side of the device's handshake."""

    in_clear: bytes
    """Records up to the change_cipher_spec."""
    secrets: TrafficSecrets
    application: TrafficSecrets
    messages: tuple[bytes, ...]
    """EncryptedExtensions, Certificate, CertificateVerify, Finished."""


@functools.cache
def handshake() -> Handshake:
    hello = device_hello()
    admitted = gate().judge(hello, now=NOW)
    share, secret = answer_share(X25519, hello.shares[X25519], seeded(1))
    answer = reality.target_flight(hello, group=X25519).server_hello.with_share(share)
    transcript, schedule = Transcript(SUITE), KeySchedule(SUITE, secret)
    transcript.add(hello.raw)
    transcript.add(answer)
    secrets = schedule.handshake_secrets(transcript.digest())
    made = PQ_SIGNER.certificate(admitted.auth_key, client_hello=hello.raw, server_hello=answer)  # type: ignore[union-attr]
    messages = [write_message(HandshakeType.ENCRYPTED_EXTENSIONS, b"\0\0"), write_certificate(made)]
    for message in messages:
        transcript.add(message)
    messages.append(write_certificate_verify(PQ_SIGNER.sign(transcript.digest())))
    transcript.add(messages[-1])
    mac = finished_mac(SUITE, secrets.server, transcript.digest())
    messages.append(write_message(HandshakeType.FINISHED, mac))
    transcript.add(messages[-1])
    application = schedule.application_secrets(transcript.digest())
    in_clear = RecordWriter().plain(ContentType.HANDSHAKE, answer) + CHANGE_CIPHER_SPEC
    return Handshake(in_clear=in_clear, secrets=secrets, application=application, messages=tuple(messages))


def to_devices() -> tuple[bytes, ...]:
    """Return what `device` is sent: answers of sites and of its own node."""
    sealed = b"".join(in_parts(ContentType.HANDSHAKE, message) for message in handshake().messages)
    ticket = write_message(HandshakeType.NEW_SESSION_TICKET, b"ticket")
    talk = part(2, ticket) + part(3, b"data") + part(2, KEY_UPDATES[1]) + part(3, b"more") + part(1, b"\1\0")
    request = part(2, write_message(HandshakeType.CERTIFICATE_REQUEST, b"\0\0\0"))
    said = [(RAW, answer) for answer in answers()] + [(IN_CLEAR, hello) for hello in server_hellos()]
    said += [(SEALED, sealed), (SEALED, request), (CONNECTED, talk)]
    return tuple(bytes((scene | way << 2,)) + octets for scene in range(3) for way, octets in said)


def to_nodes() -> tuple[bytes, ...]:
    """Return what `node` is sent: data, updates of keys, an end, and a Finished that fits another handshake."""
    talk = (
        part(3, b"data" * 9) + part(2, KEY_UPDATES[0]) + part(3, b"more") + part(2, KEY_UPDATES[1]) + part(1, b"\1\0")
    )
    finished = part(2, write_message(HandshakeType.FINISHED, bytes(SUITE.hash_length)))
    raw = CHANGE_CIPHER_SPEC + b"\x17\3\3\0\x35" + bytes(0x35) + b"\x15\3\3\0\2\2\x28"
    return (bytes((RAW,)) + raw, bytes((SEALED,)) + finished, bytes((CONNECTED,)) + talk)


def in_parts(kind: ContentType, content: bytes) -> bytes:
    """Write a long content as `parts` cuts it."""
    return b"".join(part(kind - 20, content[start : start + MOST_PART]) for start in range(0, len(content), MOST_PART))
