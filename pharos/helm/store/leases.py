"""The quota_leases table: which share of a quota each node may spend, and what it has spent of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import attrs

from pharos.helm.store.database import Database
from pharos.wire.convert import PeerReport
from pharos.wire.desired import Fence
from pharos.wire.ids import DeviceId, NodeId


@attrs.frozen(kw_only=True)
class Share:
    """What one device may spend, and has spent, at one node in one period; octets of both directions together."""

    device_id: DeviceId
    node_id: NodeId
    lease: int
    """The fleet's revision that brought it: a report from before that is about the share that was there before."""
    octets: int
    """Of this lease, what is used of it included."""
    used: int
    """Of this lease, by the node's last report."""
    spent: int
    """By the leases before it in this period."""
    period_at: int
    """When the period began, microseconds since 1970."""

    @property
    def rest(self) -> int:
        """What may still be spent; a node may report more than it was given, and never less than nothing is left."""
        return max(self.octets - self.used, 0)


# What a column holds; a node may say anything.
_LARGEST: Final = 2**62
_COLUMNS = "device_id, node_id, lease, octets, used, spent, period_at"


def list_shares(db: Database) -> list[Share]:
    """Return every share, by device and node."""
    rows = db.execute(f"SELECT {_COLUMNS} FROM quota_leases ORDER BY device_id, node_id")  # noqa: S608 -- constant text
    return [Share(**dict(row)) for row in rows]


def put_share(db: Database, share: Share) -> None:
    """Write a share in place of the one that was there."""
    row = attrs.asdict(share)
    db.execute(
        f"INSERT INTO quota_leases ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 -- constant text
        " ON CONFLICT (device_id, node_id) DO UPDATE SET lease = excluded.lease, octets = excluded.octets,"
        " used = excluded.used, spent = excluded.spent, period_at = excluded.period_at",
        tuple(row.values()),
    )


def drop_shares(db: Database, device_id: DeviceId) -> None:
    """Forget the shares of a device that has no quota any more."""
    db.execute("DELETE FROM quota_leases WHERE device_id = ?", (device_id,))


def used_news(
    db: Database, node_id: NodeId, applied: Fence, reports: Iterable[PeerReport]
) -> list[tuple[int, DeviceId, NodeId]]:
    """Return what a node says was used of its leases, where that is news: octets, device, node.

    A node that has not applied a lease yet speaks of the one before; what it says then is passed over.
    """
    known = {
        row["device_id"]: row["used"]
        for row in db.execute(
            "SELECT device_id, used FROM quota_leases WHERE node_id = ?"
            " AND (SELECT epoch FROM fleet) = ? AND lease <= ?",
            (node_id, applied.epoch, applied.revision),
        )
    }
    return [
        (min(report.quota_used, _LARGEST), report.device_id, node_id)
        for report in reports
        if report.quota_used > known.get(report.device_id, _LARGEST)
    ]


def note_used(db: Database, news: Iterable[tuple[int, DeviceId, NodeId]]) -> None:
    """Write what `used_news` found."""
    db.executemany("UPDATE quota_leases SET used = ? WHERE device_id = ? AND node_id = ?", news)
