import json

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.signing import SigningKey

from pharos.wire.errors import LocalProtocolError, RemoteProtocolError
from pharos.wire.ids import FleetId
from pharos.wire.pki.canonical import encode_canonical
from pharos.wire.seal.checkpoint import (
    MAX_CHECKPOINT,
    Checkpoint,
    Comparison,
    compare,
    join_checkpoint,
    sign_checkpoint,
    signature_of,
    verify_checkpoint,
)

FLEET, OTHER = FleetId("0123456789abcdef"), FleetId("f" * 16)
KEY, NEXT_KEY = SigningKey(bytes(range(32))), SigningKey(bytes(range(1, 33)))
KEPT = Checkpoint(fleet=FLEET, size=1000, head=b"\xab" * 32, at=1_800_000_000_123_456)
BLOB = sign_checkpoint(KEPT, signing_key=KEY)


def verify(blob: bytes, *, keys: tuple[SigningKey, ...] = (KEY,)) -> Checkpoint:
    return verify_checkpoint(blob, fleet=FLEET, signing_keys=[bytes(key.verify_key) for key in keys])


def content() -> dict[str, object]:
    loaded: dict[str, object] = json.loads(BLOB[65:])
    return loaded


def sealed(payload: bytes, *, key: SigningKey = KEY, context: bytes = b"pharos/checkpoint/v1") -> bytes:
    """The format, written down a second time."""
    return b"\x01" + key.sign(context + len(payload).to_bytes(4, "big") + payload).signature + payload


def test_checkpoint_says_what_was_signed() -> None:
    assert verify(BLOB) == KEPT
    assert join_checkpoint(KEPT, signature_of(BLOB)) == BLOB


def test_format_is_as_documented() -> None:
    payload = b'{"at":1800000000123456,"fleet":"0123456789abcdef","head":"' + b"ab" * 32 + b'","size":1000}'
    assert BLOB[65:] == payload
    assert sealed(payload) == BLOB


def test_either_key_of_a_rotation_signs() -> None:
    by_next = sign_checkpoint(KEPT, signing_key=NEXT_KEY)
    assert verify(by_next, keys=(KEY, NEXT_KEY)) == KEPT
    for blob, keys in ((by_next, (KEY,)), (BLOB, (NEXT_KEY,)), (BLOB, ())):
        with pytest.raises(RemoteProtocolError, match="not signed"):
            verify(blob, keys=keys)


def test_signature_of_another_context_is_refused() -> None:
    for context in (b"", b"pharos/denylist/v1", b"pharos/checkpoint/v2"):
        with pytest.raises(RemoteProtocolError, match="not signed"):
            verify(sealed(BLOB[65:], context=context))


def test_checkpoint_of_another_fleet_is_refused() -> None:
    with pytest.raises(RemoteProtocolError, match="of fleet"):
        verify(sign_checkpoint(attrs.evolve(KEPT, fleet=OTHER), signing_key=KEY))


@pytest.mark.parametrize(
    "change",
    [
        {"size": 0},
        {"size": -1},
        {"size": True},
        {"size": "1000"},
        {"size": 2**63},
        {"size": 1.0},
        {"at": -1},
        {"at": None},
        {"at": False},
        {"fleet": "home"},
        {"fleet": 7},
        {"head": "ab" * 31},
        {"head": "AB" * 32},
        {"head": "ab " * 32},
        {"head": "xy" * 32},
        {"head": None},
        {"surprise": 1},
    ],
)
def test_signed_nonsense_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(RemoteProtocolError):
        verify(sealed(encode_canonical(content() | change)))


@pytest.mark.parametrize("missing", ["at", "fleet", "head", "size"])
def test_every_member_is_needed(missing: str) -> None:
    said = content()
    del said[missing]
    with pytest.raises(RemoteProtocolError):
        verify(sealed(encode_canonical(said)))


def test_payload_has_one_spelling() -> None:
    for payload in (json.dumps(content()).encode(), b"[]", b"[" * 150, b""):
        with pytest.raises(RemoteProtocolError):
            verify(sealed(payload))


def test_unknown_format_is_refused() -> None:
    for first in (0, 2, 255):
        with pytest.raises(RemoteProtocolError, match="newer version"):
            verify(bytes([first]) + BLOB[1:])


def test_largest_checkpoint_fits_and_nothing_longer_is_read() -> None:
    largest = Checkpoint(fleet=FLEET, size=2**63 - 1, head=bytes(32), at=2**63 - 1)
    blob = sign_checkpoint(largest, signing_key=KEY)
    assert len(blob) <= MAX_CHECKPOINT
    assert verify(blob) == largest
    with pytest.raises(RemoteProtocolError, match="limit"):
        verify(BLOB + bytes(MAX_CHECKPOINT))


def test_largest_checkpoint_is_kept() -> None:
    larger = attrs.evolve(KEPT, size=1001, head=b"\xcd" * 32)
    smaller = attrs.evolve(KEPT, size=999, head=b"\xcd" * 32)
    assert compare(None, KEPT) is Comparison.NEWER
    assert compare(KEPT, larger) is Comparison.NEWER
    assert compare(KEPT, smaller) is Comparison.OLDER
    # Whatever the clock said.
    assert compare(KEPT, attrs.evolve(larger, at=0)) is Comparison.NEWER


def test_same_checkpoint_again_is_nothing_new() -> None:
    assert compare(KEPT, KEPT) is Comparison.OLDER
    assert compare(KEPT, attrs.evolve(KEPT, at=KEPT.at + 1)) is Comparison.OLDER


def test_two_heads_for_one_size_are_a_conflict() -> None:
    other = attrs.evolve(KEPT, head=b"\xcd" * 32)
    assert compare(KEPT, other) is Comparison.CONFLICT
    assert compare(other, KEPT) is Comparison.CONFLICT


def test_checkpoints_of_two_fleets_are_not_compared() -> None:
    with pytest.raises(LocalProtocolError):
        compare(KEPT, attrs.evolve(KEPT, fleet=OTHER))


@given(at=st.integers(0, len(BLOB) - 1), byte=st.integers(0, 255))
def test_no_changed_byte_is_believed(at: int, byte: int) -> None:
    damaged = BLOB[:at] + bytes([byte]) + BLOB[at + 1 :]
    if damaged == BLOB:
        return
    with pytest.raises(RemoteProtocolError):
        verify(damaged)


@given(junk=st.binary(max_size=200) | st.integers(0, len(BLOB) - 1).map(lambda n: BLOB[:n]))
def test_junk_is_no_checkpoint(junk: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        verify(junk)
