"""Passwords of admins: Argon2id, and what it costs (security.md §2f)."""

from __future__ import annotations

from typing import Final

import argon2

# 64 MiB, three passes (RFC 9106 §4, the second recommended option, with more memory than time).
_HASHER: Final = argon2.PasswordHasher(time_cost=3, memory_cost=64 * 1024, parallelism=1)


def hash_password(password: str) -> str:
    """Return what the record keeps, with its salt and parameters; takes a tenth of a second and 64 MiB."""
    return _HASHER.hash(password)


def password_fits(encoded: str, password: str) -> bool:
    """Tell whether ``password`` is the one that ``encoded`` is of; costs as much either way."""
    try:
        return _HASHER.verify(encoded, password)
    except argon2.exceptions.VerificationError:
        return False
