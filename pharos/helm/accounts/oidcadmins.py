"""Admins who come in by the OpenID provider: found by issuer and subject alone, their role that of their groups."""

from __future__ import annotations

import hashlib
from typing import Final

from pharos.helm.accounts.admins import change_admin
from pharos.helm.accounts.users import MAX_NAME
from pharos.helm.errors import NotAllowedError
from pharos.helm.model.admins import Admin, AdminState, Role
from pharos.helm.model.oidc import Claims, Client, highest_role
from pharos.helm.store.admins import ADMINS
from pharos.helm.store.audit import append_audit
from pharos.helm.store.changes import Act
from pharos.helm.store.database import Database
from pharos.helm.store.identities import add_identity, find_identity, see_identity
from pharos.helm.store.ids import fresh_id
from pharos.helm.store.records import add_record, get_record

# The audit calls others so: the holder of the Unix socket, helm itself, a device.
NOT_PEOPLE: Final = frozenset({"operator", "helm", "device"})
_MARK: Final = 8
"""Hexadecimal digits that tell two people of one name apart."""
REFUSED: Final = "oidc_refused"
# Microseconds. Everybody of a company may try as often as they like, and a row stays for as long as the audit is kept.
REFUSAL_PAUSE: Final = 10 * 60 * 1_000_000


def admit_admin(db: Database, client: Client, claims: Claims, *, at: int) -> Admin:
    """Return the admin that somebody is, new or with the role that the groups have today.

    Neither name nor mail address finds an admin: both can be changed at most providers by whoever has the account.

    Raises: NotAllowedError — no group has a role, or the admin is disabled. ConflictError — the last owner would lose
    the role.
    """
    role = highest_role(claims.groups, client.roles)
    if role is None:
        raise NotAllowedError(
            f"none of your groups at {claims.issuer} has a role here; ask an owner to add one to oidc.roles"
        )
    admin_id = find_identity(db, claims.issuer, claims.subject)
    if admin_id is None:
        return _add(db, claims, role, at=at)
    admin = get_record(db, ADMINS, admin_id)
    if admin.state is AdminState.DISABLED:
        raise NotAllowedError(f"{admin.name} is disabled; ask an owner")
    see_identity(db, claims.issuer, claims.subject, at=at)
    if admin.role is role:
        return admin
    act = Act(actor=admin.name, at=at, via="session")
    return change_admin(db, act, admin.id, admin.version, {"role": role})


def note_refusal(db: Database, claims: Claims, reason: str, *, at: int) -> None:
    """Write to the audit that somebody whom the provider knows was not let in; once in a while for each person."""
    mark = _mark(claims)
    found = db.execute(
        "SELECT 1 FROM audit WHERE subject = ? AND verb = ? AND at > ?", (mark, REFUSED, at - REFUSAL_PAUSE)
    ).fetchone()
    if found is None:
        detail = f"{claims.issuer} {claims.subject[:100]!r}: {reason}"
        append_audit(db, at=at, actor="helm", via="session", verb=REFUSED, subject=mark, detail=detail)


def _add(db: Database, claims: Claims, role: Role, *, at: int) -> Admin:
    name = free_name(db, claims)
    act = Act(actor=name, at=at, via="session")
    admin = Admin(id=fresh_id(), name=name, role=role, state=AdminState.ACTIVE)
    added = add_record(db, ADMINS, admin, act, detail=f"{name} as {role.value}, by {claims.issuer}")
    add_identity(db, claims.issuer, claims.subject, added.id, at=at)
    return added


def free_name(db: Database, claims: Claims) -> str:
    """Return a name that nobody has: the mail address if it was confirmed, else the name, marked where it is taken."""
    name = (claims.email if claims.email_verified else "") or claims.name
    mark = _mark(claims)[:_MARK]
    if not name or not name.isprintable() or name != name.strip():
        return f"oidc-{mark}"
    name = name[:MAX_NAME]
    taken = db.execute("SELECT 1 FROM admins WHERE name = ?", (name,)).fetchone() is not None
    return f"{name[: MAX_NAME - _MARK - 1]}-{mark}" if taken or name.casefold() in NOT_PEOPLE else name


def _mark(claims: Claims) -> str:
    return hashlib.sha256(f"{claims.issuer}\0{claims.subject}".encode()).hexdigest()
