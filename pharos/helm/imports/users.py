"""People of a list into the record: all of them or nobody, with their groups, and with a ticket each where wanted."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Any, Final

import attrs

from pharos.helm.accounts.tickets import invite_device
from pharos.helm.accounts.users import MAX_NAME, add_user, join_group
from pharos.helm.ca.authority import Authority
from pharos.helm.ca.vault import Vault
from pharos.helm.errors import InvalidRequestError
from pharos.helm.imports.csvfile import MAX_PROBLEMS, Parsed, Person, Problem
from pharos.helm.model.users import User
from pharos.helm.store.changes import Act
from pharos.helm.store.database import Database
from pharos.helm.store.users import USERS

DEVICE_OF: Final = "{name}'s device"
"""What a device is called until it brings a name of its own."""


@attrs.frozen(kw_only=True)
class Imported:
    """One person who is in the record now."""

    line: int
    user: User
    groups: tuple[str, ...]
    link: str | None = attrs.field(repr=False)
    """Of a ticket; it contains the secret, and is kept nowhere."""
    link_expires_at: datetime.datetime | None


@attrs.frozen(kw_only=True)
class Inviting:
    """What tickets are made with."""

    authority: Authority
    vault: Vault
    lifetime: datetime.timedelta


def find_problems(db: Database, parsed: Parsed) -> list[Problem]:
    """Return what is wrong with a list, in itself and beside the record, in the order of its lines."""
    taken = {
        column: {row[0].casefold(): row[0] for row in db.execute(query)}
        for column, query in (
            ("name", "SELECT name FROM users"),
            ("email", "SELECT email FROM users WHERE email IS NOT NULL"),
        )
    }
    groups = {row["name"] for row in db.execute("SELECT name FROM groups")}
    problems = list(parsed.problems)
    for person in parsed.people:
        for column, known in taken.items():
            value = person.values.get(column)
            if value is not None and value.casefold() in known:
                says = f"{known[value.casefold()]!r} is in the record already"
                problems.append(Problem(line=person.line, column=column, says=says))
        missing = [name for name in person.groups if name not in groups]
        if missing:
            says = f"there is no group {', '.join(map(repr, missing))}; make it first: helm groups add"
            problems.append(Problem(line=person.line, column="groups", says=says))
    return sorted(problems, key=lambda problem: problem.line)[:MAX_PROBLEMS]


def import_users(db: Database, act: Act, parsed: Parsed, inviting: Inviting | None) -> list[Imported]:
    """Write every person of a list; the caller's transaction is what makes it all or nothing.

    Raises: InvalidRequestError — something is wrong with the list, or with the tickets. ConflictError.
    """
    problems = find_problems(db, parsed)
    if problems:
        raise InvalidRequestError(said(problems))
    ids = {row["name"]: row["id"] for row in db.execute("SELECT id, name FROM groups")}
    return [_import(db, act, person, ids, inviting) for person in parsed.people]


def said(problems: Sequence[Problem]) -> str:
    """Return the first problems as one text, a line each."""
    return "nobody was imported:\n" + "\n".join(map(str, problems))


def _import(db: Database, act: Act, person: Person, ids: dict[str, str], inviting: Inviting | None) -> Imported:
    user = add_user(db, act, person.values)
    for group in person.groups:
        join_group(db, act, ids[group], user.id)
    link, expires_at = None, None
    if inviting is not None:
        made = invite_device(
            db,
            act,
            inviting.authority,
            inviting.vault,
            # A name may take all the room that there is.
            device_name=DEVICE_OF.format(name=user.name[: MAX_NAME - len(DEVICE_OF.format(name=""))].rstrip()),
            lifetime=inviting.lifetime,
            user_id=user.id,
        )
        link, expires_at = made.link, made.expires_at
    return Imported(line=person.line, user=user, groups=person.groups, link=link, link_expires_at=expires_at)


def view(imported: Imported) -> dict[str, Any]:
    """Return one as REST and the CLI show it."""
    shown = USERS.view(imported.user)
    return {
        "line": imported.line,
        **{name: shown[name] for name in ("id", "name", "email", "device_limit", "quota_bytes", "expires_at", "note")},
        "groups": list(imported.groups),
        "link": imported.link,
        "link_expires_at": None if imported.link_expires_at is None else imported.link_expires_at.isoformat(),
    }
