"""The user_credentials table: what users log in with; and who somebody is by their mail address."""

from __future__ import annotations

from pharos.helm.model.users import User
from pharos.helm.store.changes import Act
from pharos.helm.store.database import Database
from pharos.helm.store.records import touch_record
from pharos.helm.store.users import USERS


def find_by_email(db: Database, email: str) -> User | None:
    """Return whose mail address this is: as it is written, or the only one that differs in its capitals alone."""
    rows = db.execute(
        f"SELECT {USERS.all_columns} FROM users WHERE LOWER(email) = LOWER(?)",  # noqa: S608 -- names of a Noun
        (email,),
    ).fetchall()
    users = [USERS.load(row) for row in rows]
    exact = [user for user in users if user.email == email] or users
    return exact[0] if len(exact) == 1 else None


def passphrase_of(db: Database, user_id: str) -> str | None:
    """Return the encoded hash of a user's passphrase; None where they have none."""
    row = db.execute("SELECT passphrase FROM user_credentials WHERE user_id = ?", (user_id,)).fetchone()
    return None if row is None else row["passphrase"]


def put_passphrase(db: Database, act: Act, user_id: str, encoded: str) -> User:
    """Set a user's passphrase; the audit says that, and not what it is.

    Raises: NotFoundError.
    """
    user = touch_record(db, USERS, user_id, act, verb="passphrase_set")
    db.execute(
        "INSERT INTO user_credentials (user_id, passphrase, updated_at) VALUES (?, ?, ?)"
        " ON CONFLICT (user_id) DO UPDATE SET passphrase = excluded.passphrase, updated_at = excluded.updated_at",
        (user_id, encoded, act.at),
    )
    return user


def drop_passphrase(db: Database, act: Act, user_id: str) -> User:
    """Let a user log in by a passphrase no more; again does nothing new.

    Raises: NotFoundError.
    """
    db.execute("DELETE FROM user_credentials WHERE user_id = ?", (user_id,))
    return touch_record(db, USERS, user_id, act, verb="passphrase_dropped")
