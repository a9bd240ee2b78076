"""What a TLS connection is made of, as fuzz targets: records, handshake messages, certificates."""

from __future__ import annotations

from pharos.wire.reality import der
from pharos.wire.reality.certificate import verify_certificate, verify_signature
from pharos.wire.reality.codec import vector
from pharos.wire.reality.der import DerReader, element
from pharos.wire.reality.errors import RealCertificateError, TlsError
from pharos.wire.reality.extensions import Extension, write_extensions
from pharos.wire.reality.messages import (
    HEAD,
    HandshakeType,
    MessageBuffer,
    read_certificate,
    read_certificate_verify,
    read_encrypted_extensions,
    read_key_update,
    write_certificate,
    write_certificate_verify,
    write_message,
)
from pharos.wire.reality.records import (
    CHANGE_CIPHER_SPEC,
    MAX_PLAINTEXT,
    MAX_SEALED,
    OVERHEAD,
    ContentType,
    RecordReader,
    RecordWriter,
    TrafficKey,
)
from pharos.wire.reality.suites import SUITES
from tests.fuzz.proxies import halves
from tests.support.reality import PQ_SIGNER, SIGNER

AUTH_KEY = b"a" * 32
MAX_BUFFERED = 8192
MOST_PART = 600
"""Octets of a content, so that a short input has several."""


def records(data: bytes) -> None:
    """Records are refused or opened, the same in any pieces and in bulk, and what is left is given back as it came.

    The first byte says whether there is a key, and how long the pieces are.
    """
    if not data:
        return
    step = 1 + (data[0] >> 1)
    sealed = bool(data[0] & 1)
    whole, pieces = (opened(data[1:], sealed=sealed, step=size) for size in (len(data), step))
    assert whole == pieces
    bulk = opened(data[1:], sealed=sealed, step=len(data), bulk=True)
    assert (joined(bulk[0]), *bulk[1:]) == (joined(whole[0]), *whole[1:])


def joined(records: list[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
    """Return records with each run of data in one, and none that is empty."""
    found: list[tuple[int, bytes]] = []
    for kind, content in records:
        if found and kind == found[-1][0] == ContentType.APPLICATION_DATA:
            found[-1] = (kind, found[-1][1] + content)
        else:
            found.append((kind, content))
    return found


def opened(
    data: bytes, *, sealed: bool, step: int, bulk: bool = False
) -> tuple[list[tuple[int, bytes]], int | None, bytes]:
    """Return the records in it, the alert of what ends them, and what is left behind them."""
    reader = RecordReader()
    if sealed:
        reader.key = TrafficKey(SUITES[0x1301], b"s" * 32)
    found: list[tuple[int, bytes]] = []
    for start in range(0, len(data), step):
        reader.feed(data[start : start + step])
        assert reader.buffered <= start + step
        try:
            while True:
                if bulk and (contents := reader.open_data()):
                    found.append((ContentType.APPLICATION_DATA, bytes(contents)))
                if (record := reader.next_record()) is None:
                    break
                assert len(record[1]) <= MAX_PLAINTEXT
                found.append((record[0], bytes(record[1])))
        except TlsError as error:
            return found, error.alert, b""
    return found, None, reader.take_rest()


def sealed_records(data: bytes) -> None:
    """Whatever is sealed comes out as it went in; its record is as long as was asked for.

    Before each content stand a byte of its type and suite, and two of the record's length.
    """
    if not data:
        return
    suite = tuple(SUITES.values())[data[0] % len(SUITES)]
    writer, reader = RecordWriter(), RecordReader()
    writer.key, reader.key = (TrafficKey(suite, bytes(suite.hash_length)) for _ in range(2))
    for kind, size, content in parts(data):
        fits = len(content) + OVERHEAD <= size <= MAX_SEALED
        record = writer.sealed(ContentType(20 + kind % 4), content, size=size if fits else 0)
        assert len(record) == (size if fits else len(content) + OVERHEAD)
        reader.feed(record + writer.application_data(content))
        assert [reader.next_record() for _ in range(3)] == [(20 + kind % 4, content), (23, content), None]


def parts(data: bytes) -> list[tuple[int, int, bytes]]:
    """Cut data into contents of up to `MOST_PART` octets, each behind a byte and two of a size."""
    found = []
    while len(data) > 3:
        kind, size = data[0], int.from_bytes(data[1:3], "big")
        end = 4 + size % MOST_PART
        found.append((kind, size, data[3:end]))
        data = data[end:]
    return found


def part(kind: int, content: bytes) -> bytes:
    """Write a content as `parts` cuts it."""
    return bytes((kind,)) + (len(content) - 1).to_bytes(2, "big") + content


def handshake_messages(data: bytes) -> None:
    """Messages are cut alike from any fragments, and each is refused or survives its writing."""
    buffers = MessageBuffer(max_message=MAX_BUFFERED), MessageBuffer(max_message=MAX_BUFFERED)
    whole, pieces = cut(buffers[0], (data,)), cut(buffers[1], halves(data))
    assert whole == pieces
    for message in whole:
        body = message[HEAD:]
        assert message == bytes((message[0],)) + vector(3, body)
        try:
            match message[0]:
                case HandshakeType.ENCRYPTED_EXTENSIONS:
                    assert vector(2, write_extensions(read_encrypted_extensions(message))) == body
                case HandshakeType.CERTIFICATE:
                    certificate = read_certificate(message)
                    assert read_certificate(write_certificate(certificate)) == certificate
                case HandshakeType.CERTIFICATE_VERIFY:
                    assert write_certificate_verify(read_certificate_verify(message)) == message
                case HandshakeType.KEY_UPDATE:
                    assert write_message(HandshakeType.KEY_UPDATE, bytes((read_key_update(message),))) == message
        except TlsError:
            continue


def cut(buffer: MessageBuffer, fragments: tuple[bytes, ...]) -> list[bytes]:
    """Return the messages before the first that is too long."""
    found = []
    for fragment in filter(None, fragments):
        buffer.feed(fragment)
        try:
            while (message := buffer.next_message()) is not None:
                found.append(message)
        except TlsError:
            break
    return found


def certificate(data: bytes) -> None:
    """A certificate is a real one, or the node's: its key and its mark were not touched. DER has one spelling."""
    for signer in (SIGNER, PQ_SIGNER):
        try:
            public = verify_certificate(
                data, AUTH_KEY, mldsa65_key=signer.mldsa65_key, client_hello=b"c", server_hello=b"s"
            )
        except RealCertificateError:
            continue
        assert public == signer.public
        try:
            verify_signature(public, data[-64:], b"h" * 32)
        except TlsError:
            continue
        raise AssertionError("a mark is taken for a signature")
    try:
        content = DerReader(data).take(der.SEQUENCE)
    except TlsError:
        return
    assert data.startswith(element(der.SEQUENCE, content))


def record_streams() -> tuple[bytes, ...]:
    """Return sealed and plain records, as `records` reads them."""
    writer = RecordWriter()
    plain = writer.plain(ContentType.HANDSHAKE, b"message") + CHANGE_CIPHER_SPEC + b"\x15\3\3\0\2\2\x28"
    writer.key = TrafficKey(SUITES[0x1301], b"s" * 32)
    sealed = [
        writer.sealed(kind, b"content", size=size)
        for kind, size in ((ContentType.HANDSHAKE, 60), (ContentType.ALERT, 0))
    ]
    stream = CHANGE_CIPHER_SPEC + b"".join(sealed) + writer.application_data(b"data" * 9)
    large = b"".join(bytes(writer.application_data(bytes([number]) * 1200)) for number in range(20))
    return (b"\1" + stream + large, b"\0" + plain, b"\x10" + plain, b"\1" + stream, b"\x0b" + stream)


def messages() -> tuple[bytes, ...]:
    made = SIGNER.certificate(AUTH_KEY, client_hello=b"c", server_hello=b"s")
    chosen = vector(2, write_extensions({Extension.ALPN: b"\0\3\2h2"}))
    written = (
        write_message(HandshakeType.ENCRYPTED_EXTENSIONS, chosen),
        write_certificate(made),
        write_certificate_verify(SIGNER.sign(b"h" * 32)),
        write_message(HandshakeType.KEY_UPDATE, b"\1"),
    )
    return (b"".join(written), *written)


def certificates() -> tuple[bytes, ...]:
    return tuple(signer.certificate(AUTH_KEY, client_hello=b"c", server_hello=b"s") for signer in (SIGNER, PQ_SIGNER))
