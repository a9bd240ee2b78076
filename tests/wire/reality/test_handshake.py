"""Both ends of REALITY against each other, octet by octet if need be."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pharos.wire.errors import LocalProtocolError
from pharos.wire.reality.auth import Admitted
from pharos.wire.reality.certificate import NodeSigner
from pharos.wire.reality.client import ClientConnection
from pharos.wire.reality.codec import vector
from pharos.wire.reality.connection import HandshakeCompleted, PeerClosed, State
from pharos.wire.reality.errors import (
    Alert,
    AlertReceivedError,
    RealCertificateError,
    TargetError,
    TlsError,
)
from pharos.wire.reality.extensions import Extension, write_extensions
from pharos.wire.reality.groups import X25519, X25519MLKEM768
from pharos.wire.reality.messages import HandshakeType, write_message
from pharos.wire.reality.parrots import PARROTS
from pharos.wire.reality.records import CHANGE_CIPHER_SPEC, HEADER, MAX_SEALED, OVERHEAD, ContentType
from pharos.wire.reality.server import ServerConnection
from pharos.wire.reality.suites import SUITES
from tests.support.reality import (
    FOUR,
    FOUR_AND_TICKET,
    NOW,
    ONE,
    PQ_SIGNER,
    SHAPES,
    SIGNER,
    alert_in,
    connected,
    data_in,
    deliver,
    ends,
    events_of,
    gate,
    hello_in,
    node_public_key,
    put,
    records_of,
    seeded,
    settings,
    target_flight,
)
from tests.support.strategies import quick


@pytest.mark.parametrize("suite", SUITES)
@pytest.mark.parametrize("group", [X25519, X25519MLKEM768])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("step", [1, 100, 1 << 20])
def test_both_ends_meet_with_every_suite_group_and_shape(suite: int, group: int, shape: str, step: int) -> None:
    pair = ends(suite=suite, group=group, records=SHAPES[shape], post_handshake=(255, 80))
    completed = HandshakeCompleted(suite=suite, group=group)
    assert deliver(pair.node, pair.client, step=step) == [completed]
    assert deliver(pair.client, pair.node, step=step) == [completed]
    assert deliver(pair.node, pair.client, step=step) == []
    for source, sink in ((pair.client, pair.node), (pair.node, pair.client)):
        source.send(b"data" * 10_000)
        assert data_in(deliver(source, sink, step=1000 if step == 1 else step)) == b"data" * 10_000
        source.send_end()
        assert deliver(source, sink, step=step) == [PeerClosed()]


@pytest.mark.parametrize("parrot", PARROTS)
@pytest.mark.parametrize("post_quantum", [True, False])
def test_every_parrot_meets_with_a_node(parrot: str, post_quantum: bool) -> None:
    client = settings(parrot=PARROTS[parrot], post_quantum=post_quantum)
    pair = connected(client=client)
    assert pair.client.state is pair.node.state is State.CONNECTED


@pytest.mark.parametrize("shape", SHAPES)
def test_the_flight_has_the_targets_lengths_and_its_server_hello_but_for_the_share(shape: str) -> None:
    pair = ends(records=SHAPES[shape], group=X25519)
    hello, ccs, *sealed = records_of(pair.node.take_output())
    assert ccs == CHANGE_CIPHER_SPEC
    assert tuple(len(record) for record in sealed) == SHAPES[shape]
    # The target's random value and the order of its extensions stay.
    assert hello[HEADER + 6 : HEADER + 38] == bytes(range(32))
    assert hello[-6:] == b"\0\x2b\0\2\3\4"


def test_behind_the_handshake_come_records_of_the_targets_lengths_that_carry_nothing() -> None:
    pair = ends(post_handshake=(255, 31, OVERHEAD, MAX_SEALED))
    deliver(pair.node, pair.client)
    deliver(pair.client, pair.node)
    flight = pair.node.take_output()
    assert [len(record) for record in records_of(flight)] == [255, 31, OVERHEAD, MAX_SEALED]
    pair.client.receive(flight)
    assert events_of(pair.client) == []


@pytest.mark.parametrize("records", [(100, 900, 286, 57), (27, 900, 286, 74), (100, 200, 286, 74), (300,)])
def test_a_target_whose_records_are_too_small_is_not_borrowed(records: tuple[int, ...]) -> None:
    with pytest.raises(TargetError, match="octets"):
        ends(records=records)


def test_a_certificate_with_ml_dsa_needs_a_target_with_a_long_one() -> None:
    with pytest.raises(TargetError):
        ends(signer=PQ_SIGNER, records=(100, 3500, 286, 74))
    client = settings(mldsa65_key=PQ_SIGNER.mldsa65_key)
    assert connected(signer=PQ_SIGNER, records=(100, 3600, 286, 74), client=client).client.state is State.CONNECTED


@pytest.mark.parametrize("size", [OVERHEAD - 1, MAX_SEALED + 1])
def test_a_record_behind_the_handshake_that_cannot_be_is_refused(size: int) -> None:
    with pytest.raises(TargetError):
        ends(post_handshake=(size,))


@pytest.mark.parametrize(
    ("node", "client"),
    [
        # A node that does not know the authentication key has no mark, whatever else it does right.
        (NodeSigner(bytes(32)), settings(mldsa65_key=PQ_SIGNER.mldsa65_key)),
        (SIGNER, settings(mldsa65_key=PQ_SIGNER.mldsa65_key)),
    ],
)
def test_nothing_is_sent_to_a_server_whose_certificate_is_not_believed(node: NodeSigner, client: object) -> None:
    pair = ends(signer=node, records=(100, 4000, 286, 74), client=client)  # type: ignore[arg-type]
    pair.client.receive(pair.node.take_output())
    # Whatever else there would have been to send goes with it.
    pair.client._output.append(b"on its way")
    with pytest.raises(RealCertificateError):
        events_of(pair.client)
    assert pair.client.take_output() == b""
    for attempt in (lambda: pair.client.send(b"secret"), pair.client.send_end, pair.client.next_event):
        with pytest.raises(LocalProtocolError):
            attempt()
    assert pair.client.take_output() == b""


@pytest.mark.parametrize("kind", [HandshakeType.COMPRESSED_CERTIFICATE, HandshakeType.CERTIFICATE_REQUEST])
def test_what_only_a_real_site_sends_is_taken_for_its_certificate(kind: HandshakeType) -> None:
    pair = ends()
    flight = records_of(pair.node.take_output())
    pair.client.receive(b"".join(flight[:3]))
    assert events_of(pair.client) == []
    # The server's own handshake key, as a real site would have it.
    pair.node._writer.key = pair.client._reader.key
    assert pair.node._writer.key is not None
    put(pair.node, ContentType.HANDSHAKE, write_message(kind, b"body"))
    pair.node._writer.key.sequence -= 1
    pair.client.receive(pair.node.take_output())
    with pytest.raises(RealCertificateError):
        events_of(pair.client)
    assert pair.client.take_output() == b""


@pytest.mark.parametrize("shape", SHAPES)
@given(data=st.data())
@quick
def test_a_flight_that_was_touched_anywhere_never_completes(shape: str, data: st.DataObject) -> None:
    pair = ends(records=SHAPES[shape])
    flight = bytearray(pair.node.take_output())
    records = records_of(flight)
    # The ticket's record comes behind the Finished; and which version a record says it has does not matter (§5.1).
    size = len(flight) - (255 if SHAPES[shape] is FOUR_AND_TICKET else 0)
    starts = [sum(map(len, records[:index])) for index in range(len(records))]
    idle = {start + 2 for start in starts[:2]}
    index = data.draw(st.integers(0, size - 1).filter(lambda index: index not in idle))
    flight[index] ^= data.draw(st.integers(1, 255))
    pair.client.receive(flight)
    try:
        assert events_of(pair.client) == []
    except (TlsError, RealCertificateError, AlertReceivedError):
        assert pair.client.state is State.FAILED
    with pytest.raises(LocalProtocolError):
        pair.client.send(b"secret")


@given(st.data())
@quick
def test_a_clients_answer_that_was_touched_anywhere_never_completes(data: st.DataObject) -> None:
    pair = ends()
    deliver(pair.node, pair.client)
    answer = bytearray(pair.client.take_output())
    index = data.draw(st.integers(0, len(answer) - 1).filter(lambda index: index != 2))
    answer[index] ^= data.draw(st.integers(1, 255))
    pair.node.receive(answer)
    try:
        assert events_of(pair.node) == []
    except (TlsError, AlertReceivedError):
        assert pair.node.state is State.FAILED
    with pytest.raises(LocalProtocolError):
        pair.node.send(b"secret")


def test_a_finished_of_the_client_that_does_not_fit_is_told_by_an_alert() -> None:
    pair = ends()
    deliver(pair.node, pair.client)
    pair.client.take_output()
    # Sealed with the right key, which the client no longer has: the one that the node expects it under.
    pair.client._writer.key = pair.node._reader.key
    put(pair.client, ContentType.HANDSHAKE, write_message(HandshakeType.FINISHED, bytes(32)))
    assert pair.client._writer.key is not None
    pair.client._writer.key.sequence -= 1
    pair.node.receive(pair.client.take_output())
    with pytest.raises(TlsError) as caught:
        events_of(pair.node)
    assert caught.value.alert is Alert.DECRYPT_ERROR
    assert alert_in(pair.node, pair.client) == Alert.DECRYPT_ERROR


def test_a_finished_of_the_server_that_does_not_fit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pharos.wire.reality.server.finished_mac", lambda suite, _secret, _hash: bytes(32))
    pair = ends()
    pair.client.receive(pair.node.take_output())
    with pytest.raises(TlsError) as caught:
        events_of(pair.client)
    assert caught.value.alert is Alert.DECRYPT_ERROR


def test_a_finished_of_the_server_is_the_last_of_its_record(monkeypatch: pytest.MonkeyPatch) -> None:
    def longer(kind: HandshakeType, body: bytes) -> bytes:
        return write_message(kind, body) + (b"\4\0\0" if kind is HandshakeType.FINISHED else b"")

    monkeypatch.setattr("pharos.wire.reality.server.write_message", longer)
    pair = ends()
    pair.client.receive(pair.node.take_output())
    with pytest.raises(TlsError, match="change of keys") as caught:
        events_of(pair.client)
    assert caught.value.alert is Alert.UNEXPECTED_MESSAGE


def test_a_finished_of_the_client_is_the_last_of_its_record(monkeypatch: pytest.MonkeyPatch) -> None:
    def longer(kind: HandshakeType, body: bytes) -> bytes:
        return write_message(kind, body) + b"\x18\0\0"

    monkeypatch.setattr("pharos.wire.reality.client.write_message", longer)
    pair = ends()
    deliver(pair.node, pair.client)
    pair.node.receive(pair.client.take_output())
    with pytest.raises(TlsError, match="change of keys"):
        events_of(pair.node)


def test_a_node_gives_no_answer_that_the_target_gave_to_another_hello() -> None:
    hello = hello_in(ClientConnection(settings(), now=NOW, random=seeded()).take_output())
    other = hello_in(ClientConnection(settings(), now=NOW, random=seeded(1)).take_output())
    admitted = gate().judge(hello, now=NOW)
    assert isinstance(admitted, Admitted)
    with pytest.raises(TargetError, match="session id"):
        ServerConnection(hello, admitted, target_flight(other), SIGNER, random=seeded())


def test_a_certificate_verify_of_another_key_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(NodeSigner, "sign", lambda self, _hash: NodeSigner(bytes(32))._private.sign(b"other"))
    pair = ends()
    pair.client.receive(pair.node.take_output())
    with pytest.raises(TlsError) as caught:
        events_of(pair.client)
    assert caught.value.alert is Alert.DECRYPT_ERROR
    assert pair.client.state is State.FAILED


def test_a_recorded_hello_is_of_no_use_to_who_answers_it_without_the_nodes_key() -> None:
    """The attacker has its own REALITY key; the device asked for ours."""
    pair = ends(client=settings())
    stranger = ends(client=settings(public_key=node_public_key()), seed=5)
    pair.client.receive(stranger.node.take_output())
    with pytest.raises(TlsError, match="session id"):
        events_of(pair.client)


def test_data_before_the_clients_finished_is_refused() -> None:
    pair = ends()
    deliver(pair.node, pair.client)
    pair.client._writer.key = pair.node._reader.key
    pair.client.take_output()
    pair.client.send(b"early")
    assert pair.client._writer.key is not None
    pair.client._writer.key.sequence -= 1
    pair.node.receive(pair.client.take_output())
    with pytest.raises(TlsError) as caught:
        events_of(pair.node)
    assert caught.value.alert is Alert.UNEXPECTED_MESSAGE


def test_a_node_bears_as_many_change_cipher_specs_as_its_target_and_none_behind_the_finished() -> None:
    pair = ends(max_useless=2)
    deliver(pair.node, pair.client)
    pair.node.receive(2 * CHANGE_CIPHER_SPEC)
    assert events_of(pair.node) == []
    pair.node.receive(CHANGE_CIPHER_SPEC)
    with pytest.raises(TlsError) as caught:
        events_of(pair.node)
    assert caught.value.alert is Alert.UNEXPECTED_MESSAGE
    pair = connected()
    pair.node.receive(CHANGE_CIPHER_SPEC)
    with pytest.raises(TlsError):
        events_of(pair.node)


def test_an_alert_in_the_clear_ends_a_handshake_without_an_answer() -> None:
    pair = ends()
    pair.node.take_output()
    pair.node.receive(b"\x15\3\3\0\2\2\x28")
    with pytest.raises(AlertReceivedError) as caught:
        events_of(pair.node)
    assert caught.value.description == Alert.HANDSHAKE_FAILURE
    assert pair.node.take_output() == b""
    with pytest.raises(LocalProtocolError):
        pair.node.next_event()


def test_extensions_that_were_not_offered_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    extensions = write_extensions({Extension.RECORD_SIZE_LIMIT: b"\x40\0"})
    odd = write_message(HandshakeType.ENCRYPTED_EXTENSIONS, vector(2, extensions))
    monkeypatch.setattr("pharos.wire.reality.server._NO_EXTENSIONS", odd)
    pair = ends()
    pair.client.receive(pair.node.take_output())
    with pytest.raises(TlsError) as caught:
        events_of(pair.client)
    assert caught.value.alert is Alert.UNSUPPORTED_EXTENSION


def test_the_shapes_are_what_they_are_called() -> None:
    assert (len(ONE), len(FOUR), len(FOUR_AND_TICKET)) == (1, 4, 5)
