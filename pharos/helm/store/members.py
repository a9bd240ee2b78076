"""The member_states table: what each member of the fleet last said that it holds."""

from __future__ import annotations

from typing import Any, Final

import attrs

from pharos.helm.store.database import Database

# What changes nothing but the time of it is written once an hour: half a fleet would write on each reading otherwise.
HEARD_EVERY: Final = 3600 * 1_000_000


@attrs.frozen(kw_only=True)
class MemberState:
    """One member as it described itself. What it never told is zero or empty."""

    id: str
    """Of a node, relay or device."""
    applied_epoch: int = 0
    applied_term: int = 0
    applied_revision: int = 0
    deny_epoch: int = 0
    deny_version: int = 0
    manifest_version: int = 0
    certificate: str = ""
    """Fingerprint of the certificate that it shows, lower-case hexadecimal."""
    checkpoint: int = 0
    """Size of the largest audit checkpoint that it keeps."""
    read_epoch: int = 0
    """The epoch in which helm has read all that it holds."""
    reality_port: int = 0
    """TCP port on which it serves REALITY; 0: it does not."""
    heard_at: int = 0
    """Microseconds since 1970; exact to ``HEARD_EVERY``."""

    @property
    def deny_order(self) -> tuple[int, int]:
        """(epoch, version) of its deny list."""
        return self.deny_epoch, self.deny_version


_COLUMNS: Final = tuple(field.name for field in attrs.fields(MemberState))
_LIST: Final = ", ".join(_COLUMNS)


def member_state(db: Database, member_id: str) -> MemberState:
    """Return what a member last said; all zeros for one that was never heard."""
    row = db.execute(f"SELECT {_LIST} FROM member_states WHERE id = ?", (member_id,)).fetchone()  # noqa: S608
    return MemberState(id=member_id) if row is None else MemberState(**dict(row))


def member_states(db: Database) -> dict[str, MemberState]:
    """Return what every member last said, by id."""
    return {row["id"]: MemberState(**dict(row)) for row in db.execute(f"SELECT {_LIST} FROM member_states")}  # noqa: S608


def note_member(db: Database, member_id: str, /, *, at: int, **said: Any) -> bool:
    """Keep what a member says of itself, by column; return whether it is news. What it leaves out stays."""
    before = member_state(db, member_id)
    after = attrs.evolve(before, **said)
    if after == before and at - before.heard_at < HEARD_EVERY:
        return False
    values = attrs.asdict(attrs.evolve(after, heard_at=max(at, before.heard_at)))
    places = ", ".join(f"{name} = excluded.{name}" for name in _COLUMNS[1:])
    marks = ", ".join("?" for _ in _COLUMNS)
    db.execute(
        f"INSERT INTO member_states ({_LIST}) VALUES ({marks}) ON CONFLICT (id) DO UPDATE SET {places}",  # noqa: S608
        tuple(values.values()),
    )
    return after != before
