"""The admins and tokens tables, and whether somebody may act, as the transaction sees it."""

from __future__ import annotations

from typing import Final

from pharos.helm.errors import NotAllowedError, NotSignedInError
from pharos.helm.model.admins import Admin, AdminState, Principal, Role, Token, TokenState, Via
from pharos.helm.store.database import Database
from pharos.helm.store.records import Noun

ADMINS: Final = Noun(
    kind="admin",
    table="admins",
    columns=("id", "name", "role", "state", "password", "totp", "totp_step"),
    model=Admin,
    hidden=frozenset({"password", "totp", "totp_step"}),
    filters={"state": "state = ?", "role": "role = ?", "q": "LOWER(name) LIKE LOWER(?) ESCAPE '!'"},
    enrich=lambda admin: {"password_set": admin.password is not None, "totp_set": admin.totp is not None},
)

TOKENS: Final = Noun(
    kind="token",
    table="tokens",
    columns=("id", "name", "hash", "admin_id", "role", "scopes", "state", "expires_at", "used_at"),
    model=Token,
    documents=frozenset({"scopes"}),
    hidden=frozenset({"hash"}),
    filters={"state": "state = ?", "admin": "admin_id = ?", "q": "LOWER(name) LIKE LOWER(?) ESCAPE '!'"},
)


def check_principal(db: Database, principal: Principal, needed: Role, *, noun: str, at: int) -> Role:
    """Return the role in which ``principal`` may do what takes ``needed``, by the record as this transaction sees it.

    Raises: NotSignedInError — the session or token has ended meanwhile. NotAllowedError — the role does not suffice.
    """
    role = _role_now(db, principal, noun, at)
    if not role.includes(needed):
        raise NotAllowedError(f"this takes the role {needed.value}, and {principal.name} is {role.value}")
    return role


def _role_now(db: Database, principal: Principal, noun: str, at: int) -> Role:
    if principal.via is Via.SOCKET:
        return principal.role
    if principal.via is Via.SESSION:
        row = db.execute(
            "SELECT admins.role AS role, admins.state AS state, admin_sessions.expires_at AS expires_at"
            " FROM admin_sessions JOIN admins ON admins.id = admin_sessions.admin_id WHERE admin_sessions.hash = ?",
            (principal.credential,),
        ).fetchone()
        if row is None or row["expires_at"] <= at or row["state"] != AdminState.ACTIVE.value:
            raise NotSignedInError("this session has ended; sign in again")
        return Role(row["role"])
    row = db.execute(
        "SELECT tokens.role AS role, tokens.state AS state, tokens.expires_at AS expires_at, tokens.scopes AS scopes,"
        " admins.role AS admin_role, admins.state AS admin_state"
        " FROM tokens JOIN admins ON admins.id = tokens.admin_id WHERE tokens.hash = ?",
        (principal.credential,),
    ).fetchone()
    ended = row is None or row["state"] != TokenState.ACTIVE.value or row["admin_state"] != AdminState.ACTIVE.value
    if ended or (row["expires_at"] is not None and row["expires_at"] <= at):
        raise NotSignedInError("this token has ended; make another one")
    if principal.scopes and noun not in principal.scopes:
        raise NotAllowedError(f"this token is for {', '.join(principal.scopes)} only, not for {noun or 'this'}")
    own, admin = Role(row["role"]), Role(row["admin_role"])
    return own if admin.includes(own) else admin
