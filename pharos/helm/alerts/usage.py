"""How much of their quota users have used: by the shares that nodes enforce, or where none do, by what was counted.

What was counted is a device's total, less what it was when the period began. That is noted at the first look in a
period, with what the hours before that look have carried; so it holds however short metrics are kept.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import attrs

from pharos.helm.model.users import QuotaAction, User
from pharos.helm.profiles.quota import period_start
from pharos.helm.store.database import Database, Store
from pharos.helm.store.leases import Share, list_shares
from pharos.helm.store.users import users_with_quota
from pharos.helm.store.watched import (
    Mark,
    list_marks,
    owners_of_devices,
    put_marks,
    traffic_since,
    traffic_totals,
)


@attrs.frozen(kw_only=True)
class Use:
    """What a user has used of a quota, in octets."""

    user_id: str
    name: str
    used: int
    quota: int
    action: QuotaAction


@attrs.frozen(kw_only=True)
class Quotas:
    """What the record says of quotas."""

    users: Sequence[User]
    owners: Mapping[str, str]
    """User by the id of each device."""
    shares: Sequence[Share]
    marks: Mapping[str, Mark]


def read_quotas(db: Database) -> Quotas:
    """Read what uses are worked out of."""
    users = users_with_quota(db)
    if not users:
        return Quotas(users=(), owners={}, shares=(), marks={})
    owners = owners_of_devices(db, [user.id for user in users])
    shares = [share for share in list_shares(db) if share.device_id in owners]
    return Quotas(users=users, owners=owners, shares=shares, marks=list_marks(db))


async def look_at_uses(store: Store, at: int) -> list[Use]:
    """Return the use of every user with a quota, and note what a period begins with.

    Raises: BusyError, DatabaseCorruptError.
    """
    quotas = await store.read(read_quotas)
    if not quotas.users:
        return []
    periods = {user.id: period_start(user.quota_period, at) for user in quotas.users}
    shared = {share.device_id for share in quotas.shares}
    counted = [device_id for device_id in quotas.owners if device_id not in shared]
    totals = await store.read_telemetry(traffic_totals, counted)
    fresh: list[Mark] = []
    for period_at in sorted(set(periods.values())):
        unmarked = [
            device_id
            for device_id in counted
            if periods[quotas.owners[device_id]] == period_at
            and (device_id not in quotas.marks or quotas.marks[device_id].period_at != period_at)
        ]
        before = await store.read_telemetry(traffic_since, unmarked, period_at)
        fresh += [
            Mark(device_id=device_id, period_at=period_at, total=totals[device_id] - before[device_id])
            for device_id in unmarked
        ]
    if fresh:
        await store.run(put_marks, fresh)
    return uses_of(quotas, periods, totals, {**quotas.marks, **{mark.device_id: mark for mark in fresh}})


def uses_of(
    quotas: Quotas, periods: Mapping[str, int], totals: Mapping[str, int], marks: Mapping[str, Mark]
) -> list[Use]:
    """Return what each user has used; ``periods`` is when that of each began, ``totals`` and ``marks`` by device."""
    used: dict[str, int] = defaultdict(int)
    for share in quotas.shares:
        user_id = quotas.owners[share.device_id]
        if share.period_at == periods[user_id]:
            used[user_id] += share.spent + share.used
    for device_id, total in totals.items():
        # A node that was removed takes what it counted along.
        used[quotas.owners[device_id]] += max(total - marks[device_id].total, 0)
    return [
        Use(user_id=user.id, name=user.name, used=used[user.id], quota=user.quota_bytes, action=user.quota_action)
        for user in quotas.users
        if user.quota_bytes is not None
    ]
