"""Row 22. Position: a beacon, with a device of the same user as its accomplice. Wants: B to use the profile of A.

Countermeasure: the signed header names the recipient, by its id and the hash of its sealing key.
"""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.bindings import crypto_aead_xchacha20poly1305_ietf_decrypt

from pharos.wire.errors import BundleNotForUsError, BundleSignatureError
from pharos.wire.ids import DeviceId
from pharos.wire.noise.keys import KeyPair
from pharos.wire.seal import envelope
from pharos.wire.seal.envelope import BundleHeader, recipient_hash
from tests.support.strategies import keys, labels, quick
from tests.wire.seal.test_envelope import Owner, forge, open_as, seal

owners = st.builds(Owner, device=labels.map(DeviceId), key=keys.map(KeyPair.from_private_bytes))
two_devices = st.tuples(owners, owners).filter(lambda two: two[0].key.public != two[1].key.public)


def taken_out(blob: bytes, owner: Owner) -> tuple[BundleHeader, bytes]:
    """Open a bundle as its owner can: return its header, and the signature and profile in it."""
    header, wrap, nonce, body = envelope._take_apart(blob)
    data_key = envelope._unwrap(wrap, header, owner.key)
    padded = crypto_aead_xchacha20poly1305_ietf_decrypt(body, b"pharos/bundle/v1" + header, nonce, data_key)
    return BundleHeader.decode(header), envelope._unpad(padded)


def named(header: BundleHeader, owner: Owner) -> BundleHeader:
    return attrs.evolve(header, device=owner.device, recipient=recipient_hash(owner.key.public))


@quick
@given(two=two_devices, profile=st.binary(max_size=5_000))
def test_a22_bundle_of_one_device_is_refused_by_another(two: tuple[Owner, Owner], profile: bytes) -> None:
    alice, bob = two
    blob = seal(profile, alice)
    header, content = taken_out(blob, alice)
    # As it is; sealed again for B under A's header; under a header that names B; or B's id with A's key.
    with pytest.raises(BundleNotForUsError):
        open_as(blob, bob)
    with pytest.raises(BundleNotForUsError):
        open_as(forge(header, content, bob), bob)
    with pytest.raises(BundleSignatureError):
        open_as(forge(named(header, bob), content, bob), bob)
    with pytest.raises(BundleNotForUsError):
        open_as(forge(attrs.evolve(header, device=bob.device), content, bob), bob)
    assert open_as(forge(header, content, alice), alice).profile == profile, "what was taken out is A's indeed"


@quick
@given(two=two_devices, profile=st.binary(max_size=5_000))
def test_a22_turns_red_where_the_header_is_not_signed(two: tuple[Owner, Owner], profile: bytes) -> None:
    alice, bob = two
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(envelope, "_signed", lambda _header, content: content)
        header, content = taken_out(seal(profile, alice), alice)
        assert open_as(forge(named(header, bob), content, bob), bob).profile == profile
