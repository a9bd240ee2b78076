"""Of core.db: whose a group is, for lists that are narrowed by one."""

from __future__ import annotations

from collections import defaultdict

from pharos.helm.store.database import Database
from pharos.helm.store.users import list_groups


def users_of_group(db: Database, wanted: str) -> frozenset[str]:
    """Return the ids of the users in the groups of this id or name; those of everybody have every user."""
    found: set[str] = set()
    for group in list_groups(db):
        if wanted in (group.id, group.name):
            if group.everybody:
                found |= {row[0] for row in db.execute("SELECT id FROM users")}
            rows = db.execute("SELECT user_id FROM group_members WHERE group_id = ?", (group.id,))
            found |= {row[0] for row in rows}
    return frozenset(found)


def groups_of_users(db: Database, user_ids: list[str]) -> dict[str, list[dict[str, str]]]:
    """Return id and name of the groups that each of these users is in, oldest group first."""
    groups = list_groups(db)
    listed: dict[str, set[str]] = defaultdict(set)
    marks = ", ".join("?" for _ in user_ids)
    for row in db.execute(
        f"SELECT user_id, group_id FROM group_members WHERE user_id IN ({marks})",  # noqa: S608 -- marks only
        user_ids,
    ):
        listed[row["user_id"]].add(row["group_id"])
    return {
        user_id: [
            {"id": group.id, "name": group.name} for group in groups if group.everybody or group.id in listed[user_id]
        ]
        for user_id in user_ids
    }
