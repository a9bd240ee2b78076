"""Byte-exactness against the cacophony vectors and against Wycheproof's X25519."""

from typing import Any

import pytest

from pharos.wire.errors import RemoteProtocolError
from pharos.wire.noise.handshake import Handshake
from pharos.wire.noise.keys import KeyPair
from tests.support.vectors import load_vectors

CACOPHONY = "noise/cacophony-25519-chachapoly-blake2s.json"


def make_side(vector: dict[str, Any], side: str) -> Handshake:
    def key(name: str) -> KeyPair | None:
        return KeyPair.from_private_bytes(bytes.fromhex(vector[name])) if name in vector else None

    ephemeral = key(f"{side}_ephemeral")
    remote = vector.get(f"{side}_remote_static")

    def generate() -> KeyPair:
        assert ephemeral is not None
        return ephemeral

    return Handshake(
        vector["protocol_name"],
        initiator=side == "init",
        prologue=bytes.fromhex(vector[f"{side}_prologue"]),
        static=key(f"{side}_static"),
        remote_static=bytes.fromhex(remote) if remote else None,
        psks=[bytes.fromhex(psk) for psk in vector.get(f"{side}_psks", [])],
        generate=generate,
    )


def play(vector: dict[str, Any]) -> int:
    """Run one vector through both sides and return how many messages were compared."""
    initiator, responder = make_side(vector, "init"), make_side(vector, "resp")
    messages = [(bytes.fromhex(m["payload"]), bytes.fromhex(m["ciphertext"])) for m in vector["messages"]]
    turn = 0
    writer, reader = initiator, responder
    while not initiator.finished:
        payload, expected = messages[turn]
        assert writer.write(payload) == expected
        assert reader.read(expected) == payload
        writer, reader = reader, writer
        turn += 1
    assert responder.finished
    if "handshake_hash" in vector:
        assert initiator.handshake_hash.hex() == responder.handshake_hash.hex() == vector["handshake_hash"]
    one_way = turn == 1
    initiator_send, initiator_receive = initiator.split()
    responder_send, responder_receive = responder.split()
    for index, (payload, expected) in enumerate(messages[turn:], start=turn):
        from_initiator = one_way or index % 2 == 0
        send = initiator_send if from_initiator else responder_send
        receive = responder_receive if from_initiator else initiator_receive
        assert send.encrypt(b"", payload) == expected
        assert receive.decrypt(b"", expected) == payload
    return len(messages)


def test_every_published_pattern_is_byte_exact() -> None:
    vectors = load_vectors(CACOPHONY)["vectors"]
    compared = {vector["protocol_name"]: play(vector) for vector in vectors}
    # The file's own size, so that a vector that silently fell out is noticed.
    assert (len(compared), sum(compared.values())) == (59, 354)
    assert all("handshake_hash" in vector for vector in vectors)


def test_x25519_agrees_with_wycheproof() -> None:
    cases = [case for group in load_vectors("wycheproof/x25519_test.json")["testGroups"] for case in group["tests"]]
    assert len(cases) > 500
    for case in cases:
        pair = KeyPair.from_private_bytes(bytes.fromhex(case["private"]))
        public, shared = bytes.fromhex(case["public"]), bytes.fromhex(case["shared"])
        if case["result"] == "invalid" or not any(shared):
            with pytest.raises(RemoteProtocolError):
                pair.exchange(public)
        else:
            assert pair.exchange(public) == shared, case["tcId"]
