"""A key from a passphrase, by Argon2id (RFC 9106), with a cost that is bounded before anything runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Self

import attrs
from nacl import pwhash, utils

from pharos.wire.errors import ParameterError
from pharos.wire.units import KIB, MIB

KEY_SIZE: Final = 32
SALT_SIZE: Final = pwhash.argon2id.SALTBYTES
PASSES: Final = 3
OCTETS: Final = 64 * MIB
"""With three passes a tenth of a second of one core for each guess (security.md §2c)."""
MIN_PASSES: Final = 1
MAX_PASSES: Final = 16
MIN_OCTETS: Final = 8 * KIB
MAX_OCTETS: Final = 1024 * MIB
"""What a file may ask of us, whoever wrote it: some seconds and a gibibyte at most."""
MAX_PASSPHRASE: Final = 1024
"""Octets of UTF-8: nobody types more, and nobody shall make us hash more."""


@attrs.frozen(kw_only=True)
class KeyCost:
    """What a key is derived with, besides the passphrase. It may stand in the clear.

    Raises: ParameterError — it is out of bounds.
    """

    salt: bytes
    passes: int = PASSES
    octets: int = OCTETS

    def __attrs_post_init__(self) -> None:
        if len(self.salt) != SALT_SIZE:
            raise ParameterError(f"salt: {len(self.salt)} octets; it has {SALT_SIZE}")
        if not MIN_PASSES <= self.passes <= MAX_PASSES:
            raise ParameterError(f"passes: {self.passes}; between {MIN_PASSES} and {MAX_PASSES} are allowed")
        if not MIN_OCTETS <= self.octets <= MAX_OCTETS:
            raise ParameterError(f"octets: {self.octets}; between {MIN_OCTETS} and {MAX_OCTETS} are allowed")

    @classmethod
    def fresh(cls, random: Callable[[int], bytes] = utils.random) -> Self:
        """Return the cost of today with a salt of its own."""
        return cls(salt=random(SALT_SIZE))

    def derive(self, passphrase: str) -> bytes:
        """Return the key, 32 octets; blocks for as long as it costs.

        Raises: ParameterError — the passphrase is longer than anybody's.
        """
        raw = passphrase.encode()
        if len(raw) > MAX_PASSPHRASE:
            raise ParameterError(f"passphrase: longer than {MAX_PASSPHRASE} octets")
        derived: bytes = pwhash.argon2id.kdf(KEY_SIZE, raw, self.salt, opslimit=self.passes, memlimit=self.octets)
        return derived
