"""X25519 keys at the edge of the tunnel: raw 32 bytes, as WireGuard's tools print them in base64."""

from typing import Final

from pharos.wire.awg.primitives import KEY_BYTES, public_half
from pharos.wire.awg.randomness import Random
from pharos.wire.errors import ParameterError

NO_PRESHARED_KEY: Final = bytes(KEY_BYTES)
"""Stands for none, in the handshake too."""


def generate_private_key(random: Random) -> bytes:
    """Make a private key, clamped (RFC 7748 §5) so that it compares equal to what WireGuard's tools keep."""
    drawn = bytearray(random(KEY_BYTES))
    drawn[0] &= 248
    drawn[31] = drawn[31] & 127 | 64
    return bytes(drawn)


def public_key(private_key: bytes) -> bytes:
    """Raises: ParameterError — ``private_key`` is not 32 bytes long."""
    return StaticKey(private_key).public


def check_key(name: str, key: bytes) -> bytes:
    """Return ``key`` if it has the length of one.

    Raises: ParameterError — it has not. The message never shows the key, for it may be a secret one.
    """
    if len(key) != KEY_BYTES:
        raise ParameterError(f"{name} of {len(key)} bytes: must be {KEY_BYTES} bytes long")
    return key


class StaticKey:
    """This end's long-term key pair; prints as its public half.

    Raises: ParameterError — ``private_key`` is not 32 bytes long.
    """

    __slots__ = ("public", "scalar")

    def __init__(self, private_key: bytes) -> None:
        self.scalar = bytes(check_key("private_key", private_key))
        """The private half."""
        self.public = public_half(self.scalar)

    def __repr__(self) -> str:
        return f"<StaticKey {self.public.hex()[:8]}…>"
