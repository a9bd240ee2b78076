"""X25519 key pairs, raw bytes at the edges (RFC 7748, Noise rev 34 §12.1)."""

from typing import Final

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from pharos.wire.errors import LocalProtocolError, RemoteProtocolError

KEY_LENGTH: Final = 32
"""Octets of a private key, a public key and a shared secret alike ("DHLEN" of Noise)."""
_FIELD_PRIME: Final = 2**255 - 19


class KeyPair:
    """One X25519 key pair; the private half never shows in a repr."""

    __slots__ = ("_private", "public")

    def __init__(self, private: X25519PrivateKey) -> None:
        self._private = private
        self.public: Final = private.public_key().public_bytes_raw()

    @classmethod
    def generate(cls) -> "KeyPair":
        """Draw a fresh pair from the operating system's generator."""
        return cls(X25519PrivateKey.generate())

    @classmethod
    def from_private_bytes(cls, raw: bytes) -> "KeyPair":
        """Load the 32 octets that ``private_bytes`` gave.

        Raises: LocalProtocolError — not 32 octets.
        """
        if len(raw) != KEY_LENGTH:
            raise LocalProtocolError(f"an X25519 private key has {KEY_LENGTH} octets, not {len(raw)}")
        return cls(X25519PrivateKey.from_private_bytes(raw))

    def private_bytes(self) -> bytes:
        """The secret, for a key file or a wrapped row; nowhere else."""
        return self._private.private_bytes_raw()

    def exchange(self, public: bytes) -> bytes:
        """Compute the shared secret with a peer's 32-octet public key.

        An all-zero secret is refused (RFC 7748 §6.1): it says that the peer sent a point of low order, so that
        the secret would not depend on our key.

        Raises: RemoteProtocolError — wrong length, or a point of low order.
        """
        try:
            return self._private.exchange(X25519PublicKey.from_public_bytes(public))
        except ValueError as error:
            raise RemoteProtocolError("the peer's X25519 public key cannot be used") from error

    def __repr__(self) -> str:
        return f"<KeyPair public={self.public.hex()[:16]}…>"


def check_public_key(raw: bytes) -> bytes:
    """Return a public key that nobody has proven to have, if it can be anybody's, in its one spelling.

    Raises: LocalProtocolError — not 32 octets, another spelling of some key (RFC 7748 §5 ignores the top bit and
    reduces), or a point of low order.
    """
    if len(raw) != KEY_LENGTH or int.from_bytes(raw, "little") >= _FIELD_PRIME:
        raise LocalProtocolError(f"an X25519 public key has {KEY_LENGTH} octets and is below 2^255 - 19")
    try:
        # A point of low order gives nothing but zeros with any private key, for each is a multiple of the cofactor.
        KeyPair.from_private_bytes(bytes(KEY_LENGTH)).exchange(raw)
    except RemoteProtocolError:
        raise LocalProtocolError("an X25519 public key of low order has no private key that is a secret") from None
    return raw
