"""Of core.db: what users are ordered and filtered by, and what their rows show."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Any, Final, NamedTuple

from pharos.helm.store.database import Database
from pharos.helm.store.views.standing import MOMENT, USER_STANDING

_LINES: Final = (
    f"WITH {MOMENT} SELECT users.id AS id, users.name AS name, users.email AS email, users.note AS note,"  # noqa: S608
    f" users.expires_at AS expires_at, users.created_at AS created_at, {USER_STANDING} AS status"
    " FROM moment CROSS JOIN users ORDER BY LOWER(users.name), users.id"
)
_COLUMNS: Final = (
    "users.id AS id, users.version AS version, users.name AS name, users.email AS email, users.state AS state,"
    " users.device_limit AS device_limit, users.quota_bytes AS quota_bytes, users.quota_period AS quota_period,"
    " users.quota_action AS quota_action, users.expires_at AS expires_at, users.created_at AS created_at,"
    " users.note AS note, user_credentials.user_id AS passphrase"
)


class UserLine(NamedTuple):
    """What of a user any order or filter looks at."""

    id: str
    name: str
    email: str | None
    note: str
    expires_at: int | None
    created_at: int
    status: str
    """A `Standing`."""


def read_user_lines(db: Database, at: int) -> list[UserLine]:
    """Return every user as of ``at``, by name."""
    return list(map(UserLine._make, db.execute(_LINES, (at,))))


def read_user_rows(db: Database, user_ids: Collection[str], at: int) -> dict[str, Any]:
    """Return these users by id: their columns, their ``status``, and whether they have a ``passphrase``."""
    marks = ", ".join("?" for _ in user_ids)
    rows = db.execute(
        f"WITH {MOMENT} SELECT {_COLUMNS}, {USER_STANDING} AS status FROM moment CROSS JOIN users"  # noqa: S608
        f" LEFT JOIN user_credentials ON user_credentials.user_id = users.id WHERE users.id IN ({marks})",
        (at, *user_ids),
    )
    return {row["id"]: row for row in rows}


def devices_of_users(db: Database, user_ids: Sequence[str] | None = None) -> dict[str, list[tuple[str, str]]]:
    """Return id and state of the devices of these users, or of all."""
    marks = "" if user_ids is None else f" AND user_id IN ({', '.join('?' for _ in user_ids)})"
    found: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for user_id, device_id, state in db.execute(
        f"SELECT user_id, id, state FROM devices WHERE user_id IS NOT NULL{marks}",  # noqa: S608 -- marks only
        user_ids or (),
    ):
        found[user_id].append((device_id, state))
    return found
