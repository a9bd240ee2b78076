import hashlib
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from nacl.bindings import crypto_aead_xchacha20poly1305_ietf_encrypt
from nacl.public import PublicKey, SealedBox
from nacl.signing import SigningKey

from pharos.wire.errors import (
    BundleError,
    BundleFormatError,
    BundleNotForUsError,
    BundleRollbackError,
    BundleSignatureError,
    LocalProtocolError,
)
from pharos.wire.ids import DeviceId, FleetId
from pharos.wire.noise.keys import KeyPair
from pharos.wire.pki.canonical import encode_canonical
from pharos.wire.seal import envelope
from pharos.wire.seal.envelope import BUCKET, MAX_BUNDLE, Bundle, BundleHeader, open_bundle, recipient_hash, seal_bundle
from tests.support.strategies import quick

FLEET = FleetId("0123456789abcdef")
SIGNER = SigningKey(bytes([3] * 32))
SAMPLE = Path(__file__).parent / "bundle_v1.bin"
PROFILE = b'{"v":1,"nodes":[]}'
# Octets of header block, wrap, nonce, body: the layout as docs/protocols/seal.md gives it.
HEADER_AT, WRAP_AT, NONCE_AT, BODY_AT = 3, 515, 627, 651


@attrs.frozen
class Owner:
    device: DeviceId
    key: KeyPair


ALICE = Owner(DeviceId("alice-phone"), KeyPair.from_private_bytes(bytes([1] * 32)))
BOB = Owner(DeviceId("bob-laptop"), KeyPair.from_private_bytes(bytes([2] * 32)))


def pattern_bytes(size: int) -> bytes:
    """Stand in for random octets, to pin a sample."""
    return bytes(range(size))


def seal(profile: bytes = PROFILE, owner: Owner = ALICE, **changes: Any) -> bytes:
    fitting: dict[str, Any] = {
        "fleet": FLEET,
        "device": owner.device,
        "sealing_key": owner.key.public,
        "epoch": 1_700_000_000,
        "revision": 5,
        "issued": 1_700_000_123,
        "manifest_version": 1,
        "signing_key": SIGNER,
    }
    return seal_bundle(profile, **(fitting | changes))


def open_as(blob: bytes, owner: Owner = ALICE, **changes: Any) -> Bundle:
    fitting: dict[str, Any] = {
        "fleet": FLEET,
        "device": owner.device,
        "sealing_key": owner.key,
        "signing_keys": [bytes(SIGNER.verify_key)],
    }
    return open_bundle(blob, **(fitting | changes))


def parts(blob: bytes) -> tuple[bytes, bytes, bytes]:
    """Split a bundle into what an attacker could mix: header (with version), wrap, nonce and body."""
    return blob[:WRAP_AT], blob[WRAP_AT:NONCE_AT], blob[NONCE_AT:]


@quick
@given(profile=st.binary(max_size=20_000))
@example(profile=b"")
def test_what_is_sealed_is_opened(profile: bytes) -> None:
    bundle = open_as(seal(profile))
    assert bundle.profile == profile
    assert bundle.header.order == (1_700_000_000, 5)
    assert bundle.header.recipient == recipient_hash(ALICE.key.public)


def test_the_pinned_sample_of_version_1_still_opens() -> None:
    bundle = open_as(SAMPLE.read_bytes())
    assert bundle.profile == PROFILE
    assert bundle.header.encode() == (
        b'{"alg":"ed25519+sealedbox+xchacha20poly1305","device":"alice-phone","epoch":1700000000,'
        b'"fleet":"0123456789abcdef","issued":1700000123,"manifest":1,'
        b'"recipient":"1a92f23852dc908d97316a3b13578281196c1dd73d9ae5e313f3fb6b8954bf55","rev":5,"v":1}'
    )


def test_sealing_still_gives_the_octets_of_the_sample() -> None:
    header, _, body = parts(SAMPLE.read_bytes())
    sealed_header, _, sealed_body = parts(seal(random=pattern_bytes))
    assert (sealed_header, sealed_body) == (header, body)


def test_two_seals_of_one_profile_share_no_key() -> None:
    assert parts(seal())[2] != parts(seal())[2]


@quick
@given(at=st.integers(0, len(SAMPLE.read_bytes()) * 8 - 1))
@example(at=0)
@example(at=8)
@example(at=HEADER_AT * 8)
@example(at=WRAP_AT * 8 - 1)
@example(at=WRAP_AT * 8)
@example(at=NONCE_AT * 8)
@example(at=BODY_AT * 8)
def test_any_flipped_bit_is_refused(at: int) -> None:
    blob = bytearray(SAMPLE.read_bytes())
    blob[at // 8] ^= 1 << (at % 8)
    with pytest.raises(BundleError):
        open_as(bytes(blob))


@quick
@given(junk=st.binary(max_size=BODY_AT + 16 + BUCKET))
def test_junk_is_no_bundle(junk: bytes) -> None:
    with pytest.raises(BundleFormatError):
        open_as(b"\x01" + junk)


@quick
@given(size=st.integers(0, len(SAMPLE.read_bytes()) - 1))
def test_a_cut_bundle_is_no_bundle(size: int) -> None:
    with pytest.raises(BundleFormatError):
        open_as(SAMPLE.read_bytes()[:size])


@quick
@given(
    sizes=st.tuples(st.integers(0, 4000), st.integers(0, 4000)),
    device=st.from_regex(r"[a-z0-9]{1,63}", fullmatch=True),
    revision=st.integers(0, 2**63 - 1),
)
def test_the_length_tells_the_bucket_only(sizes: tuple[int, int], device: str, revision: int) -> None:
    one = seal(bytes(sizes[0]))
    other = seal(bytes(sizes[1]), Owner(DeviceId(device), BOB.key), revision=revision)
    assert len(one) == len(other) == BODY_AT + 16 + BUCKET
    # Signature and length take 68 octets of the last bucket.
    assert len(seal(bytes(BUCKET - 68))) == len(one)
    assert len(seal(bytes(BUCKET - 67))) == len(one) + BUCKET


@pytest.mark.parametrize(
    "changes",
    [
        {"device": BOB.device},
        {"fleet": FleetId("fedcba9876543210")},
        {"sealing_key": BOB.key},
        {"device": BOB.device, "sealing_key": BOB.key},
    ],
    ids=["device", "fleet", "key", "device and key"],
)
def test_a_bundle_for_someone_else_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(BundleNotForUsError):
        open_as(seal(), **changes)


def test_an_older_bundle_is_refused_and_the_same_one_is_not() -> None:
    blob = seal(epoch=7, revision=5)
    for newest in [(7, 6), (8, 0)]:
        with pytest.raises(BundleRollbackError):
            open_as(blob, newest=newest)
    for newest in [(7, 5), (7, 4), (6, 9)]:
        assert open_as(blob, newest=newest).header.order == (7, 5)
    # Red when weakened: a device that forgets what it holds takes the old one.
    assert open_as(blob, newest=None).header.order == (7, 5)


def test_parts_of_different_bundles_do_not_mix() -> None:
    older, newer = parts(seal(b"old", revision=5)), parts(seal(b"new", revision=7))
    for header, wrap, body in itertools.product((0, 1), repeat=3):
        mixed = (older, newer)[header][0] + (older, newer)[wrap][1] + (older, newer)[body][2]
        if header == wrap == body:
            open_as(mixed)
        else:
            with pytest.raises(BundleSignatureError):
                open_as(mixed)


def forge(header: BundleHeader, content: bytes, owner: Owner, *, padding: bytes | None = None) -> bytes:
    """Seal by hand as anybody can, for a SealedBox is anonymous: ``content`` is signature and profile."""
    encoded = header.encode()
    padded = len(content).to_bytes(4, "big") + content
    padded += bytes(-len(padded) % BUCKET) if padding is None else padding
    data_key, nonce = bytes(32), bytes(24)
    wrap = SealedBox(PublicKey(owner.key.public)).encrypt(data_key + hashlib.sha256(encoded).digest())
    body = crypto_aead_xchacha20poly1305_ietf_encrypt(padded, b"pharos/bundle/v1" + encoded, nonce, data_key)
    return b"\x01" + len(encoded).to_bytes(2, "big") + encoded.ljust(512, b"\0") + wrap + nonce + body


def header_for(owner: Owner) -> BundleHeader:
    return attrs.evolve(open_as(seal()).header, device=owner.device, recipient=recipient_hash(owner.key.public))


def signed_content(header: BundleHeader, profile: bytes, signer: SigningKey) -> bytes:
    encoded = header.encode()
    message = b"pharos/bundle/v1" + len(encoded).to_bytes(4, "big") + encoded + profile
    return signer.sign(message).signature + profile


def test_a_forged_bundle_is_refused_by_its_signature_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    header = header_for(ALICE)
    forged = forge(header, signed_content(header, b"evil", SigningKey.generate()), ALICE)
    with pytest.raises(BundleSignatureError):
        open_as(forged)
    # Red when weakened: nothing else would have stopped it.
    monkeypatch.setattr(envelope, "verify_signature", lambda signature, message, keys: message)
    assert open_as(forged).profile == b"evil"


def test_a_device_cannot_pass_its_bundle_on_as_anothers() -> None:
    content = signed_content(header_for(ALICE), PROFILE, SIGNER)
    assert open_as(forge(header_for(ALICE), content, ALICE)).profile == PROFILE
    with pytest.raises(BundleSignatureError):
        open_as(forge(header_for(BOB), content, BOB), BOB)
    with pytest.raises(BundleNotForUsError):
        open_as(forge(header_for(ALICE), content, BOB), BOB)
    with pytest.raises(BundleNotForUsError):
        open_as(forge(header_for(BOB), content, ALICE), BOB)


def test_two_signing_keys_serve_a_rotation_and_none_serves_nobody() -> None:
    following = SigningKey(bytes([4] * 32))
    keys = [bytes(SIGNER.verify_key), bytes(following.verify_key)]
    assert open_as(seal(signing_key=following), signing_keys=keys).profile == PROFILE
    with pytest.raises(BundleSignatureError):
        open_as(seal(), signing_keys=[])


def test_the_signature_is_checked_before_the_age() -> None:
    header = header_for(ALICE)
    forged = forge(header, signed_content(header, b"evil", SigningKey.generate()), ALICE)
    with pytest.raises(BundleSignatureError):
        open_as(forged, newest=(2**40, 0))


def test_padding_that_is_not_ours_is_refused() -> None:
    header = header_for(ALICE)
    content = signed_content(header, PROFILE, SIGNER)
    ours = bytes(BUCKET - 4 - len(content))
    assert open_as(forge(header, content, ALICE, padding=ours)).profile == PROFILE
    for padding in (ours[:-1] + b"\x01", ours + bytes(BUCKET)):
        with pytest.raises(BundleFormatError, match="padding"):
            open_as(forge(header, content, ALICE, padding=padding))


def with_header(change: Callable[[dict[str, Any]], object]) -> bytes:
    body: dict[str, Any] = {
        "v": 1,
        "alg": "ed25519+sealedbox+xchacha20poly1305",
        "fleet": FLEET,
        "device": ALICE.device,
        "recipient": recipient_hash(ALICE.key.public),
        "epoch": 1,
        "rev": 1,
        "issued": 1,
        "manifest": 1,
    }
    change(body)
    return replace_header(encode_canonical(body))


def replace_header(encoded: bytes) -> bytes:
    return b"\x01" + len(encoded).to_bytes(2, "big") + encoded.ljust(512, b"\0") + seal()[WRAP_AT:]


@pytest.mark.parametrize(
    "change",
    [
        lambda body: body.pop("rev"),
        lambda body: body.update(more=1),
        lambda body: body.update(v=2),
        lambda body: body.update(alg="none"),
        lambda body: body.update(epoch=True),
        lambda body: body.update(epoch=-1),
        lambda body: body.update(rev=2**63),
        lambda body: body.update(rev="5"),
        lambda body: body.update(issued=1.5),
        lambda body: body.update(device="Not A Label"),
        lambda body: body.update(fleet="short"),
        lambda body: body.update(device=7),
        lambda body: body.update(recipient=None),
    ],
)
def test_another_schema_is_refused_before_anything_is_decrypted(change: Callable[[dict[str, Any]], object]) -> None:
    with pytest.raises(BundleFormatError):
        open_as(with_header(change))


@pytest.mark.parametrize(
    "header",
    [b"", b"{}", b"[]", b"null", b"[" * 500, b'{"v":1,"v":1}', b'{"v": 1}', b"\xff", b"1" * 500],
)
def test_a_header_that_is_no_canonical_object_is_refused(header: bytes) -> None:
    with pytest.raises(BundleFormatError):
        open_as(replace_header(header))


def test_a_profile_too_large_is_misuse_and_the_largest_fits() -> None:
    largest = (MAX_BUNDLE - BODY_AT - 16) // BUCKET * BUCKET - 68
    blob = seal(bytes(largest))
    assert len(blob) <= MAX_BUNDLE
    assert len(open_as(blob).profile) == largest
    with pytest.raises(LocalProtocolError):
        seal(bytes(largest + 1))
    with pytest.raises(BundleFormatError):
        open_as(blob + bytes(BUCKET))


@pytest.mark.parametrize("changes", [{"device": DeviceId("UPPER")}, {"epoch": -1}, {"fleet": FleetId("x")}], ids=str)
def test_a_header_nobody_could_read_is_misuse(changes: dict[str, Any]) -> None:
    with pytest.raises(LocalProtocolError):
        seal(**changes)


def test_a_profile_does_not_show_in_a_repr() -> None:
    assert "nodes" not in repr(open_as(seal()))
