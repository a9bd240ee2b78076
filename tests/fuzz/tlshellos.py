"""Hellos of strangers and answers of targets, as fuzz targets."""

from __future__ import annotations

import functools

from pharos.wire.reality.arrival import HelloReader
from pharos.wire.reality.auth import Admitted, Refusal
from pharos.wire.reality.client import ClientConnection
from pharos.wire.reality.codec import pack, vector
from pharos.wire.reality.draws import Random
from pharos.wire.reality.errors import TargetError, TlsError
from pharos.wire.reality.extensions import Extension, write_extensions
from pharos.wire.reality.flight import FlightRecorder
from pharos.wire.reality.groups import GROUPS, X25519
from pharos.wire.reality.hello import ClientHello, read_client_hello, write_client_hello
from pharos.wire.reality.offer import make_offer
from pharos.wire.reality.parrots import PARROTS
from pharos.wire.reality.records import (
    CHANGE_CIPHER_SPEC,
    HEADER,
    MAX_CIPHERTEXT,
    ContentType,
    RecordWriter,
)
from pharos.wire.reality.server import ServerConnection
from pharos.wire.reality.serverhello import RETRY_RANDOM, read_server_hello, write_server_hello
from pharos.wire.reality.suites import SUITES
from pharos.wire.reality.targetanswer import AnswerReader
from tests.fuzz.proxies import halves
from tests.support import reality
from tests.support.reality import FOUR, FOUR_AND_TICKET, NAME, NOW, ONE, SIGNER, gate, seeded

HELLO_RANDOM = slice(6, 38)
"""Where the random value stands in both hellos: behind type, length and version."""
MAX_FLIGHT = 8192


def client_hello(data: bytes) -> None:
    """A hello is refused or is all that its message says; only the device's own, untouched, opens the gate."""
    reader, found = HelloReader(), None
    try:
        for piece in halves(data):
            found = found or reader.feed(piece)
    except TlsError:
        return
    if found is None:
        return
    written = write_client_hello(
        random=found.random,
        session_id=found.session_id,
        suites=found.suites,
        extensions=write_extensions(found.extensions),
    )
    assert written == found.raw
    assert data[HEADER:].startswith(found.raw)
    assert data.endswith(reader.take_rest())
    verdict = gate().judge(found, now=NOW)
    assert isinstance(verdict, Refusal | Admitted)
    assert isinstance(verdict, Admitted) == (found == device_hello())


def server_hello(data: bytes) -> None:
    """A ServerHello is refused or is all that its message says, and another share changes nothing else in it."""
    try:
        found = read_server_hello(data)
    except TlsError:
        return
    written = write_server_hello(
        random=data[HELLO_RANDOM],
        session_id=found.session_id,
        suite=found.suite,
        extensions=write_extensions(found.extensions),
    )
    assert written == data
    if not found.is_retry:
        assert found.with_share(found.share) == data
        other = bytes(octet ^ 0xFF for octet in found.share)
        again = read_server_hello(found.with_share(other))
        assert (again.share, again.with_share(found.share)) == (other, data)


def offer(data: bytes) -> None:
    """Whatever is drawn, a hello of ours reads as what it offers; so does the one behind a HelloRetryRequest.

    The first byte says whose look it has, the next two and what follows them what is asked for, and all are the draws.
    """
    if len(data) < 3:
        return
    parrot = tuple(PARROTS.values())[data[0] % len(PARROTS)]
    made = make_offer(parrot, server_name=NAME, random=drawn_from(data), post_quantum=bool(data[0] & 0x80))
    assert made.x25519.public in made.message
    cookie = vector(2, data[3:]) if len(data) > 3 else None
    group = int.from_bytes(data[1:3], "big") or None
    hellos = [made]
    try:
        hellos.append(made.again(group=group, cookie=cookie, random=drawn_from(data)))
    except TlsError:
        assert group is None or group not in made.groups or group in made.shares or group not in GROUPS
    for hello in hellos:
        read = read_client_hello(hello.message)
        assert (read.extensions, read.suites, read.groups) == (hello.extensions, hello.suites, hello.groups)
        assert {group: read.shares[group] for group in hello.shares} == {
            group: share.public for group, share in hello.shares.items()
        }


def flight(data: bytes) -> None:
    """A target's answer is waited for, refused, or borrowed in its shape; the first byte says in what pieces."""
    if not data:
        return
    recorder, found = FlightRecorder(), None
    step = 1 + data[0] * 8
    try:
        for start in range(1, len(data), step):
            if (found := recorder.feed(data[start : start + step])) is not None:
                break
            assert len(recorder._buffer) <= HEADER + MAX_CIPHERTEXT
        if found is None or sum(found.records) > MAX_FLIGHT:
            return
        hello = device_hello()
        admitted = gate().judge(hello, now=NOW)
        assert isinstance(admitted, Admitted)
        node = ServerConnection(hello, admitted, found, SIGNER, random=seeded())
    except TargetError:
        return
    first, second, *encrypted = reality.records_of(node.take_output())
    assert len(first) == HEADER + len(found.server_hello.raw)
    assert second == CHANGE_CIPHER_SPEC
    assert tuple(map(len, encrypted)) == found.records


def target_answer(data: bytes) -> None:
    """Whatever a site answers is a verdict in the end."""
    reader, answer = AnswerReader(device_hello(), max_flight=MAX_FLIGHT, random=seeded()), None
    for piece in halves(data):
        answer = answer or reader.feed(piece)
    answer = answer or reader.end("ends too early")
    assert answer.findings
    assert all(str(finding.text).isprintable() for finding in answer.findings)
    assert all(HEADER <= octets <= HEADER + MAX_CIPHERTEXT for octets in answer.records)


@functools.cache
def device_hello() -> ClientHello:
    """Return the one hello that the gate of these targets lets in."""
    return reality.hello_in(ClientConnection(reality.settings(), now=NOW, random=seeded()).take_output())


def drawn_from(data: bytes) -> Random:
    """Return draws that begin with the data and go on by chance, so that each draw comes to an end."""
    rest, chance = bytearray(data), seeded(len(data))

    def draw(count: int) -> bytes:
        taken = bytes(rest[:count])
        del rest[:count]
        return taken + chance(count - len(taken))

    return draw


def answer_of(suite: int, sizes: tuple[int, ...]) -> bytes:
    """Return a target's octets, up to the last of its encrypted records."""
    found = reality.target_flight(device_hello(), suite=suite, group=X25519)
    plain = RecordWriter().plain(ContentType.HANDSHAKE, found.server_hello.raw)
    encrypted = [b"\x17\3\3" + (size - HEADER).to_bytes(2, "big") + bytes(size - HEADER) for size in sizes]
    return plain + CHANGE_CIPHER_SPEC + b"".join(encrypted)


def answers() -> tuple[bytes, ...]:
    return tuple(answer_of(suite, sizes) for suite, sizes in zip(SUITES, (ONE, FOUR, FOUR_AND_TICKET), strict=True))


def hellos() -> tuple[bytes, ...]:
    """Return records of hellos: the device's, and browsers' that nobody has marked."""
    strangers = (make_offer(parrot, server_name=NAME, random=seeded(7)).message for parrot in PARROTS.values())
    return tuple(RecordWriter().plain(ContentType.HANDSHAKE, hello) for hello in (device_hello().raw, *strangers))


def server_hellos() -> tuple[bytes, ...]:
    asked: dict[int, bytes] = {
        Extension.SUPPORTED_VERSIONS: b"\3\4",
        Extension.KEY_SHARE: pack((0x17,)),
        Extension.COOKIE: b"\0\3yes",
    }
    retry = write_server_hello(
        random=RETRY_RANDOM, session_id=b"s" * 32, suite=0x1302, extensions=write_extensions(asked)
    )
    return (
        reality.target_flight(device_hello(), group=X25519).server_hello.raw,
        reality.target_flight(device_hello()).server_hello.raw,
        retry,
    )
