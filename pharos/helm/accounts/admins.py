"""Acts on admins, their one-time links and their tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import attrs

from pharos.helm.accounts.browsers import revoke_browsers
from pharos.helm.accounts.users import check_name
from pharos.helm.errors import ConflictError, InvalidRequestError, NotAllowedError
from pharos.helm.model.admins import Admin, AdminState, Role, Token, TokenState
from pharos.helm.store.admins import ADMINS, TOKENS
from pharos.helm.store.changes import Act
from pharos.helm.store.database import Database
from pharos.helm.store.ids import fresh_id
from pharos.helm.store.records import add_record, change_record, get_record, remove_record, touch_record
from pharos.helm.store.signins import add_link, end_sessions, hash_secret
from pharos.wire.chance import token_urlsafe

# An owner who makes a link for a colleague may send it in the evening.
LINK_LIFETIME: Final = 24 * 3600 * 1_000_000
SECRET_BYTES: Final = 32
TOKEN_PREFIX: Final = "pharos_"  # noqa: S105 -- no secret, its first letters
"""So that scanners of published text recognise one."""
MAX_SCOPES: Final = 32
LONGEST_TOKEN: Final = 366 * 24 * 3600 * 1_000_000


def add_admin(db: Database, act: Act, name: str, role: Role) -> Admin:
    """Write a new admin, who can come in by a link only.

    Raises: InvalidRequestError, ConflictError.
    """
    admin = Admin(id=fresh_id(), name=check_name(name, "admin"), role=role)
    return add_record(db, ADMINS, admin, act, detail=f"{name} as {role.value}")


def change_admin(db: Database, act: Act, admin_id: str, version: int, values: Mapping[str, Any]) -> Admin:
    """Change name, role or state. Whoever loses a role or is disabled is signed out everywhere.

    Raises: ConflictError — it would leave no owner. InvalidRequestError, StaleVersionError, NotFoundError.
    """
    before = get_record(db, ADMINS, admin_id)
    if "name" in values:
        check_name(values["name"], "admin")
    if values.get("state") is AdminState.INVITED:
        raise InvalidRequestError("an admin is invited by a link: make one instead")
    admin = change_record(db, ADMINS, admin_id, version, values, act)
    _check_owner_left(db)
    if admin.role is not before.role or admin.state is AdminState.DISABLED:
        end_sessions(db, admin_id)
    return admin


def remove_admin(db: Database, act: Act, admin_id: str, version: int) -> None:
    """Remove an admin, the sessions, the tokens and the browsers with it.

    Raises: ConflictError — it is the last owner, or the deny list is full. StaleVersionError, NotFoundError.
    """
    admin = get_record(db, ADMINS, admin_id)
    revoke_browsers(db, act, admin_id)
    db.execute("DELETE FROM tokens WHERE admin_id = ?", (admin_id,))
    remove_record(db, ADMINS, admin_id, version, act, detail=admin.name)
    _check_owner_left(db)


def make_link(db: Database, act: Act, admin_id: str) -> str:
    """Return the secret of a new one-time link; links made before end.

    Raises: NotAllowedError — the admin is disabled. NotFoundError.
    """
    admin = get_record(db, ADMINS, admin_id)
    if admin.state is AdminState.DISABLED:
        raise NotAllowedError(f"{admin.name} is disabled; enable the account first")
    secret = token_urlsafe(SECRET_BYTES)
    add_link(db, admin_id, hash_secret(secret), at=act.at, expires_at=act.at + LINK_LIFETIME, actor=act.actor)
    # No column changes by it, and yet somebody can come in: that belongs into the audit.
    touch_record(db, ADMINS, admin_id, act, verb="linked", detail=admin.name)
    return secret


def add_token(
    db: Database,
    act: Act,
    admin_id: str,
    *,
    name: str,
    role: Role,
    scopes: tuple[str, ...] = (),
    expires_at: int | None = None,
) -> tuple[Token, str]:
    """Write a token and return it with its text, which is shown once and kept nowhere.

    Raises: InvalidRequestError, ConflictError. NotAllowedError — it would be above its admin.
    """
    admin = get_record(db, ADMINS, admin_id)
    if not admin.role.includes(role):
        raise NotAllowedError(f"{admin.name} is {admin.role.value} and cannot have a token as {role.value}")
    if expires_at is not None and not act.at < expires_at <= act.at + LONGEST_TOKEN:
        raise InvalidRequestError("a token ends within a year from now, or never")
    if len(scopes) > MAX_SCOPES:
        raise InvalidRequestError(f"a token has at most {MAX_SCOPES} scopes")
    text = TOKEN_PREFIX + token_urlsafe(SECRET_BYTES)
    token = Token(
        id=fresh_id(),
        name=check_name(name, "token"),
        hash=hash_secret(text),
        admin_id=admin_id,
        role=role,
        scopes=tuple(sorted(set(scopes))),
        expires_at=expires_at,
    )
    return add_record(db, TOKENS, token, act, detail=f"{name} for {admin.name}"), text


def revoke_token(db: Database, act: Act, token_id: str, version: int) -> Token:
    """End a token. Raises: StaleVersionError, NotFoundError."""
    return change_record(db, TOKENS, token_id, version, {"state": TokenState.REVOKED}, act, verb="revoked")


def _check_owner_left(db: Database) -> None:
    row = db.execute(
        "SELECT COUNT(*) FROM admins WHERE role = ? AND state <> ?", (Role.OWNER.value, AdminState.DISABLED.value)
    ).fetchone()
    if row[0] == 0:
        raise ConflictError("a fleet has at least one owner who is not disabled")


@attrs.frozen(kw_only=True)
class FirstAdmin:
    """What `helm init` shows once."""

    admin: Admin
    secret: str = attrs.field(repr=False)


def make_first_admin(db: Database, act: Act, name: str) -> FirstAdmin:
    """Write the owner of a new fleet, and a link to come in by: there is no default password (row 56)."""
    admin = add_admin(db, act, name, Role.OWNER)
    return FirstAdmin(admin=admin, secret=make_link(db, act, admin.id))
