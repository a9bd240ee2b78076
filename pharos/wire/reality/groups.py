"""Key exchange groups: X25519, X25519MLKEM768 and two curves of NIST (RFC 8446 §4.2.8.2, draft-ietf-tls-ecdhe-mlkem).

Both ends of a REALITY connection use the first two; the curves are there because browsers offer them, so that a real
site may choose one.
"""

from typing import Final, Protocol

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from pharos.wire.reality.draws import Random
from pharos.wire.reality.errors import Alert, TlsError

SECP256R1: Final = 0x0017
SECP384R1: Final = 0x0018
SECP521R1: Final = 0x0019
X25519: Final = 0x001D
X25519MLKEM768: Final = 0x11EC

X25519_LENGTH: Final = 32
MLKEM768_KEY: Final = 1184
MLKEM768_CIPHERTEXT: Final = 1088
_MLKEM768_SEED: Final = 64

CLIENT_SHARE: Final = {X25519: X25519_LENGTH, X25519MLKEM768: MLKEM768_KEY + X25519_LENGTH}
"""Octets of a client's share, for the groups that a node can answer in."""
SERVER_SHARE: Final = {X25519: X25519_LENGTH, X25519MLKEM768: MLKEM768_CIPHERTEXT + X25519_LENGTH}

_CURVES: Final[dict[int, ec.EllipticCurve]] = {
    SECP256R1: ec.SECP256R1(),
    SECP384R1: ec.SECP384R1(),
    SECP521R1: ec.SECP521R1(),
}
_ORDERS: Final = {
    SECP256R1: 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
    SECP384R1: int("F" * 48 + "C7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973", 16),
    SECP521R1: int("1FF" + "F" * 63 + "A51868783BF2F966B7FCC0148F709A5D03BB5C9B8899C47AEBB6FB71E91386409", 16),
}
"""How many points the curves have (SEC 2 §2)."""

GROUPS: Final = frozenset({*CLIENT_SHARE, *_CURVES})


class ClientShare(Protocol):
    """A private key of the client, for one handshake."""

    public: bytes
    """As it stands in the hello."""

    def exchange(self, answer: bytes) -> bytes:
        """Return the secret shared with the sender of the answer.

        Raises: TlsError — the answer is no share of this group.
        """


class X25519Share:
    def __init__(self, private: bytes) -> None:
        self._private = X25519PrivateKey.from_private_bytes(private)
        self.public = self._private.public_key().public_bytes_raw()

    def exchange(self, answer: bytes) -> bytes:
        try:
            return self._private.exchange(X25519PublicKey.from_public_bytes(answer))
        except ValueError:
            # A wrong length, or a point of low order, whose secret would be all zeros (RFC 7748 §6.1).
            raise _refused("X25519") from None


class HybridShare:
    """ML-KEM-768 in front, X25519 behind it: in the share, in the answer and in the secret."""

    def __init__(self, x25519: X25519Share, seed: bytes) -> None:
        self.x25519 = x25519
        self._kem = MLKEM768PrivateKey.from_seed_bytes(seed)
        self.public = self._kem.public_key().public_bytes_raw() + x25519.public

    def exchange(self, answer: bytes) -> bytes:
        if len(answer) != SERVER_SHARE[X25519MLKEM768]:
            raise _refused("X25519MLKEM768")
        # Decapsulating what is no ciphertext of ours gives a secret that nobody knows, so that the handshake fails.
        return self._kem.decapsulate(answer[:MLKEM768_CIPHERTEXT]) + self.x25519.exchange(answer[MLKEM768_CIPHERTEXT:])


class CurveShare:
    def __init__(self, group: int, random: Random) -> None:
        # 64 bits more than the order has, so that the remainder favours no number (FIPS 186-5 §A.2.1).
        order = _ORDERS[group]
        drawn = int.from_bytes(random((order.bit_length() + 7) // 8 + 8), "big")
        self._curve = _CURVES[group]
        self._private = ec.derive_private_key(drawn % (order - 1) + 1, self._curve)
        self.public = self._private.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)

    def exchange(self, answer: bytes) -> bytes:
        if answer[:1] != b"\x04":
            raise _refused(self._curve.name)
        try:
            return self._private.exchange(ec.ECDH(), ec.EllipticCurvePublicKey.from_encoded_point(self._curve, answer))
        except ValueError:
            raise _refused(self._curve.name) from None


def make_share(group: int, random: Random, *, x25519: X25519Share | None = None) -> ClientShare:
    """Make a private key for one of `GROUPS`; a hybrid share may take the ``x25519`` of another."""
    if group in _CURVES:
        return CurveShare(group, random)
    classical = x25519 or X25519Share(random(X25519_LENGTH))
    return HybridShare(classical, random(_MLKEM768_SEED)) if group == X25519MLKEM768 else classical


def answer_share(group: int, share: bytes, random: Random) -> tuple[bytes, bytes]:
    """Answer a client's share, as a node does: return our share and the shared secret.

    ML-KEM's encapsulation takes its randomness from the library, which offers no other way.

    Raises: TlsError — the share is none of X25519 or X25519MLKEM768.
    """
    if len(share) != CLIENT_SHARE.get(group):
        raise _refused(f"group {group:#06x}")
    ours = X25519Share(random(X25519_LENGTH))
    secret = ours.exchange(share[-X25519_LENGTH:])
    if group == X25519:
        return ours.public, secret
    try:
        shared, ciphertext = MLKEM768PublicKey.from_public_bytes(share[:MLKEM768_KEY]).encapsulate()
    except ValueError:
        raise _refused("X25519MLKEM768") from None
    return ciphertext + ours.public, shared + secret


def _refused(name: str) -> TlsError:
    return TlsError(Alert.ILLEGAL_PARAMETER, f"the key share is none of {name}")
