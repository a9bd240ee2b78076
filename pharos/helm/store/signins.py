"""The admin_links and admin_sessions tables: ways in, each kept as a hash that opens nothing."""

from __future__ import annotations

import hashlib
import hmac
import json

import attrs

from pharos.helm.model.admins import Admin, AdminState, Principal, Role, TokenState, Via
from pharos.helm.store.admins import ADMINS
from pharos.helm.store.database import Database


@attrs.frozen(kw_only=True)
class AdminSession:
    """Somebody who signed in with a browser."""

    id: str
    hash: bytes = attrs.field(repr=False)
    """SHA-256 of the cookie's value."""
    admin_id: str
    csrf: bytes = attrs.field(repr=False)
    """What the page has to say with every change; a page of another origin cannot read it."""
    created_at: int
    seen_at: int
    proven_at: int
    """When password, passkey or link were shown last."""
    expires_at: int
    browser: str
    how: str = ""
    """``link``, ``password``, ``passkey`` or ``oidc``."""
    bound: str = ""
    """SHA-256 of the browser's certificate, hexadecimal; empty: it had none."""


_SESSION = "id, hash, admin_id, csrf, created_at, seen_at, proven_at, expires_at, browser, how, bound"


def hash_secret(text: str) -> bytes:
    """Return what the record keeps of a secret of 256 random bits; it needs no salt and no stretching."""
    return hashlib.sha256(text.encode()).digest()


def add_link(db: Database, admin_id: str, digest: bytes, *, at: int, expires_at: int, actor: str) -> None:
    """Write a one-time link; older ones of the same admin end."""
    db.execute("DELETE FROM admin_links WHERE admin_id = ?", (admin_id,))
    db.execute(
        "INSERT INTO admin_links (hash, admin_id, expires_at, created_at, created_by) VALUES (?, ?, ?, ?, ?)",
        (digest, admin_id, expires_at, at, actor),
    )


def use_link(db: Database, digest: bytes, *, at: int) -> str | None:
    """Use a link up and return its admin's id; None where it is unknown, used or expired."""
    row = db.execute(
        "UPDATE admin_links SET used_at = ? WHERE hash = ? AND used_at IS NULL AND expires_at > ? RETURNING admin_id",
        (at, digest, at),
    ).fetchone()
    return None if row is None else row["admin_id"]


def add_session(db: Database, session: AdminSession) -> None:
    """Write a session."""
    values = attrs.asdict(session)
    marks = ", ".join("?" for _ in values)
    db.execute(f"INSERT INTO admin_sessions ({_SESSION}) VALUES ({marks})", tuple(values.values()))  # noqa: S608


def find_session(db: Database, digest: bytes, *, at: int) -> tuple[AdminSession, Admin] | None:
    """Return a session that has not ended, and whose it is."""
    row = db.execute(
        f"SELECT {_SESSION} FROM admin_sessions WHERE hash = ? AND expires_at > ?",  # noqa: S608 -- constant text
        (digest, at),
    ).fetchone()
    if row is None:
        return None
    session = AdminSession(**dict(row))
    admin = db.execute(
        f"SELECT {ADMINS.all_columns} FROM admins WHERE id = ? AND state = ?",  # noqa: S608 -- names of a Noun
        (session.admin_id, AdminState.ACTIVE.value),
    ).fetchone()
    return None if admin is None else (session, ADMINS.load(admin))


def touch_session(db: Database, digest: bytes, *, at: int, expires_at: int) -> None:
    """Note that a session was used."""
    db.execute(
        "UPDATE admin_sessions SET seen_at = ?, expires_at = ? WHERE hash = ? AND expires_at > ?",
        (at, expires_at, digest, at),
    )


def prove_session(db: Database, digest: bytes, *, at: int) -> None:
    """Note that whoever holds the session has shown password or passkey again."""
    db.execute("UPDATE admin_sessions SET proven_at = ? WHERE hash = ?", (at, digest))


def end_sessions(db: Database, admin_id: str, *, but: bytes = b"") -> int:
    """End all sessions of an admin, or all but one; return how many."""
    rows = db.execute("DELETE FROM admin_sessions WHERE admin_id = ? AND hash <> ? RETURNING id", (admin_id, but))
    return len(rows.fetchall())


def sessions_of(db: Database, admin_id: str, *, at: int) -> list[AdminSession]:
    """Return an admin's sessions that have not ended, the newest first."""
    rows = db.execute(
        f"SELECT {_SESSION} FROM admin_sessions WHERE admin_id = ? AND expires_at > ?"  # noqa: S608 -- constant text
        " ORDER BY created_at DESC, id DESC",
        (admin_id, at),
    )
    return [AdminSession(**dict(row)) for row in rows.fetchall()]


def end_session_by_id(db: Database, admin_id: str, session_id: str) -> bool:
    """End one session of an admin; tell whether there was one."""
    rows = db.execute("DELETE FROM admin_sessions WHERE id = ? AND admin_id = ? RETURNING id", (session_id, admin_id))
    return bool(rows.fetchall())


def end_session(db: Database, digest: bytes) -> None:
    """End one session."""
    db.execute("DELETE FROM admin_sessions WHERE hash = ?", (digest,))


def prune_sessions(db: Database, *, at: int) -> None:
    """Forget sessions and links that have ended."""
    db.execute("DELETE FROM admin_sessions WHERE expires_at <= ?", (at,))
    db.execute("DELETE FROM admin_links WHERE expires_at <= ?", (at,))


def find_token_principal(db: Database, digest: bytes, *, at: int) -> Principal | None:
    """Return who comes with a token that has not ended, and note its use once a minute."""
    row = db.execute(
        "SELECT tokens.id, tokens.name, tokens.role, tokens.scopes, tokens.hash, tokens.admin_id, tokens.used_at,"
        " admins.name AS admin_name FROM tokens JOIN admins ON admins.id = tokens.admin_id"
        " WHERE tokens.hash = ? AND tokens.state = ? AND admins.state = ?"
        " AND (tokens.expires_at IS NULL OR tokens.expires_at > ?)",
        (digest, TokenState.ACTIVE.value, AdminState.ACTIVE.value, at),
    ).fetchone()
    if row is None or not hmac.compare_digest(row["hash"], digest):
        return None
    if row["used_at"] is None or row["used_at"] < at - 60_000_000:
        # Not a change of the record: its version stays.
        db.execute("UPDATE tokens SET used_at = ? WHERE id = ?", (at, row["id"]))
    return Principal(
        name=f"{row['admin_name']} by token {row['name']}",
        role=Role(row["role"]),
        via=Via.TOKEN,
        admin_id=row["admin_id"],
        credential=digest,
        scopes=tuple(json.loads(row["scopes"])),
    )
