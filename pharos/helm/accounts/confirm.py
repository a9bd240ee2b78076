"""Saying yes to a login that waits: by an admin, or by another device of the same user."""

from __future__ import annotations

from pharos.helm.accounts.claim import check_admitted
from pharos.helm.accounts.waiting import WaitingLogin
from pharos.helm.store.changes import Act, record_change
from pharos.helm.store.database import Database
from pharos.helm.store.records import get_record
from pharos.helm.store.users import USERS


def note_confirmed(db: Database, act: Act, login: WaitingLogin) -> None:
    """Write down that somebody has confirmed a login; the caller lets it go on when that stands.

    Raises: NotFoundError — the user is gone. NotAllowedError — the user is disabled or has expired.
    """
    user = get_record(db, USERS, login.user_id or "")
    check_admitted(user, act.at)
    record_change(
        db,
        act,
        "user",
        "login_confirmed",
        subject=user.id,
        version=user.version,
        body=USERS.view(user),
        detail=f"{login.device_name!r}, through relay {login.relay_id}",
    )
