"""Row 20. Position: a beacon that keeps what went through it. Wants: an old profile in use again.

Countermeasures: (epoch, rev) stands in the header, which the fleet signed, the hash of which is in the wrap, and which
is the body's AAD. Any one of the three holds a header to its body; a device remembers how new its profile is.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.bindings import crypto_aead_xchacha20poly1305_ietf_decrypt, crypto_aead_xchacha20poly1305_ietf_encrypt

from pharos.wire.errors import BundleError, BundleRollbackError, BundleSignatureError
from pharos.wire.seal import envelope
from tests.support.strategies import quick
from tests.wire.seal.test_envelope import open_as, parts, seal

NUMBER = st.integers(0, 2**63 - 1)
orders = st.tuples(NUMBER, NUMBER)
LAYERS = ("hash", "AAD", "signature")


@quick
@given(one=orders, two=orders, profiles=st.tuples(st.binary(max_size=9_000), st.binary(max_size=9_000)))
@pytest.mark.red_inside
def test_a20_older_bundle_is_refused(one: tuple[int, int], two: tuple[int, int], profiles: tuple[bytes, bytes]) -> None:
    older, newer = sorted((one, two))
    blob = seal(profiles[0], epoch=older[0], revision=older[1])
    if older == newer:
        assert open_as(blob, newest=newer).header.order == older
        return
    with pytest.raises(BundleRollbackError):
        open_as(blob, newest=newer)
    assert open_as(seal(profiles[1], epoch=newer[0], revision=newer[1]), newest=older).header.order == newer
    # Red: a device that does not remember.
    assert open_as(blob, newest=None).profile == profiles[0]


@quick
@given(one=orders, two=orders, profiles=st.tuples(st.binary(max_size=9_000), st.binary(max_size=9_000)))
def test_a20_parts_of_two_bundles_do_not_mix(
    one: tuple[int, int], two: tuple[int, int], profiles: tuple[bytes, bytes]
) -> None:
    made = [
        parts(seal(profile, epoch=epoch, revision=revision))
        for profile, (epoch, revision) in zip(profiles, (one, two), strict=True)
    ]
    for header, wrap, body in itertools.product((0, 1), repeat=3):
        mixed = made[header][0] + made[wrap][1] + made[body][2]
        if header == wrap == body:
            assert open_as(mixed).profile == profiles[header]
        elif one == two and wrap == body:
            # Their headers are the same octets.
            assert open_as(mixed).profile == profiles[body]
        else:
            with pytest.raises(BundleError):
                open_as(mixed)


Cipher = Callable[[bytes, bytes, bytes, bytes], bytes]


def without_aad(cipher: Cipher) -> Cipher:
    return lambda data, _aad, nonce, key: cipher(data, b"", nonce, key)


@contextmanager
def without(*layers: str) -> Iterator[None]:
    """Weakened at both ends: helm seals, and the device opens, without these."""
    with pytest.MonkeyPatch.context() as patch:
        if "hash" in layers:
            patch.setattr(envelope, "hmac", SimpleNamespace(compare_digest=lambda _one, _other: True))
        if "AAD" in layers:
            for cipher in (crypto_aead_xchacha20poly1305_ietf_encrypt, crypto_aead_xchacha20poly1305_ietf_decrypt):
                patch.setattr(envelope, cipher.__name__, without_aad(cipher))
        if "signature" in layers:
            patch.setattr(envelope, "_signed", lambda _header, profile: profile)
        yield


def old_profile_under_a_new_header() -> bytes:
    """Return what the device makes of a kept bundle that got the header of a newer one."""
    older, newer = parts(seal(b"old", revision=5)), parts(seal(b"new", revision=7))
    return open_as(newer[0] + older[1] + older[2], newest=(1_700_000_000, 6)).profile


@pytest.mark.parametrize("kept", LAYERS)
def test_a20_each_of_the_three_holds_alone(kept: str) -> None:
    with without(*(layer for layer in LAYERS if layer != kept)), pytest.raises(BundleSignatureError):
        old_profile_under_a_new_header()


def test_a20_turns_red_without_all_three() -> None:
    with without(*LAYERS):
        assert old_profile_under_a_new_header() == b"old"
