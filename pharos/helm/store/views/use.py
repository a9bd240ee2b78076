"""What devices and users have used: by the account of their quota in its period, or, without one, of all time.

As `pharos.helm.alerts.usage` has it: where nodes enforce a quota, what its shares say; where it only warns, what was
counted since the mark of its period.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from pharos.helm.model.users import QuotaPeriod
from pharos.helm.profiles.leases import PERIOD_OF_NOBODY
from pharos.helm.profiles.quota import period_start
from pharos.helm.store.database import Database


@attrs.frozen(kw_only=True)
class Accounts:
    """What core.db knows of what was used."""

    owners: Mapping[str, str | None]
    """User by the id of each device."""
    spent: Mapping[str, int]
    """Octets, by the id of each device whose quota nodes enforce."""
    marks: Mapping[str, int]
    """What a device had carried when the present period began, as far as that was noted."""
    limited: frozenset[str]
    """Users whose devices together have a quota."""

    def of_device(self, device_id: str, totals: Mapping[str, int]) -> int | None:
        """Return what a device has used, ``totals`` being octets of all time by device; None where it is not known."""
        if device_id in self.spent:
            return self.spent[device_id]
        total = totals.get(device_id, 0)
        if device_id in self.marks:
            return max(total - self.marks[device_id], 0)
        return None if self.owners.get(device_id) in self.limited else total

    def by_user(self, totals: Mapping[str, int]) -> dict[str, int | None]:
        """Return what users have used with all their devices; None where something of it is not known."""
        sums: dict[str, int] = defaultdict(int)
        unknown: set[str] = set()
        for device_id, user_id in self.owners.items():
            if user_id is None:
                continue
            used = self.of_device(device_id, totals)
            if used is None:
                unknown.add(user_id)
            else:
                sums[user_id] += used
        return {user_id: None if user_id in unknown else sums[user_id] for user_id in sums.keys() | unknown}


def read_accounts(db: Database, at: int, device_ids: Sequence[str] | None = None) -> Accounts:
    """Read the accounts of these devices, or of all, as of ``at``."""
    of_some, some = ("", ()) if device_ids is None else (f" WHERE device_id IN ({_marks(device_ids)})", device_ids)
    owners = _owners(db, device_ids)
    users = {
        row["id"]: (period_start(QuotaPeriod(row["quota_period"]), at), row["quota_bytes"])
        for row in _users(db, None if device_ids is None else sorted({one for one in owners.values() if one}))
    }
    nobodys = period_start(PERIOD_OF_NOBODY, at), None

    def period_of(device_id: str) -> int:
        return users.get(owners.get(device_id) or "", nobodys)[0]

    spent: dict[str, int] = defaultdict(int)
    for row in db.execute(
        f"SELECT device_id, used, spent, period_at FROM quota_leases{of_some}",  # noqa: S608 -- marks only
        some,
    ).fetchall():
        now = row["period_at"] == period_of(row["device_id"])
        spent[row["device_id"]] += row["spent"] + row["used"] if now else 0
    marks = db.execute(f"SELECT device_id, period_at, total FROM quota_marks{of_some}", some)  # noqa: S608 -- marks only
    return Accounts(
        owners=owners,
        spent=dict(spent),
        marks={row["device_id"]: row["total"] for row in marks if row["period_at"] == period_of(row["device_id"])},
        limited=frozenset(user_id for user_id, (_, quota) in users.items() if quota is not None),
    )


def _owners(db: Database, device_ids: Sequence[str] | None) -> dict[str, str | None]:
    where, some = ("", ()) if device_ids is None else (f" WHERE id IN ({_marks(device_ids)})", device_ids)
    rows = db.execute(f"SELECT id, user_id FROM devices{where}", some)  # noqa: S608 -- marks only
    return {row["id"]: row["user_id"] for row in rows}


def _users(db: Database, user_ids: Sequence[str] | None) -> list[Any]:
    where, some = ("", ()) if user_ids is None else (f" WHERE id IN ({_marks(user_ids)})", user_ids)
    return db.execute(f"SELECT id, quota_period, quota_bytes FROM users{where}", some).fetchall()  # noqa: S608


def _marks(values: Sequence[str]) -> str:
    # Of nobody's there are none, and an empty list is no SQL.
    return ", ".join("?" for _ in values) or "NULL"
