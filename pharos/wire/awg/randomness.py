"""Choices made from randomness that the caller passes in."""

from collections.abc import Callable
from typing import Final, TypeAlias

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20

from pharos.wire.units import MIB

Random: TypeAlias = Callable[[int], bytes]
"""Returns so many unpredictable bytes: ``os.urandom`` in a daemon, a seeded stream in a test."""

POOL_BYTES: Final = 4096
"""Drawn at a time: 1.3 µs of keystream, where the system would take 7 µs, or half a microsecond for each packet."""
RESEED_BYTES: Final = 1024 * MIB
"""Drawn from one seed: ChaCha20's block counter of 32 bits ends after 256 GiB, some hours of a busy node."""
_SEED_BYTES: Final = 44  # A key of 32 bytes and a nonce of 12.
_FIRST_BLOCK: Final = bytes(4)


def uniform(random: Random, low: int, high: int) -> int:
    """Choose from ``low`` to ``high``, both included, without the bias of a plain modulo."""
    span = high - low + 1
    size = (span.bit_length() + 7) // 8
    limit = (1 << (8 * size)) // span * span
    while True:
        drawn = int.from_bytes(random(size), "little")
        if drawn < limit:
            return low + drawn % span


class RandomPool:
    """A keystream in the stead of the system's, for what is drawn at every packet: padding, junk, headers.

    Call it as a ``Random``. Nothing secret is made of it: its bytes travel in the clear, and must only look like any
    others.
    """

    __slots__ = ("_at", "_buffer", "_left", "_random", "_update")

    def __init__(self, random: Random) -> None:
        self._random = random
        self._buffer = b""
        self._at = 0
        self._seed()

    def __call__(self, count: int) -> bytes:
        at = self._at
        end = at + count
        if end > len(self._buffer):
            size = max(POOL_BYTES, count)
            if size > self._left:
                self._seed()
            self._left -= size
            self._buffer = self._update(bytes(size))
            at, end = 0, count
        self._at = end
        return self._buffer[at:end]

    def _seed(self) -> None:
        seed = self._random(_SEED_BYTES)
        self._update = Cipher(ChaCha20(seed[:32], _FIRST_BLOCK + seed[32:]), mode=None).encryptor().update
        self._left = RESEED_BYTES
