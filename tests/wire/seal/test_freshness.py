import pytest
from nacl.signing import SigningKey

from pharos.wire.errors import BundleSignatureError
from pharos.wire.seal.freshness import NONCE_LENGTH, sign_freshness, verify_freshness

SIGNER = SigningKey(bytes([3] * 32))
KEYS = (bytes(SIGNER.verify_key),)
NONCE = bytes(range(NONCE_LENGTH))


def test_helms_word_holds_for_its_nonce_and_numbers_only() -> None:
    signature = sign_freshness(NONCE, epoch=7, revision=5, signing_key=SIGNER)
    assert verify_freshness(signature, nonce=NONCE, epoch=7, revision=5, signing_keys=KEYS) == (7, 5)
    for nonce, epoch, revision in [(bytes(NONCE_LENGTH), 7, 5), (NONCE, 8, 5), (NONCE, 7, 4), (NONCE, 5, 7)]:
        with pytest.raises(BundleSignatureError):
            verify_freshness(signature, nonce=nonce, epoch=epoch, revision=revision, signing_keys=KEYS)


@pytest.mark.parametrize("signature", [b"", bytes(63), bytes(64), bytes(65)])
def test_what_is_no_signature_is_refused(signature: bytes) -> None:
    with pytest.raises(BundleSignatureError):
        verify_freshness(signature, nonce=NONCE, epoch=7, revision=5, signing_keys=KEYS)


def test_another_signer_is_refused() -> None:
    signature = sign_freshness(NONCE, epoch=7, revision=5, signing_key=SigningKey.generate())
    with pytest.raises(BundleSignatureError):
        verify_freshness(signature, nonce=NONCE, epoch=7, revision=5, signing_keys=KEYS)
