"""Passwords of admins and passphrases of users: Argon2id, and what it costs (security.md §2f)."""

from __future__ import annotations

import base64
from typing import Final

import argon2

from pharos.wire.chance import choose
from pharos.wire.world import random_bytes

# 64 MiB, three passes (RFC 9106 §4, the second recommended option, with more memory than time).
_HASHER: Final = argon2.PasswordHasher(time_cost=3, memory_cost=64 * 1024, parallelism=1)

# Without 0, 1, i, l and o, which people mistake for each other.
_ALPHABET: Final = "23456789abcdefghjkmnpqrstuvwxyz"
_GROUPS: Final = 4
_GROUP: Final = 5


def hash_password(password: str) -> str:
    """Return what the record keeps, with its salt and parameters; takes a tenth of a second and 64 MiB."""
    return _HASHER.hash(password)


def password_fits(encoded: str, password: str) -> bool:
    """Tell whether ``password`` is the one that ``encoded`` is of; costs as much either way."""
    try:
        return _HASHER.verify(encoded, password)
    except argon2.exceptions.VerificationError:
        return False


def fits_nothing() -> str:
    """Return what no password fits, and what costs as much to check as any: for somebody who is not there (row 51)."""
    salt, digest = (base64.b64encode(random_bytes(n)).decode().rstrip("=") for n in (16, 32))
    return f"$argon2id$v=19$m={_HASHER.memory_cost},t={_HASHER.time_cost},p={_HASHER.parallelism}${salt}${digest}"


def draw_passphrase() -> str:
    """Draw a passphrase of 99 bits that can be read out on the telephone."""
    return "-".join("".join(choose(_ALPHABET) for _ in range(_GROUP)) for _ in range(_GROUPS))
