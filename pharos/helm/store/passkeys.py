"""The passkeys table: public halves only; what is in it signs nobody in."""

from __future__ import annotations

from typing import Final

from pharos.helm.model.passkeys import Passkey
from pharos.helm.store.database import Database
from pharos.helm.store.records import Noun

PASSKEYS: Final = Noun(
    kind="passkey",
    table="passkeys",
    columns=("id", "admin_id", "name", "site", "credential", "public_key", "counter", "synced", "used_at"),
    model=Passkey,
    flags=frozenset({"synced"}),
    hidden=frozenset({"credential", "public_key", "counter"}),
    filters={"admin": "admin_id = ?"},
)


def passkeys_of(db: Database, admin_id: str) -> list[Passkey]:
    """Return an admin's passkeys, the oldest first."""
    rows = db.execute(
        f"SELECT {PASSKEYS.all_columns} FROM passkeys WHERE admin_id = ? ORDER BY created_at, id",  # noqa: S608
        (admin_id,),
    )
    return [PASSKEYS.load(row) for row in rows.fetchall()]


def credentials_of(db: Database, name: str, site: str) -> list[bytes]:
    """Return the credential ids of the admin of that name; a name that is nobody's takes as long (row 51)."""
    rows = db.execute(
        "SELECT passkeys.credential AS credential FROM passkeys JOIN admins ON admins.id = passkeys.admin_id"
        " WHERE admins.name = ? AND passkeys.site = ?",
        (name, site),
    )
    return [row["credential"] for row in rows.fetchall()]


def find_passkey(db: Database, credential: bytes) -> Passkey | None:
    """Return the passkey with that credential id."""
    row = db.execute(
        f"SELECT {PASSKEYS.all_columns} FROM passkeys WHERE credential = ?",  # noqa: S608 -- names of a Noun
        (credential,),
    ).fetchone()
    return None if row is None else PASSKEYS.load(row)


def note_use(db: Database, passkey_id: str, *, counter: int, at: int) -> None:
    """Keep the counter of a use. It is not a change of the record: nobody else is to hear of it."""
    db.execute("UPDATE passkeys SET counter = ?, used_at = ? WHERE id = ?", (counter, at, passkey_id))
