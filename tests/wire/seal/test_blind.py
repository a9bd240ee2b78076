import hashlib
import hmac
import uuid
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pharos.wire.errors import LocalProtocolError, RemoteProtocolError
from pharos.wire.ids import DeviceId, FleetId, NodeId
from pharos.wire.noise.keys import KeyPair
from pharos.wire.seal.blind import Pairing, commitment, derive_psk, derive_uuid
from tests.support.strategies import quick

DEVICE = KeyPair.from_private_bytes(bytes([1] * 32))
NODE = KeyPair.from_private_bytes(bytes([2] * 32))
PAIRING = Pairing(
    fleet=FleetId("0123456789abcdef"),
    device=DeviceId("alice-phone"),
    node=NodeId("oslo-1"),
    generation=1,
    device_derive=DEVICE.public,
    node_derive=NODE.public,
    device_awg=bytes([5] * 32),
    node_awg=bytes([6] * 32),
)
CHANGES: dict[str, Any] = {
    "fleet": FleetId("fedcba9876543210"),
    "device": DeviceId("alice-phon"),
    "node": NodeId("eoslo-1"),
    "generation": 2,
    "device_awg": bytes([7] * 32),
    "node_awg": bytes([5] * 32),
}


def test_both_sides_derive_the_same() -> None:
    assert derive_psk(PAIRING, DEVICE) == derive_psk(PAIRING, NODE)
    assert derive_uuid(PAIRING, DEVICE) == derive_uuid(PAIRING, NODE)


def test_the_pinned_secrets_of_version_1_hold() -> None:
    assert derive_psk(PAIRING, DEVICE).hex() == "312e55255db6e131da9dfe1c0f94a4aa8aaf6c4979b6cf40daa092809e942d3c"
    assert str(derive_uuid(PAIRING, DEVICE)) == "fc0a9619-b084-41b9-983c-c0e2530d9238"
    assert commitment(derive_psk(PAIRING, DEVICE)).hex() == "53af81a00f2c5ce9"


def test_the_derivation_is_rfc_5869_over_all_that_is_public() -> None:
    fields = [
        b"0123456789abcdef",
        b"alice-phone",
        b"oslo-1",
        b"\x00\x00\x00\x01",
        DEVICE.public,
        NODE.public,
        bytes([5] * 32),
        bytes([6] * 32),
    ]
    framed = b"".join(len(field).to_bytes(2, "big") + field for field in fields)
    extracted = hmac.digest(b"0123456789abcdef", DEVICE.exchange(NODE.public), "sha256")
    psk = hmac.digest(extracted, b"pharos/psk/v1" + framed + b"\x01", "sha256")
    assert derive_psk(PAIRING, DEVICE) == psk
    assert commitment(psk) == hmac.new(psk, b"commit", hashlib.sha256).digest()[:8]
    vless = hmac.digest(extracted, b"pharos/vless/v1" + framed + b"\x01", "sha256")[:16]
    assert derive_uuid(PAIRING, DEVICE) == uuid.UUID(bytes=vless, version=4)
    assert derive_uuid(PAIRING, DEVICE).version == 4


@pytest.mark.parametrize("name", CHANGES)
def test_everything_public_enters_the_derivation(name: str) -> None:
    changed = attrs.evolve(PAIRING, **{name: CHANGES[name]})
    assert derive_psk(changed, DEVICE) != derive_psk(PAIRING, DEVICE)
    assert derive_uuid(changed, DEVICE) != derive_uuid(PAIRING, DEVICE)


def test_ids_that_run_together_do_not_collide() -> None:
    one = attrs.evolve(PAIRING, device=DeviceId("ab"), node=NodeId("c"))
    other = attrs.evolve(PAIRING, device=DeviceId("a"), node=NodeId("bc"))
    assert derive_psk(one, DEVICE) != derive_psk(other, DEVICE)


@quick
@given(generations=st.sets(st.integers(0, 2**32 - 1), min_size=2, max_size=5))
def test_each_generation_has_its_own_secrets(generations: set[int]) -> None:
    pairings = [attrs.evolve(PAIRING, generation=generation) for generation in generations]
    assert len({derive_psk(pairing, NODE) for pairing in pairings}) == len(generations)


def test_a_key_of_neither_side_is_misuse() -> None:
    with pytest.raises(LocalProtocolError, match="neither"):
        derive_psk(PAIRING, KeyPair.generate())


def test_a_low_order_key_of_the_other_side_is_refused() -> None:
    with pytest.raises(RemoteProtocolError):
        derive_psk(attrs.evolve(PAIRING, node_derive=bytes(32)), DEVICE)


@pytest.mark.parametrize("changes", [{"generation": 2**32}, {"generation": -1}, {"node_awg": bytes(31)}], ids=str)
def test_a_pairing_of_wrong_sizes_is_misuse(changes: dict[str, Any]) -> None:
    with pytest.raises(LocalProtocolError):
        attrs.evolve(PAIRING, **changes)
