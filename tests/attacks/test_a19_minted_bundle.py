"""Row 19. Position: a beacon. Wants: a device to take a profile that the beacon made.

Countermeasure: the fleet's signature. The seal alone says nothing of its maker, for anybody can seal to a public key.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.signing import SigningKey

from pharos.wire.errors import BundleSignatureError
from pharos.wire.seal import envelope
from pharos.wire.seal.envelope import BundleHeader, recipient_hash
from tests.support.strategies import quick
from tests.wire.seal.test_envelope import ALICE, FLEET, SIGNER, Owner, forge, open_as, seal, signed_content

NUMBER = st.integers(0, 2**63 - 1)
headers = st.builds(
    BundleHeader,
    fleet=st.just(FLEET),
    device=st.just(ALICE.device),
    recipient=st.just(recipient_hash(ALICE.key.public)),
    epoch=NUMBER,
    revision=NUMBER,
    issued=NUMBER,
    manifest_version=NUMBER,
)
"""All that a beacon may learn of a device, and numbers of its choice."""

EVIL = SigningKey(bytes([66] * 32))


@quick
@given(header=headers, profile=st.binary(max_size=5_000))
def test_a19_bundle_that_another_key_signed_is_refused(header: BundleHeader, profile: bytes) -> None:
    minted = forge(header, signed_content(header, profile, EVIL), ALICE)
    with pytest.raises(BundleSignatureError):
        open_as(minted)
    # Sealed by the product's own hand, with all but the key: nothing of ours helps either.
    with pytest.raises(BundleSignatureError):
        open_as(seal(profile, signing_key=EVIL))


@quick
@given(header=headers, signature=st.binary(min_size=64, max_size=64), profile=st.binary(max_size=500))
def test_a19_signature_of_nothing_is_refused(header: BundleHeader, signature: bytes, profile: bytes) -> None:
    with pytest.raises(BundleSignatureError):
        open_as(forge(header, signature + profile, ALICE))


@quick
@given(header=headers, profile=st.binary(max_size=500), context=st.binary(max_size=40))
def test_a19_signature_under_another_context_is_refused(header: BundleHeader, profile: bytes, context: bytes) -> None:
    """What the fleet signs elsewhere, a deny list or its word of freshness, is no profile's signature."""
    signature = SIGNER.sign(context + header.encode() + profile).signature
    with pytest.raises(BundleSignatureError):
        open_as(forge(header, signature + profile, ALICE))


@quick
@given(header=headers, profile=st.binary(max_size=500))
def test_a19_turns_red_without_the_signature(header: BundleHeader, profile: bytes) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(envelope, "verify_signature", lambda _signature, message, _keys: message)
        opened = open_as(forge(header, bytes(64) + profile, ALICE))
    assert (opened.profile, opened.header) == (profile, header)


def test_a19_seal_is_one_that_anybody_can_make() -> None:
    """Which is why the signature has to be there: a header and a public key are enough to seal."""
    public = Owner(ALICE.device, ALICE.key)
    header = open_as(seal()).header
    assert open_as(forge(header, signed_content(header, b"as helm does", SIGNER), public)).profile == b"as helm does"
