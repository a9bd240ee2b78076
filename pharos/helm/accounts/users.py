"""Acts on users and groups that an admin asks for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from pharos.helm.errors import ConflictError, InvalidRequestError
from pharos.helm.model.devices import DeviceState
from pharos.helm.model.users import Group, Protocol, User
from pharos.helm.store.changes import Act
from pharos.helm.store.database import Database
from pharos.helm.store.fleet import next_revision
from pharos.helm.store.ids import fresh_id
from pharos.helm.store.records import add_record, change_record, get_record, remove_record
from pharos.helm.store.users import GROUPS, USERS, add_member, remove_member

MAX_NAME: Final = 64
MAX_NOTE: Final = 1000
MAX_TAGS: Final = 32
_TAG: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?")
# Mail addresses are checked by writing to them (RFC 5321 §4.5.3.1.3 bounds them); here only what is surely none.
_EMAIL: Final = re.compile(r"[^@\s]{1,64}@[^@\s]{1,189}")


def add_user(db: Database, act: Act, values: Mapping[str, Any]) -> User:
    """Write a new user.

    Raises: InvalidRequestError — a value does not fit. ConflictError — the name or mail address is taken.
    """
    user = User(id=fresh_id(), **check_user(values))
    return add_record(db, USERS, user, act, detail=user.name)


def change_user(db: Database, act: Act, user_id: str, version: int, values: Mapping[str, Any]) -> User:
    """Change a user; nodes hear of what concerns them.

    Raises: InvalidRequestError, ConflictError, StaleVersionError, NotFoundError.
    """
    user = change_record(db, USERS, user_id, version, check_user(values), act)
    next_revision(db)
    return user


def remove_user(db: Database, act: Act, user_id: str, version: int) -> None:
    """Remove a user who has no device that is not revoked; revoked ones stay, without an owner, for their keys' sake.

    Raises: ConflictError — a device is still there. StaleVersionError, NotFoundError.
    """
    user = get_record(db, USERS, user_id)
    live = db.execute(
        "SELECT COUNT(*) FROM devices WHERE user_id = ? AND state <> ?", (user_id, DeviceState.REVOKED.value)
    ).fetchone()[0]
    if live:
        raise ConflictError(f"{user.name} still has {live} devices; revoke them first")
    db.execute("UPDATE devices SET user_id = NULL WHERE user_id = ?", (user_id,))
    db.execute("UPDATE tickets SET user_id = NULL WHERE user_id = ?", (user_id,))
    remove_record(db, USERS, user_id, version, act, detail=user.name)
    next_revision(db)


def add_group(db: Database, act: Act, values: Mapping[str, Any]) -> Group:
    """Write a new group.

    Raises: InvalidRequestError, ConflictError.
    """
    group = Group(id=fresh_id(), **_checked_group(values))
    added = add_record(db, GROUPS, group, act, detail=group.name)
    next_revision(db)
    return added


def change_group(db: Database, act: Act, group_id: str, version: int, values: Mapping[str, Any]) -> Group:
    """Change a group.

    Raises: InvalidRequestError, ConflictError, StaleVersionError, NotFoundError.
    """
    group = change_record(db, GROUPS, group_id, version, _checked_group(values), act)
    next_revision(db)
    return group


def remove_group(db: Database, act: Act, group_id: str, version: int) -> None:
    """Remove a group; its members stay.

    Raises: StaleVersionError, NotFoundError.
    """
    group = get_record(db, GROUPS, group_id)
    remove_record(db, GROUPS, group_id, version, act, detail=group.name)
    next_revision(db)


def join_group(db: Database, act: Act, group_id: str, user_id: str) -> Group:
    """Put a user into a group; again does nothing. Raises: NotFoundError."""
    group = add_member(db, group_id, user_id, act)
    next_revision(db)
    return group


def leave_group(db: Database, act: Act, group_id: str, user_id: str) -> Group:
    """Take a user out of a group. Raises: NotFoundError — of the group, or of its members."""
    group = remove_member(db, group_id, user_id, act)
    next_revision(db)
    return group


def check_name(name: str, what: str) -> str:
    """Return ``name`` if it can stand in a list: people call things what they like, in any script.

    Raises: InvalidRequestError — empty, too long, padded with blanks, or with control characters in it.
    """
    if not 0 < len(name) <= MAX_NAME or name != name.strip() or not name.isprintable():
        raise InvalidRequestError(f"a {what}'s name has 1 to {MAX_NAME} printable characters")
    return name


def check_note(note: str) -> str:
    """Return ``note``. Raises: InvalidRequestError — too long, or with control characters other than line ends."""
    if len(note) > MAX_NOTE or not note.replace("\n", "").isprintable():
        raise InvalidRequestError(f"a note has at most {MAX_NOTE} printable characters")
    return note


def check_tags(tags: Iterable[str]) -> tuple[str, ...]:
    """Return tags sorted, each once.

    Raises: InvalidRequestError — one is no lower-case word, or there are too many.
    """
    sorted_tags = tuple(sorted(set(tags)))
    if len(sorted_tags) > MAX_TAGS or not all(_TAG.fullmatch(tag) for tag in sorted_tags):
        raise InvalidRequestError(f"tags are at most {MAX_TAGS} words of lower-case letters, digits and inner hyphens")
    return sorted_tags


def check_user(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values of a user, some or all, if they fit. Raises: InvalidRequestError."""
    checked = dict(values)
    if "name" in checked:
        check_name(checked["name"], "user")
    if "note" in checked:
        check_note(checked["note"])
    email = checked.get("email")
    if email is not None and not _EMAIL.fullmatch(email):
        raise InvalidRequestError(f"{email!r} is not a mail address")
    for name, least in (("device_limit", 0), ("quota_bytes", 1), ("expires_at", 1)):
        value = checked.get(name)
        if value is not None and not least <= value < 2**62:
            raise InvalidRequestError(f"{name} has to be at least {least}")
    return checked


def _checked_group(values: Mapping[str, Any]) -> dict[str, Any]:
    checked = dict(values)
    if "name" in checked:
        check_name(checked["name"], "group")
    if "note" in checked:
        check_note(checked["note"])
    if "node_tags" in checked:
        checked["node_tags"] = check_tags(checked["node_tags"])
    if "protocols" in checked:
        checked["protocols"] = tuple(sorted(set(checked["protocols"]), key=list(Protocol).index))
        if not checked["protocols"]:
            raise InvalidRequestError("a group without protocols grants nothing; remove it instead")
    return checked
