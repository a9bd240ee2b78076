"""AmneziaWG 3.0's header protection: what is constant in a message is encrypted under a key both ends share.

The keystream is ChaCha20's (RFC 8439 §2.4) under HeaderProtectionKey, block counter 0, the nonce being the first 12
bytes of the datagram, which are of the random padding. It covers a whole handshake message, and of a transport message
the header: the rest is ciphertext already.
"""

from collections.abc import Iterable, Sequence
from typing import Final, TypeAlias

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20

from pharos.wire.awg.messages import TRANSPORT_HEADER
from pharos.wire.awg.strides import strided

NONCE_BYTES: Final = 12
"""Of padding that each kind needs at least."""

Mask: TypeAlias = tuple[int, int, int]
"""What is put over the fields of a transport header: type, receiver index, counter."""
NO_MASK: Final = (0, 0, 0)

BLOCK_COUNTER: Final = bytes(4)
NO_HEADER: Final = bytes(TRANSPORT_HEADER.size)
"""What the bare keystream is made of."""


class HeaderProtector:
    """Masks headers under one key. It keeps one cipher context: making one anew costs five times the masking.

    ``sending`` and ``receiving`` use the steps of ``mask`` themselves, since a call for each packet is half its cost.
    """

    __slots__ = ("restart", "update")

    def __init__(self, key: bytes) -> None:
        context = Cipher(ChaCha20(key, BLOCK_COUNTER + bytes(NONCE_BYTES)), mode=None).encryptor()
        self.restart = context.reset_nonce
        """Begin the keystream of ``BLOCK_COUNTER`` and a nonce."""
        self.update = context.update
        """Mask what comes next, or take the mask off; it is the same."""

    def mask(self, nonce: bytes) -> Mask:
        """The keystream over a transport header; the nonce is what the datagram begins with.

        Its first field is the mask of every other kind's type, too.
        """
        self.restart(BLOCK_COUNTER + nonce)
        first, second, third = TRANSPORT_HEADER.unpack(self.update(NO_HEADER))
        return first, second, third

    def apply_all(self, nonces: Sequence[bytes], headers: Iterable[bytes]) -> list[bytes]:
        """Mask the header of each message, or take the mask off; there are as many of both."""
        # Each nonce behind a block counter of zero; then the zip takes a step of either in turn.
        count = len(nonces)
        seeds = strided("<16s", 16, count).unpack(strided("<4x12s", 16, count).pack(*nonces))
        return [header for _, header in zip(map(self.restart, seeds), map(self.update, headers), strict=True)]

    def apply(self, nonce: bytes, message: bytes) -> bytes:
        """Mask ``message``, or take the mask off."""
        self.restart(BLOCK_COUNTER + nonce)
        return self.update(message)
