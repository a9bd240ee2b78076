"""What a server may choose of a device's hello, and what it may ask for."""

from collections.abc import Callable

import pytest

from pharos.wire.reality.client import ClientConnection
from pharos.wire.reality.codec import pack, vector
from pharos.wire.reality.errors import (
    Alert,
    TlsError,
)
from pharos.wire.reality.extensions import Extension, write_extensions
from pharos.wire.reality.groups import SECP256R1, X25519, X25519MLKEM768
from pharos.wire.reality.records import CHANGE_CIPHER_SPEC
from pharos.wire.reality.serverhello import RETRY_RANDOM, write_server_hello
from tests.support.reality import (
    NOW,
    events_of,
    hello_in,
    records_of,
    seeded,
    settings,
)


def server_hello(client: ClientConnection, extensions: dict[int, bytes], **changes: object) -> bytes:
    fields = {"random": bytes(32), "session_id": client._offer.session_id, "suite": 0x1301} | changes
    return write_server_hello(**fields, extensions=write_extensions(extensions))  # type: ignore[arg-type]


def fresh() -> tuple[ClientConnection, bytes]:
    client = ClientConnection(settings(), now=NOW, random=seeded())
    return client, bytes(client.take_output())


def answer(client: ClientConnection, message: bytes) -> None:
    size = len(message).to_bytes(2, "big")
    client.receive(b"\x16\3\3" + size + message)
    assert events_of(client) == []


VERSION: dict[int, bytes] = {Extension.SUPPORTED_VERSIONS: b"\3\4"}


def share(group: int, size: int = 32) -> dict[int, bytes]:
    return VERSION | {Extension.KEY_SHARE: pack((group,)) + vector(2, b"\x09" * size)}


@pytest.mark.parametrize(
    ("extensions", "changes", "alert"),
    [
        (share(X25519), {"session_id": bytes(32)}, Alert.ILLEGAL_PARAMETER),
        (share(X25519), {"session_id": b""}, Alert.ILLEGAL_PARAMETER),
        (share(X25519), {"suite": 0x1304}, Alert.ILLEGAL_PARAMETER),
        (share(X25519), {"suite": 0xC02B}, Alert.ILLEGAL_PARAMETER),
        (share(SECP256R1, 65), {}, Alert.ILLEGAL_PARAMETER),
        (share(X25519, 31), {}, Alert.ILLEGAL_PARAMETER),
        (share(X25519MLKEM768, 1119), {}, Alert.ILLEGAL_PARAMETER),
        (VERSION, {}, Alert.MISSING_EXTENSION),
        ({}, {}, Alert.PROTOCOL_VERSION),
        (VERSION, {"random": RETRY_RANDOM}, Alert.ILLEGAL_PARAMETER),
        (VERSION | {Extension.KEY_SHARE: pack((X25519,))}, {"random": RETRY_RANDOM}, Alert.ILLEGAL_PARAMETER),
        (VERSION | {Extension.KEY_SHARE: pack((0x0100,))}, {"random": RETRY_RANDOM}, Alert.ILLEGAL_PARAMETER),
    ],
)
def test_a_server_hello_that_chooses_what_was_not_offered_is_refused(
    extensions: dict[int, bytes], changes: dict[str, object], alert: Alert
) -> None:
    client, _ = fresh()
    with pytest.raises(TlsError) as caught:
        answer(client, server_hello(client, extensions, **changes))
    assert caught.value.alert is alert
    assert records_of(client.take_output()) == [b"\x15\3\3\0\2\2" + bytes((alert,))]


def test_a_second_hello_is_sent_once_with_the_same_mark() -> None:
    client, first = fresh()
    retry = server_hello(client, VERSION | {Extension.KEY_SHARE: pack((SECP256R1,))}, random=RETRY_RANDOM)
    answer(client, retry)
    ccs, second = records_of(client.take_output())
    assert ccs == CHANGE_CIPHER_SPEC
    assert second[:3] == b"\x16\3\3"
    assert hello_in(second).session_id == hello_in(first).session_id
    assert list(hello_in(second).shares) == [SECP256R1]
    with pytest.raises(TlsError, match="second"):
        answer(client, retry)


def test_behind_a_retry_the_server_has_to_stay_with_what_it_asked_for() -> None:
    retry = VERSION | {Extension.KEY_SHARE: pack((SECP256R1,))}
    for extensions, changes in ((share(X25519), {}), (share(SECP256R1, 65), {"suite": 0x1302})):
        client, _ = fresh()
        answer(client, server_hello(client, retry, random=RETRY_RANDOM))
        with pytest.raises(TlsError, match="unasked"):
            answer(client, server_hello(client, extensions, **changes))


@pytest.mark.parametrize(
    "attack", [lambda it: it + b"\x08", lambda it: it[:10] + b"\0" + it[10:]], ids=["more behind it", "an octet more"]
)
def test_the_server_hello_comes_alone(attack: Callable[[bytes], bytes]) -> None:
    client, _ = fresh()
    with pytest.raises(TlsError):
        answer(client, attack(server_hello(client, share(X25519))))
