"""The admin_identities table: who at an OpenID provider is which admin."""

from __future__ import annotations

from pharos.helm.store.database import Database


def find_identity(db: Database, issuer: str, subject: str) -> str | None:
    """Return the id of the admin that somebody at a provider is."""
    row = db.execute(
        "SELECT admin_id FROM admin_identities WHERE issuer = ? AND subject = ?", (issuer, subject)
    ).fetchone()
    return None if row is None else row["admin_id"]


def add_identity(db: Database, issuer: str, subject: str, admin_id: str, *, at: int) -> None:
    """Write whom an admin is at a provider, for as long as the admin is there."""
    db.execute(
        "INSERT INTO admin_identities (issuer, subject, admin_id, created_at, seen_at) VALUES (?, ?, ?, ?, ?)",
        (issuer, subject, admin_id, at, at),
    )


def see_identity(db: Database, issuer: str, subject: str, *, at: int) -> None:
    """Note that somebody came in by a provider."""
    db.execute("UPDATE admin_identities SET seen_at = ? WHERE issuer = ? AND subject = ?", (at, issuer, subject))
