"""WireGuard's primitives under the names its paper gives them (wireguard.pdf §5.4)."""

import hashlib
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from nacl.bindings import crypto_scalarmult, crypto_scalarmult_base
from nacl.exceptions import CryptoError

from pharos.wire.errors import DecryptError

KEY_BYTES: Final = 32
MAC_BYTES: Final = 16
TAG_BYTES: Final = 16

_BLOCK_BYTES: Final = 64  # BLAKE2s (RFC 7693 §2.1)
_INNER_PAD: Final = bytes(octet ^ 0x36 for octet in range(256))
_OUTER_PAD: Final = bytes(octet ^ 0x5C for octet in range(256))
_NUMBERS: Final = (b"\x01", b"\x02", b"\x03")
_blake2s: Final = hashlib.blake2s
# Every handshake key seals exactly one message, so its nonce is always zero.
_ZERO_NONCE: Final = bytes(12)


def blake2s(*parts: bytes) -> bytes:
    """HASH of the paper over the concatenation of ``parts``; 32 bytes."""
    state = hashlib.blake2s()
    for part in parts:
        state.update(part)
    return state.digest()


def hmac_blake2s(key: bytes, message: bytes) -> bytes:
    """RFC 2104 over BLAKE2s, for keys of at most one block.

    Written out because a handshake makes two dozen of these and ``hmac`` takes three times as long for each.
    """
    block = key.ljust(_BLOCK_BYTES, b"\0")
    inner = _blake2s(block.translate(_INNER_PAD) + message).digest()
    return _blake2s(block.translate(_OUTER_PAD) + inner).digest()


def kdf1(chaining_key: bytes, material: bytes) -> bytes:
    return hmac_blake2s(hmac_blake2s(chaining_key, material), b"\x01")


def kdf2(chaining_key: bytes, material: bytes) -> tuple[bytes, bytes]:
    first, second = _expand(chaining_key, material, 2)
    return first, second


def kdf3(chaining_key: bytes, material: bytes) -> tuple[bytes, bytes, bytes]:
    first, second, third = _expand(chaining_key, material, 3)
    return first, second, third


def _expand(chaining_key: bytes, material: bytes, count: int) -> list[bytes]:
    # The same HMAC several times under one key, whose two blocks are made once.
    block = hmac_blake2s(chaining_key, material).ljust(_BLOCK_BYTES, b"\0")
    inner, outer = block.translate(_INNER_PAD), block.translate(_OUTER_PAD)
    made: list[bytes] = []
    last = b""
    for number in _NUMBERS[:count]:
        last = _blake2s(outer + _blake2s(inner + last + number).digest()).digest()
        made.append(last)
    return made


def mac(key: bytes, message: bytes) -> bytes:
    """Keyed BLAKE2s of 16 bytes, not HMAC."""
    return hashlib.blake2s(message, key=key, digest_size=MAC_BYTES).digest()


def seal_once(key: bytes, plaintext: bytes, associated: bytes) -> bytes:
    return ChaCha20Poly1305(key).encrypt(_ZERO_NONCE, plaintext, associated)


def open_once(key: bytes, ciphertext: bytes, associated: bytes) -> bytes:
    """Raises: DecryptError — it was not sealed with this key over this associated data."""
    try:
        return ChaCha20Poly1305(key).decrypt(_ZERO_NONCE, ciphertext, associated)
    except InvalidTag:
        raise DecryptError("a handshake message does not authenticate") from None


def public_half(scalar: bytes) -> bytes:
    """The public key of an X25519 private key (RFC 7748 §6.1); libsodium takes half of OpenSSL's time for it."""
    return crypto_scalarmult_base(scalar)


def exchange(scalar: bytes, public: bytes) -> bytes:
    """Raises: DecryptError — ``public`` is a point of small order, which nobody honest sends."""
    try:
        return crypto_scalarmult(scalar, public)
    except CryptoError:
        raise DecryptError("a public key is a point of small order") from None
