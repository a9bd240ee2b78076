"""Ed25519 signatures by the fleet signing key, each over a context that no other use shares (security.md §2a)."""

from collections.abc import Collection

from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

from pharos.wire.errors import BundleSignatureError


def verify_signature(signature: bytes, message: bytes, signing_keys: Collection[bytes]) -> bytes:
    """Return ``message`` if one of the raw public keys signed it; a rotation has two of them.

    Raises: BundleSignatureError — none did.
    """
    for key in signing_keys:
        try:
            return VerifyKey(key).verify(message, signature)
        except (BadSignatureError, ValueError):
            continue
    raise BundleSignatureError("this is not signed by the fleet")
