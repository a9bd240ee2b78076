"""The users and groups tables."""

from __future__ import annotations

from collections import defaultdict
from typing import Final

from pharos.helm.errors import NotFoundError
from pharos.helm.model.users import Group, User
from pharos.helm.store.changes import Act
from pharos.helm.store.database import Database
from pharos.helm.store.records import Noun, get_record, touch_record

USERS: Final = Noun(
    kind="user",
    table="users",
    columns=(
        *("id", "name", "email", "state", "note", "expires_at"),
        *("device_limit", "quota_bytes", "quota_period", "quota_action"),
    ),
    model=User,
    filters={
        "state": "state = ?",
        "q": "LOWER(name) LIKE LOWER(?) ESCAPE '!'",
        "group": "id IN (SELECT user_id FROM group_members WHERE group_id = ?)",
    },
)

GROUPS: Final = Noun(
    kind="group",
    table="groups",
    columns=("id", "name", "note", "node_tags", "protocols", "everybody"),
    model=Group,
    documents=frozenset({"node_tags", "protocols"}),
    flags=frozenset({"everybody"}),
    filters={
        "q": "LOWER(name) LIKE LOWER(?) ESCAPE '!'",
        "user": "id IN (SELECT group_id FROM group_members WHERE user_id = ?)",
    },
)


def members_of(db: Database, group_id: str) -> list[str]:
    """Return the ids of a group's listed members, oldest user first."""
    rows = db.execute("SELECT user_id FROM group_members WHERE group_id = ? ORDER BY user_id", (group_id,))
    return [row["user_id"] for row in rows]


def list_groups(db: Database) -> list[Group]:
    """Return every group, oldest first."""
    return [GROUPS.load(row) for row in db.execute(f"SELECT {GROUPS.all_columns} FROM groups ORDER BY id")]  # noqa: S608


def list_memberships(db: Database) -> dict[str, list[str]]:
    """Return the ids of the groups that list each user, by the user's id."""
    listed: dict[str, list[str]] = defaultdict(list)
    for row in db.execute("SELECT user_id, group_id FROM group_members ORDER BY user_id, group_id"):
        listed[row["user_id"]].append(row["group_id"])
    return dict(listed)


def list_ends(db: Database) -> dict[str, int]:
    """Return when users expire, in microseconds since 1970, by their id; those who never do are not in it."""
    return dict(tuple(row) for row in db.execute("SELECT id, expires_at FROM users WHERE expires_at IS NOT NULL"))


def users_with_quota(db: Database) -> list[User]:
    """Return the users whose devices together have a quota."""
    rows = db.execute(f"SELECT {USERS.all_columns} FROM users WHERE quota_bytes IS NOT NULL ORDER BY id")  # noqa: S608
    return [USERS.load(row) for row in rows]


def groups_of(db: Database, user_id: str) -> list[Group]:
    """Return the groups that a user is in, those for everybody included."""
    rows = db.execute(
        f"SELECT {GROUPS.all_columns} FROM groups WHERE everybody = 1"  # noqa: S608 -- names of a Noun
        " OR id IN (SELECT group_id FROM group_members WHERE user_id = ?) ORDER BY id",
        (user_id,),
    )
    return [GROUPS.load(row) for row in rows]


def add_member(db: Database, group_id: str, user_id: str, act: Act) -> Group:
    """Put a user into a group; again does nothing.

    Raises: NotFoundError — there is no such group or user.
    """
    group = get_record(db, GROUPS, group_id)
    user = get_record(db, USERS, user_id)
    row = db.execute(
        "INSERT INTO group_members (group_id, user_id) VALUES (?, ?) ON CONFLICT DO NOTHING RETURNING user_id",
        (group_id, user_id),
    ).fetchone()
    if row is None:
        return group
    return touch_record(db, GROUPS, group_id, act, verb="joined", detail=user.name)


def remove_member(db: Database, group_id: str, user_id: str, act: Act) -> Group:
    """Take a user out of a group.

    Raises: NotFoundError — there is no such group, or the user is not in it.
    """
    get_record(db, GROUPS, group_id)
    row = db.execute(
        "DELETE FROM group_members WHERE group_id = ? AND user_id = ? RETURNING user_id", (group_id, user_id)
    ).fetchone()
    if row is None:
        raise NotFoundError(f"user {user_id!r} is not in this group")
    return touch_record(db, GROUPS, group_id, act, verb="left", detail=get_record(db, USERS, user_id).name)
