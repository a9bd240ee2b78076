"""The exported_ways table: what was in the files of devices whose keys were made in a browser, as digests."""

from __future__ import annotations

from collections.abc import Mapping

from pharos.helm.model.devices import Device, DeviceState
from pharos.helm.store.database import Database
from pharos.helm.store.devices import DEVICES
from pharos.wire.ids import DeviceId, NodeId


def put_ways(db: Database, device_id: DeviceId, digests: Mapping[tuple[NodeId, str], bytes]) -> None:
    """Note what the files of a new device are made of."""
    db.executemany(
        "INSERT INTO exported_ways (device_id, node_id, protocol, digest) VALUES (?, ?, ?, ?)",
        [(device_id, node_id, protocol, digest) for (node_id, protocol), digest in digests.items()],
    )


def ways_of_device(db: Database, device_id: DeviceId) -> dict[tuple[NodeId, str], bytes]:
    """Return what the files of a device were made of."""
    rows = db.execute("SELECT node_id, protocol, digest FROM exported_ways WHERE device_id = ?", (device_id,))
    return {(NodeId(row["node_id"]), row["protocol"]): row["digest"] for row in rows}


def exported_devices(db: Database) -> list[Device]:
    """Return the exported devices that are not revoked, oldest first."""
    rows = db.execute(
        f"SELECT {DEVICES.all_columns} FROM devices WHERE exported = 1 AND state <> ? ORDER BY id",  # noqa: S608
        (DeviceState.REVOKED.value,),
    )
    return [DEVICES.load(row) for row in rows]
