"""Project Wycheproof (C2SP, testvectors_v1) against the calls that we make into `cryptography` and libsodium.

Each case is answered as it says, or is named here with the reason.
"""

from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from nacl.bindings import crypto_aead_xchacha20poly1305_ietf_decrypt, crypto_aead_xchacha20poly1305_ietf_encrypt
from nacl.exceptions import CryptoError

from pharos.wire.awg.primitives import exchange, open_once, seal_once
from pharos.wire.errors import BundleSignatureError, DecryptError, RemoteProtocolError
from pharos.wire.noise.keys import KeyPair
from pharos.wire.seal.signature import verify_signature
from tests.support.vectors import load_vectors

# The library refuses nonces under 8 and over 128 bytes; TLS and REALITY, the only users, have 12.
GCM_NONCES: Final = range(8, 129)


def cases_of(name: str) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Give (group, case), with hexadecimal values as bytes."""
    for group in load_vectors(f"wycheproof/{name}_test.json")["testGroups"]:
        for case in group["tests"]:
            yield group, {key: binary(value) if key in BINARY else value for key, value in case.items()}


BINARY = {"public", "private", "shared", "key", "iv", "aad", "msg", "ct", "tag", "sig", "ikm", "salt", "info", "okm"}


def binary(value: str) -> bytes:
    return bytes.fromhex(value)


def test_x25519_agrees_and_refuses_what_depends_on_no_key() -> None:
    counted = 0
    for _, case in cases_of("x25519"):
        counted += 1
        private = case["private"]
        pair = KeyPair.from_private_bytes(private)
        if "ZeroSharedSecret" in case["flags"]:
            # RFC 7748 §6.1 leaves it to the protocol; both of ours refuse.
            with pytest.raises(RemoteProtocolError):
                pair.exchange(case["public"])
            with pytest.raises(DecryptError):
                exchange(private, case["public"])
        else:
            # "Acceptable" are points on the twist and in non-canonical form, which RFC 7748 §5 says to take.
            assert pair.exchange(case["public"]) == exchange(private, case["public"]) == case["shared"], case["tcId"]
    assert counted == 518


Seal = Callable[[bytes, bytes, bytes, bytes], bytes]


def check_aead(name: str, seal: Seal, open_: Seal, refusals: tuple[type[Exception], ...]) -> dict[str, int]:
    """Check every case both ways; count the valid ones that are refused, by flag."""
    refused: dict[str, int] = {}
    for _, case in cases_of(name):
        key, nonce, aad, sealed = case["key"], case["iv"], case["aad"], case["ct"] + case["tag"]
        if case["result"] == "valid" and (name != "aes_gcm" or len(nonce) in GCM_NONCES):
            assert seal(key, nonce, case["msg"], aad) == sealed, case["tcId"]
            assert open_(key, nonce, sealed, aad) == case["msg"], case["tcId"]
        else:
            with pytest.raises(refusals):
                open_(key, nonce, sealed, aad)
            if case["result"] == "valid":
                (flag,) = case["flags"]
                refused[flag] = refused.get(flag, 0) + 1
    return refused


def test_chacha20_poly1305_agrees() -> None:
    refused = check_aead(
        "chacha20_poly1305",
        lambda key, nonce, text, aad: ChaCha20Poly1305(key).encrypt(nonce, text, aad),
        lambda key, nonce, text, aad: ChaCha20Poly1305(key).decrypt(nonce, text, aad),
        (InvalidTag, ValueError),
    )
    assert refused == {}


def test_wireguards_aead_is_that_of_the_vectors_at_nonce_zero() -> None:
    """None of the vectors has its nonce, so it is measured against what was just checked."""
    for _, case in cases_of("chacha20_poly1305"):
        sealed = seal_once(case["key"], case["msg"], case["aad"])
        assert sealed == ChaCha20Poly1305(case["key"]).encrypt(bytes(12), case["msg"], case["aad"])
        assert open_once(case["key"], sealed, case["aad"]) == case["msg"]
        with pytest.raises(DecryptError):
            open_once(case["key"], sealed[:-1] + bytes([sealed[-1] ^ 1]), case["aad"])


def test_xchacha20_poly1305_agrees() -> None:
    refused = check_aead(
        "xchacha20_poly1305",
        lambda key, nonce, text, aad: crypto_aead_xchacha20poly1305_ietf_encrypt(text, aad, nonce, key),
        lambda key, nonce, text, aad: crypto_aead_xchacha20poly1305_ietf_decrypt(text, aad, nonce, key),
        (CryptoError, ValueError),
    )
    assert refused == {}


def test_aes_gcm_agrees_for_every_nonce_that_the_library_takes() -> None:
    refused = check_aead(
        "aes_gcm",
        lambda key, nonce, text, aad: AESGCM(key).encrypt(nonce, text, aad),
        lambda key, nonce, text, aad: AESGCM(key).decrypt(nonce, text, aad),
        (InvalidTag, ValueError),
    )
    lengths = [(case["flags"][0], len(case["iv"])) for _, case in cases_of("aes_gcm") if case["result"] == "valid"]
    outside = [flag for flag, length in lengths if length not in GCM_NONCES]
    assert refused == {flag: outside.count(flag) for flag in outside}
    assert refused.keys() == {"SmallIv", "LongIv"}


def test_ed25519_agrees() -> None:
    counted = 0
    for group, case in cases_of("ed25519"):
        counted += 1
        key = bytes.fromhex(group["publicKey"]["pk"])
        if case["result"] == "valid":
            assert verify_signature(case["sig"], case["msg"], [key]) == case["msg"]
        else:
            # Malleable, truncated, non-canonical and foreign ones alike.
            with pytest.raises(BundleSignatureError):
                verify_signature(case["sig"], case["msg"], [key])
    assert counted == 151


def test_hkdf_sha256_agrees() -> None:
    counted = 0
    for _, case in cases_of("hkdf_sha256"):
        counted += 1

        def derive(case: dict[str, Any] = case) -> bytes:
            hkdf = HKDF(algorithm=hashes.SHA256(), length=case["size"], salt=case["salt"], info=case["info"])
            return hkdf.derive(case["ikm"])

        if case["result"] == "valid":
            assert derive() == case["okm"]
        else:
            with pytest.raises(ValueError):
                derive()
    assert counted == 86
