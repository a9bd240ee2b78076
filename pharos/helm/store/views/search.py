"""A few records of each kind by a part of their name, those whose name begins with it first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pharos.helm.store.database import Database
from pharos.helm.store.views.sessions import literal

# More are found by typing on.
MOST: Final = 8

_DEVICES: Final = (
    "(SELECT devices.id AS id, devices.name AS name, devices.state AS state, address4,"
    " COALESCE(users.name, address4) AS detail"
    " FROM devices LEFT JOIN users ON users.id = devices.user_id) AS found"
)
_TOKENS: Final = (
    "(SELECT tokens.id AS id, tokens.name AS name, tokens.state AS state, admins.name AS detail"
    " FROM tokens JOIN admins ON admins.id = tokens.admin_id) AS found"
)
# What is found, by what else than its name, and what is shown beside it. Revoked records go last.
_KINDS: Final[Mapping[str, tuple[str, str, str]]] = {
    "node": ("nodes", "address", "address"),
    "relay": ("relays", "address", "address"),
    "device": (_DEVICES, "address4", "detail"),
    "user": ("users", "COALESCE(email, '')", "COALESCE(email, '')"),
    "group": ("(SELECT id, name, note, '' AS state FROM groups) AS found", "name", "note"),
    "admin": ("admins", "name", "role"),
    "token": (_TOKENS, "name", "detail"),
}
KINDS: Final = tuple(_KINDS)


def search_kind(db: Database, kind: str, part: str, *, most: int = MOST) -> list[dict[str, Any]]:
    """Return what of a kind has a part in its name, or its address; kind, id, name and a detail of each."""
    table, also, detail = _KINDS[kind]
    folded = literal(part.lower())
    rows = db.execute(
        f"SELECT id, name, {detail} AS detail FROM {table}"  # noqa: S608 -- constant text
        f" WHERE LOWER(name) LIKE ? ESCAPE '!' OR LOWER({also}) LIKE ? ESCAPE '!' OR name LIKE ? ESCAPE '!'"
        " ORDER BY CASE WHEN state = 'revoked' THEN 1 ELSE 0 END,"
        " CASE WHEN LOWER(name) LIKE ? ESCAPE '!' THEN 0 ELSE 1 END, LOWER(name), id LIMIT ?",
        (f"%{folded}%", f"%{folded}%", f"%{literal(part)}%", f"{folded}%", most),
    )
    return [{"kind": kind, **dict(row)} for row in rows]
