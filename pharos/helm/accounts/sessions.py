"""Acts on admins' own sessions: seeing them, and ending one or all."""

from __future__ import annotations

from typing import Any

from pharos.helm.errors import NotFoundError
from pharos.helm.model.admins import Admin
from pharos.helm.store.admins import ADMINS
from pharos.helm.store.changes import Act, record_change
from pharos.helm.store.database import Database
from pharos.helm.store.records import get_record
from pharos.helm.store.signins import AdminSession, end_session_by_id, end_sessions, sessions_of
from pharos.helm.store.times import rfc3339


def list_sessions(db: Database, admin_id: str, *, at: int, own: bytes = b"") -> list[dict[str, Any]]:
    """Return an admin's sessions as views show them, the newest first; ``own`` is the hash of the one that asks.

    Raises: NotFoundError — there is no such admin.
    """
    get_record(db, ADMINS, admin_id)
    return [view_session(session) | {"own": session.hash == own} for session in sessions_of(db, admin_id, at=at)]


def view_session(session: AdminSession) -> dict[str, Any]:
    """Return a session as views show it: nothing of it opens anything."""
    return {
        "id": session.id,
        "how": session.how,
        "browser": session.browser,
        "bound": session.bound,
        "created_at": rfc3339(session.created_at),
        "seen_at": rfc3339(session.seen_at),
        "expires_at": rfc3339(session.expires_at),
    }


def end_one(db: Database, act: Act, admin_id: str, session_id: str) -> Admin:
    """End one session of an admin, and return the admin.

    Raises: NotFoundError — the admin has no such session, or it has ended.
    """
    admin = get_record(db, ADMINS, admin_id)
    if not end_session_by_id(db, admin_id, session_id):
        raise NotFoundError(f"{admin.name} has no session {session_id!r}; it may have ended")
    _note(db, act, admin, f"session {session_id}")
    return admin


def end_all(db: Database, act: Act, admin_id: str) -> Admin:
    """End all sessions of an admin, and return the admin. Raises: NotFoundError — there is no such admin."""
    admin = get_record(db, ADMINS, admin_id)
    ended = end_sessions(db, admin_id)
    _note(db, act, admin, f"{ended} sessions")
    return admin


def end_astray(db: Database, session: AdminSession, admin: Admin, *, at: int) -> None:
    """End a session whose cookie came without the browser certificate that it is bound to: somebody has copied it."""
    end_session_by_id(db, admin.id, session.id)
    _note(
        db, Act(actor="helm", at=at, via="helm"), admin, f"session {session.id}: its cookie came from another browser"
    )


def _note(db: Database, act: Act, admin: Admin, detail: str) -> None:
    record_change(
        db, act, "admin", "signed_out", subject=admin.id, version=admin.version, body=ADMINS.view(admin), detail=detail
    )
