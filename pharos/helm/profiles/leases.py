"""Which quotas nodes enforce, and their shares kept up to date while helm runs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection
from typing import Any, Final, NoReturn

import attrs
import trio

from pharos.helm.errors import BusyError
from pharos.helm.live.board import now_us
from pharos.helm.model.devices import Device
from pharos.helm.model.users import QuotaAction, QuotaPeriod, User
from pharos.helm.profiles.build import nodes_open_to
from pharos.helm.profiles.quota import Budget, period_start, share_out
from pharos.helm.profiles.record import FleetRecord, read_record
from pharos.helm.store.database import Database, Store
from pharos.helm.store.devices import DEVICES, list_allowed_devices
from pharos.helm.store.fleet import next_revision
from pharos.helm.store.leases import Share, drop_shares, list_shares, put_share
from pharos.helm.store.records import find_record
from pharos.helm.store.settings import setting
from pharos.helm.store.users import USERS, users_with_quota
from pharos.wire.desired import QuotaLease
from pharos.wire.ids import DeviceId, NodeId
from pharos.wire.units import SECONDS

# Periods begin at midnight, and a laptop that slept has missed it: the calendar is looked at this often.
LONGEST_WAIT: Final = 60 * SECONDS
_KBIT: Final = 1_000
PERIOD_OF_NOBODY: Final = QuotaPeriod.MONTH
"""For the quota of a device that is no user's."""


@attrs.frozen(kw_only=True)
class Leases:
    """What one device may spend."""

    rest: QuotaLease
    """At a node that has no lease of it: nothing."""
    nodes: dict[NodeId, QuotaLease] = attrs.field(factory=dict)

    def at(self, node_id: NodeId) -> QuotaLease:
        """Return its lease at a node."""
        return self.nodes.get(node_id, self.rest)


def current_leases(db: Database) -> dict[DeviceId, Leases]:
    """Return the leases of every device whose quota nodes enforce; one that has none yet is in it, with none."""
    leases = {
        device_id: Leases(rest=QuotaLease(id=0, octets=0, throttle=rate)) for device_id, rate in _limited(db).items()
    }
    for share in list_shares(db):
        own = leases.get(share.device_id)
        if own is not None:
            own.nodes[share.node_id] = attrs.evolve(own.rest, id=share.lease, octets=share.octets)
    return leases


async def run_leases(store: Store, *, clock: Callable[[], int] = now_us) -> NoReturn:
    """Share quotas out whenever something has changed, and when a period begins, until cancelled."""
    while True:
        commits = store.commits
        try:
            if await store.read(lambda db: any(due_shares(db, clock()))):
                await store.run(renew_leases, clock())
                continue
        except BusyError:
            # Nodes go on with what they have; the next look comes by itself.
            pass
        with trio.move_on_after(LONGEST_WAIT):
            await store.wait_commit(commits)


def renew_leases(db: Database, at: int) -> None:
    """Write the shares that are due, and count a change that nodes have to hear of."""
    changed, gone = due_shares(db, at)
    for device_id in gone:
        drop_shares(db, device_id)
    for share in changed:
        put_share(db, share)
    if changed:
        next_revision(db, profiles=False)


def due_shares(db: Database, at: int) -> tuple[list[Share], set[DeviceId]]:
    """Return the shares that change as of ``at``, and the devices whose shares are to be forgotten."""
    shares = list_shares(db)
    limited = _limited(db)
    if not shares and not limited:
        return [], set()
    record = read_record(db)
    allowed = {device.id: device for device in list_allowed_devices(db, at) if device.id in limited}
    revision = record.fleet.revision + 1
    changed: list[Share] = []
    for budget, device_ids in _budgets(db, record, allowed, limited, at):
        own = [share for share in shares if share.device_id in device_ids]
        changed += share_out(budget, own, revision=revision)
    return changed, {share.device_id for share in shares} - limited.keys()


def _budgets(
    db: Database, record: FleetRecord, allowed: dict[DeviceId, Device], limited: Collection[DeviceId], at: int
) -> list[tuple[Budget, set[DeviceId]]]:
    """Return what is shared out together, with all devices that may have a share of it, live or not."""
    by_user: dict[str, list[DeviceId]] = defaultdict(list)
    for row in db.execute("SELECT id, user_id FROM devices ORDER BY id").fetchall():
        if row["id"] in limited:
            # A device of nobody stands alone.
            by_user[row["user_id"] or f"device {row['id']}"].append(DeviceId(row["id"]))
    budgets = []
    for owner, device_ids in sorted(by_user.items()):
        user: User | None = find_record(db, USERS, owner)
        period = PERIOD_OF_NOBODY if user is None else user.quota_period
        live = [allowed[device_id] for device_id in device_ids if device_id in allowed]
        budget = Budget(
            places={
                (device.id, node_id)
                for device in live
                for node_id in nodes_open_to(record.rules.of(device.user_id), record.nodes)
            },
            period_at=period_start(period, at),
            user=None if user is None else user.quota_bytes,
            devices={device.id: device.quota_bytes for device in live if device.quota_bytes is not None},
        )
        budgets.append((budget, set(device_ids)))
    return budgets


def _limited(db: Database) -> dict[DeviceId, int]:
    """Return the devices whose quota nodes enforce, their own or that of their user.

    And the rate of whoever has used it up, in bits per second each way; 0 is for those who are cut then. Whoever is
    only to be warned is not among them.
    """
    throttle: int = setting(db, "quota.throttle_kbit") * _KBIT
    rates = {QuotaAction.CUT: 0, QuotaAction.THROTTLE: throttle}
    by_user = {user.id: rates[user.quota_action] for user in users_with_quota(db) if user.quota_action in rates}
    limited: dict[DeviceId, int] = {}
    if by_user:
        marks = ", ".join("?" for _ in by_user)
        rows: Any = db.execute(f"SELECT id, user_id FROM devices WHERE user_id IN ({marks})", tuple(by_user))  # noqa: S608
        limited |= {DeviceId(row["id"]): by_user[row["user_id"]] for row in rows}
    rows = db.execute(
        f"SELECT {DEVICES.all_columns} FROM devices WHERE quota_bytes IS NOT NULL"  # noqa: S608 -- names of a Noun
    ).fetchall()
    for device in map(DEVICES.load, rows):
        user: User | None = None if device.user_id is None else find_record(db, USERS, device.user_id)
        # A device of nobody has no action of its own.
        action = QuotaAction.CUT if user is None else user.quota_action
        if action in rates:
            limited[device.id] = rates[action]
    return limited
