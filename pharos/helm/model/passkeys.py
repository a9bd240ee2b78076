"""Passkeys of admins: what helm keeps of a credential whose private key never leaves an authenticator."""

from __future__ import annotations

from typing import Final

import attrs

MAX_PASSKEYS: Final = 8
"""Of one admin. Whoever asks by name is always shown so many credential ids, the rest of them made up."""


@attrs.frozen(kw_only=True)
class Passkey:
    """A passkey's record."""

    id: str
    admin_id: str
    name: str
    """What its admin calls it."""
    site: str
    """The RP ID that it was made for, ``localhost`` for instance: the browser offers it to no page elsewhere."""
    credential: bytes = attrs.field(repr=False)
    """Credential id, drawn by the authenticator."""
    public_key: bytes = attrs.field(repr=False)
    """COSE key (RFC 9052 §7)."""
    counter: int = 0
    """Signature counter of its newest use. One that stays at 0 does not count (WebAuthn §6.1.1)."""
    synced: bool = False
    """Its authenticator keeps a copy elsewhere, and may have it on several machines."""
    used_at: int | None = None
    version: int = 1
    created_at: int = 0
    updated_at: int = 0
    updated_by: str = ""
