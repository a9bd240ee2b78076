"""The symmetric half of Noise: hash, key derivation, CipherState and SymmetricState (rev 34 §4, §5.1, §5.2)."""

import hashlib
import hmac
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from pharos.wire.errors import DecryptError, LocalProtocolError, RemoteProtocolError

HASH_LENGTH: Final = 32
TAG_LENGTH: Final = 16
MAX_MESSAGE: Final = 65_535
"""Octets of any Noise message, so that a two-octet length always holds it (§3)."""

MAX_NONCE: Final = 2**64 - 1
"""Reserved for ``rekey``; a message never uses it (§5.1)."""


def blake2s(data: bytes) -> bytes:
    return hashlib.blake2s(data).digest()


def hkdf(chaining_key: bytes, material: bytes, outputs: int) -> tuple[bytes, ...]:
    """Derive two or three 32-octet keys (§4.3): RFC 5869's HKDF, salted with the chaining key, without an info."""
    temporary = hmac.digest(chaining_key, material, "blake2s")
    keys: list[bytes] = []
    previous = b""
    for counter in range(1, outputs + 1):
        previous = hmac.digest(temporary, previous + bytes((counter,)), "blake2s")
        keys.append(previous)
    return tuple(keys)


def _nonce(counter: int) -> bytes:
    # ChaChaPoly of Noise: 32 zero bits, then the counter, little-endian (§12.3).
    return bytes(4) + counter.to_bytes(8, "little")


class CipherState:
    """One direction's key and message counter; without a key it passes plaintext through (§5.1)."""

    __slots__ = ("_aead", "nonce")

    def __init__(self, key: bytes | None = None) -> None:
        self._aead = ChaCha20Poly1305(key) if key is not None else None
        self.nonce = 0
        """Number of the next message; set it only to accept messages out of order (§11.4)."""

    @property
    def has_key(self) -> bool:
        return self._aead is not None

    def encrypt(self, associated: bytes, plaintext: bytes) -> bytes:
        """Seal one message and count it; 16 octets longer than ``plaintext``.

        Raises: LocalProtocolError — the counter is used up.
        """
        if self._aead is None:
            return plaintext
        if self.nonce >= MAX_NONCE:
            raise LocalProtocolError("the nonces of this Noise session are used up; open a new one")
        sealed = self._aead.encrypt(_nonce(self.nonce), plaintext, associated)
        self.nonce += 1
        return sealed

    def decrypt(self, associated: bytes, ciphertext: bytes) -> bytes:
        """Open one message; only an authentic one is counted.

        Raises:
            DecryptError — it is not authentic, or too short to be.
            RemoteProtocolError — the peer sent more messages than there are nonces.
        """
        if self._aead is None:
            return ciphertext
        if self.nonce >= MAX_NONCE:
            raise RemoteProtocolError("the peer used up the nonces of this Noise session")
        try:
            plaintext = self._aead.decrypt(_nonce(self.nonce), ciphertext, associated)
        except InvalidTag:
            raise DecryptError(f"Noise message {self.nonce} is not authentic") from None
        self.nonce += 1
        return plaintext

    def rekey(self) -> None:
        """Replace the key by a one-way function of it; the counter goes on (§4.2, §11.3).

        Both sides must do it after the same message. It keeps earlier messages secret from a later thief of the
        key; it heals nothing after a theft.
        """
        if self._aead is None:
            raise LocalProtocolError("there is no key yet that could be replaced")
        self._aead = ChaCha20Poly1305(self._aead.encrypt(_nonce(MAX_NONCE), bytes(32), b"")[:32])

    def __repr__(self) -> str:
        return f"<CipherState nonce={self.nonce} has_key={self.has_key}>"


class SymmetricState:
    """Chaining key, transcript hash and the handshake's own CipherState (§5.2)."""

    __slots__ = ("_chaining_key", "cipher", "transcript")

    def __init__(self, protocol_name: str) -> None:
        name = protocol_name.encode("ascii")
        self.transcript = name.ljust(HASH_LENGTH, b"\0") if len(name) <= HASH_LENGTH else blake2s(name)
        self._chaining_key = self.transcript
        self.cipher = CipherState()

    def mix_hash(self, data: bytes) -> None:
        self.transcript = blake2s(self.transcript + data)

    def mix_key(self, material: bytes) -> None:
        self._chaining_key, key = hkdf(self._chaining_key, material, 2)
        self.cipher = CipherState(key)

    def mix_key_and_hash(self, material: bytes) -> None:
        self._chaining_key, hashed, key = hkdf(self._chaining_key, material, 3)
        self.mix_hash(hashed)
        self.cipher = CipherState(key)

    def encrypt_and_hash(self, plaintext: bytes) -> bytes:
        ciphertext = self.cipher.encrypt(self.transcript, plaintext)
        self.mix_hash(ciphertext)
        return ciphertext

    def decrypt_and_hash(self, ciphertext: bytes) -> bytes:
        plaintext = self.cipher.decrypt(self.transcript, ciphertext)
        self.mix_hash(ciphertext)
        return plaintext

    def split(self) -> tuple[CipherState, CipherState]:
        """Give the transport states: initiator to responder, then responder to initiator."""
        initiator, responder = hkdf(self._chaining_key, b"", 2)
        return CipherState(initiator), CipherState(responder)

    def __repr__(self) -> str:
        return f"<SymmetricState transcript={self.transcript.hex()[:16]}…>"
