import contextlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pharos.wire.reality.codec import pack, vector
from pharos.wire.reality.errors import Alert, TlsError
from pharos.wire.reality.extensions import Extension, write_extensions
from pharos.wire.reality.groups import X25519
from pharos.wire.reality.hello import MAX_HELLO, SESSION_ID, read_client_hello, write_client_hello
from pharos.wire.reality.messages import (
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
from pharos.wire.reality.offer import make_offer
from pharos.wire.reality.parrots import CHROME
from pharos.wire.reality.serverhello import RETRY_RANDOM, read_server_hello, write_server_hello
from tests.support.reality import NAME, seeded, target_flight
from tests.support.strategies import quick

HELLO = make_offer(CHROME, server_name=NAME, random=seeded()).message
ANSWER = target_flight(read_client_hello(HELLO)).server_hello.raw
TLS13 = pack((0x0304,))


def client_hello(extensions: dict[int, bytes], **changes: object) -> bytes:
    fields = {"random": bytes(32), "session_id": bytes(32), "suites": (0x1301,)} | changes
    return write_client_hello(**fields, extensions=write_extensions(extensions))  # type: ignore[arg-type]


def server_hello(extensions: dict[int, bytes], *, random: bytes = bytes(32), **changes: int) -> bytes:
    return write_server_hello(
        random=random, session_id=bytes(32), suite=0x1301, extensions=write_extensions(extensions), **changes
    )


def alert_of(read: Callable[[bytes], object], message: bytes) -> Alert:
    with pytest.raises(TlsError) as caught:
        read(message)
    return caught.value.alert


def test_a_hello_says_what_was_put_into_it() -> None:
    hello = read_client_hello(HELLO)
    assert hello.raw == HELLO
    assert hello.server_name == NAME
    assert hello.session_id == HELLO[SESSION_ID] == bytes(32)
    assert 0x0304 in hello.versions
    assert 0x1301 in hello.suites
    assert hello.alpn == (b"h2", b"http/1.1")
    assert len(hello.shares[X25519]) == 32


def test_a_hello_may_leave_out_what_reality_asks_for() -> None:
    hello = read_client_hello(client_hello({}, session_id=b""))
    assert (hello.server_name, hello.versions, hello.groups, hello.shares, hello.alpn) == (None, (), (), {}, ())


@pytest.mark.parametrize(
    ("message", "alert"),
    [
        (b"", Alert.DECODE_ERROR),
        (ANSWER, Alert.UNEXPECTED_MESSAGE),
        (HELLO[:-1], Alert.DECODE_ERROR),
        (HELLO + b"\0", Alert.DECODE_ERROR),
        (HELLO + bytes(MAX_HELLO), Alert.DECODE_ERROR),
        (HELLO[:4] + b"\3\1" + HELLO[6:], Alert.PROTOCOL_VERSION),
        (client_hello({}, session_id=bytes(33)), Alert.DECODE_ERROR),
        (client_hello({}, suites=()), Alert.DECODE_ERROR),
        (client_hello({Extension.SERVER_NAME: vector(2, b"\1" + vector(2, b"name"))}), Alert.ILLEGAL_PARAMETER),
        (client_hello({Extension.SERVER_NAME: vector(2, b"\0" + vector(2, b"n\xe4me"))}), Alert.ILLEGAL_PARAMETER),
        (client_hello({Extension.SERVER_NAME: vector(2, 2 * (b"\0" + vector(2, b"name")))}), Alert.DECODE_ERROR),
        (client_hello({Extension.SUPPORTED_VERSIONS: b"\3\3\4\3"}), Alert.DECODE_ERROR),
        (client_hello({Extension.KEY_SHARE: vector(2, 2 * (b"\0\x1d" + vector(2, b"k")))}), Alert.ILLEGAL_PARAMETER),
        (client_hello({Extension.ALPN: vector(2, b"\0\0")}), Alert.DECODE_ERROR),
    ],
)
def test_a_hello_that_breaks_a_rule_is_refused(message: bytes, alert: Alert) -> None:
    assert alert_of(read_client_hello, message) is alert


def test_a_hello_with_an_extension_twice_or_with_compression_is_refused() -> None:
    twice = 2 * write_extensions({Extension.EXTENDED_MASTER_SECRET: b""})
    message = write_client_hello(random=bytes(32), session_id=b"", suites=(0x1301,), extensions=twice)
    assert alert_of(read_client_hello, message) is Alert.ILLEGAL_PARAMETER
    plain = client_hello({}, session_id=b"")
    # Behind head, version, random, no session id and one suite stands the list of compression methods.
    where = 4 + 2 + 32 + 1 + 4 + 1
    assert plain[where - 1 : where + 1] == b"\1\0"
    compressed = plain[:where] + b"\1" + plain[where + 1 :]
    assert alert_of(read_client_hello, compressed) is Alert.ILLEGAL_PARAMETER


def test_a_server_hello_says_what_was_put_into_it() -> None:
    answer = read_server_hello(ANSWER)
    assert (answer.is_retry, answer.suite, answer.group, len(answer.share)) == (False, 0x1301, 0x11EC, 1120)
    assert answer.cookie is None


def test_only_the_key_share_of_a_server_hello_is_replaced() -> None:
    answer = read_server_hello(ANSWER)
    share = bytes(1120)
    changed = answer.with_share(share)
    assert len(changed) == len(ANSWER)
    again = read_server_hello(changed)
    assert again.share == share
    assert again.with_share(answer.share) == ANSWER
    assert changed.replace(share, answer.share) == ANSWER


def test_the_share_is_found_wherever_the_extension_stands() -> None:
    share = b"\0\x1d" + vector(2, b"k" * 32)
    orders: list[dict[int, bytes]] = [
        {Extension.SUPPORTED_VERSIONS: TLS13, Extension.KEY_SHARE: share},
        {Extension.KEY_SHARE: share, Extension.SUPPORTED_VERSIONS: TLS13},
    ]
    for order in orders:
        changed = read_server_hello(server_hello(order)).with_share(b"K" * 32)
        assert changed == server_hello(order).replace(b"k" * 32, b"K" * 32)


@pytest.mark.parametrize(
    ("message", "alert"),
    [
        (HELLO, Alert.UNEXPECTED_MESSAGE),
        (ANSWER[:-1], Alert.DECODE_ERROR),
        (server_hello({}), Alert.PROTOCOL_VERSION),
        (server_hello({Extension.SUPPORTED_VERSIONS: b"\3\3"}), Alert.PROTOCOL_VERSION),
        (server_hello({Extension.SUPPORTED_VERSIONS: TLS13}), Alert.MISSING_EXTENSION),
        (server_hello({Extension.SUPPORTED_VERSIONS: TLS13, Extension.ALPN: b""}), Alert.UNSUPPORTED_EXTENSION),
        (server_hello({Extension.SUPPORTED_VERSIONS: TLS13, Extension.COOKIE: b"\0\1c"}), Alert.UNSUPPORTED_EXTENSION),
        (server_hello({Extension.SUPPORTED_VERSIONS: TLS13, Extension.KEY_SHARE: b"\0\x1d"}), Alert.DECODE_ERROR),
        (server_hello({Extension.SUPPORTED_VERSIONS: TLS13}, compression=1), Alert.ILLEGAL_PARAMETER),
        (
            server_hello({Extension.SUPPORTED_VERSIONS: TLS13, Extension.COOKIE: b"\0\0"}, random=RETRY_RANDOM),
            Alert.DECODE_ERROR,
        ),
    ],
)
def test_a_server_hello_that_breaks_a_rule_is_refused(message: bytes, alert: Alert) -> None:
    assert alert_of(read_server_hello, message) is alert


def test_a_retry_request_asks_for_a_group_or_brings_a_cookie() -> None:
    asked: dict[int, bytes] = {
        Extension.SUPPORTED_VERSIONS: TLS13,
        Extension.KEY_SHARE: b"\0\x17",
        Extension.COOKIE: b"\0\1c",
    }
    retry = read_server_hello(server_hello(asked, random=RETRY_RANDOM))
    assert (retry.is_retry, retry.group, retry.share, retry.cookie) == (True, 0x17, b"", b"\0\1c")
    bare = read_server_hello(server_hello({Extension.SUPPORTED_VERSIONS: TLS13}, random=RETRY_RANDOM))
    assert (bare.group, bare.cookie) == (None, None)


def test_messages_of_the_flight_come_back_as_they_went() -> None:
    assert read_certificate(write_certificate(b"certificate")) == b"certificate"
    assert read_certificate_verify(write_certificate_verify(b"signature")) == b"signature"
    assert read_encrypted_extensions(write_message(HandshakeType.ENCRYPTED_EXTENSIONS, b"\0\0")) == {}
    assert read_key_update(b"\x18\0\0\1\1")
    assert not read_key_update(b"\x18\0\0\1\0")


@pytest.mark.parametrize(
    ("read", "body"),
    [
        (read_certificate, b"\0\0\0\0"),
        (read_certificate, b"\0\0\0\5\0\0\0\0\0"),
        (read_certificate, b"\0\0\0\6\0\0\1c\0\0more"),
        (read_certificate_verify, b"\4\3\0\1s"),
        (read_encrypted_extensions, b"\0\1\0"),
        (read_key_update, b"\2"),
        (read_key_update, b""),
    ],
)
def test_a_message_that_breaks_a_rule_is_refused(read: Callable[[bytes], object], body: bytes) -> None:
    with pytest.raises(TlsError):
        read(b"\0" + vector(3, body))


def test_messages_are_joined_and_cut_whatever_the_fragments() -> None:
    messages = [write_message(HandshakeType.FINISHED, bytes(size)) for size in (0, 1, 300)]
    stream = b"".join(messages)
    for step in (1, 7, len(stream)):
        buffer, found = MessageBuffer(), []
        for start in range(0, len(stream), step):
            buffer.feed(stream[start : start + step])
            while (message := buffer.next_message()) is not None:
                found.append(message)
        assert found == messages
        assert not buffer


def test_a_message_that_is_going_to_be_too_long_is_refused_at_its_head() -> None:
    buffer = MessageBuffer(max_message=100)
    buffer.feed(b"\x0b\0\0\x61")
    assert alert_of(lambda _: buffer.next_message(), b"") is Alert.DECODE_ERROR
    assert alert_of(lambda empty: MessageBuffer().feed(empty), b"") is Alert.UNEXPECTED_MESSAGE


READERS = [
    read_client_hello,
    read_server_hello,
    read_certificate,
    read_certificate_verify,
    read_encrypted_extensions,
    read_key_update,
]


@pytest.mark.parametrize("read", READERS)
@given(message=st.binary(max_size=200))
@quick
def test_no_octets_raise_anything_but_a_tls_error(read: Callable[[bytes], object], message: bytes) -> None:
    with contextlib.suppress(TlsError):
        read(message)


@pytest.mark.parametrize(("read", "good"), [(read_client_hello, HELLO), (read_server_hello, ANSWER)])
@given(st.data())
@quick
def test_no_damage_raises_anything_but_a_tls_error(
    read: Callable[[bytes], object], good: bytes, data: st.DataObject
) -> None:
    message = bytearray(good)
    for _ in range(data.draw(st.integers(1, 4))):
        message[data.draw(st.integers(0, len(message) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.one_of(st.just(len(message)), st.integers(0, len(message))))
    with contextlib.suppress(TlsError):
        read(bytes(message[:cut]))
