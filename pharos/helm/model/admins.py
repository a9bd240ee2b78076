"""Who may act on the fleet: admins, their tokens, and whoever an edge has recognised."""

from __future__ import annotations

import enum
from typing import Final

import attrs


class Role(enum.Enum):
    """What somebody may do; each may do all that the next one may."""

    OWNER = "owner"
    ADMIN = "admin"
    OPERATOR = "operator"
    VIEWER = "viewer"

    def includes(self, needed: Role) -> bool:
        """Tell whether this role is ``needed`` or one above it."""
        return _RANK[self] >= _RANK[needed]


_RANK: Final = {Role.OWNER: 3, Role.ADMIN: 2, Role.OPERATOR: 1, Role.VIEWER: 0}


class AdminState(enum.Enum):
    """Whether an admin can sign in."""

    INVITED = "invited"
    """Has a one-time link, and has never used one."""
    ACTIVE = "active"
    DISABLED = "disabled"


@attrs.frozen(kw_only=True)
class Admin:
    """An admin's record."""

    id: str
    name: str
    role: Role
    state: AdminState = AdminState.INVITED
    password: str | None = attrs.field(default=None, repr=False)
    """Argon2id, in its own encoding."""
    totp: bytes | None = attrs.field(default=None, repr=False)
    """The TOTP secret, wrapped by the data key."""
    totp_step: int = 0
    """The newest time step that was accepted: none is accepted twice."""
    version: int = 1
    created_at: int = 0
    updated_at: int = 0
    updated_by: str = ""


class TokenState(enum.Enum):
    """Whether an API token is still accepted."""

    ACTIVE = "active"
    REVOKED = "revoked"


@attrs.frozen(kw_only=True)
class Token:
    """An API token's record; its text was shown once."""

    id: str
    name: str
    hash: bytes = attrs.field(repr=False)
    """SHA-256 of the token's text."""
    admin_id: str
    """On whose behalf: it never may more than this admin."""
    role: Role
    scopes: tuple[str, ...] = ()
    """Path segments of nouns it may touch, ``devices`` for instance; empty: all."""
    state: TokenState = TokenState.ACTIVE
    expires_at: int | None = None
    used_at: int | None = None
    version: int = 1
    created_at: int = 0
    updated_at: int = 0
    updated_by: str = ""


class Via(enum.Enum):
    """How somebody came in."""

    SOCKET = "socket"
    """The Unix socket below the state directory: who can open it could as well read the database."""
    SESSION = "session"
    TOKEN = "token"  # noqa: S105 -- a way in, no secret


@attrs.frozen(kw_only=True)
class Principal:
    """Somebody an edge has recognised. What it may do is decided in the transaction that does it."""

    name: str
    role: Role
    via: Via
    admin_id: str | None = None
    credential: bytes = attrs.field(default=b"", repr=False)
    """Hash of the session's or the token's secret, by which the transaction finds it again."""
    scopes: tuple[str, ...] = ()


OPERATOR: Final = Principal(name="operator", role=Role.OWNER, via=Via.SOCKET)
"""Whoever holds the Unix socket."""
