"""How long does one look over 100,000 sessions take: read, judged by every rule, and written down as alerts?"""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Final

import netaddr
import trio
from mmdb_writer import MMDBWriter

from pharos.helm.anomalies.places import open_places
from pharos.helm.anomalies.tries import Tries
from pharos.helm.anomalies.watch import Watch
from pharos.helm.live.board import now_us
from pharos.helm.model.telemetry import NodeEvent
from pharos.helm.store.database import Database, Store, open_store
from pharos.helm.store.handshakes import add_events
from pharos.helm.store.sessions import apply_events
from pharos.wire.ids import DeviceId, NodeId

DEVICES: Final = 10_000
NODES: Final = 20
_CITIES: Final = ((52.5, 13.4, "Berlin"), (48.9, 2.4, "Paris"), (40.7, -74.0, "New York"), (-33.9, 151.2, "Sydney"))
_MINUTE: Final = 60_000_000
_BATCH: Final = 5_000
# One device in a hundred is odd in one way or another, which is far more than any fleet has.
_ODD: Final = 0.01


def measure_anomalies(folder: Path, sessions: int) -> tuple[float, int]:
    """Return the seconds of a first look over so many sessions, and how many alerts it raised."""
    with open_store(folder, create=True) as store, open_places(_write_places(folder / "places.mmdb")) as places:

        async def run() -> tuple[float, int]:
            now = now_us()
            await _fill(store, sessions, now)
            began = time.perf_counter()
            await Watch(store, Tries(), places).look(now)
            taken = time.perf_counter() - began
            return taken, await store.read(_count_alerts)

        return trio.run(run)


async def _fill(store: Store, sessions: int, now: int) -> None:
    """Have nodes tell of the sessions of a day: ten a device, at its home, and now and then somewhere else."""
    draw = random.Random(9)
    each = sessions // DEVICES
    batch: list[NodeEvent] = []
    for device in range(DEVICES):
        home = draw.randrange(len(_CITIES))
        for number in range(each):
            city = draw.randrange(len(_CITIES)) if draw.random() < _ODD / each else home
            begun = now - (each - number) * (24 * 60 // each) * _MINUTE + draw.randrange(30) * _MINUTE
            node = NodeId(f"node-{draw.randrange(NODES)}")
            for sign in range(2):
                batch.append(
                    NodeEvent(
                        at=begun + sign * 2 * _MINUTE,
                        kind="handshake",
                        node_id=node,
                        device_id=DeviceId(f"device-{device}"),
                        detail=f"{60 + city}.{device >> 8}.{device & 255}.7:4711",
                    )
                )
        if len(batch) >= _BATCH:
            await store.record(_tell, batch)
            batch = []
    await store.record(_tell, batch)


def _tell(db: Database, events: list[NodeEvent]) -> None:
    apply_events(db, add_events(db, events))


def _count_alerts(db: Database) -> int:
    return int(db.execute("SELECT COUNT(*) FROM alerts").fetchone()[0])


def _write_places(path: Path) -> Path:
    writer = MMDBWriter(ip_version=4, database_type="Bench-City")
    for number, (latitude, longitude, name) in enumerate(_CITIES):
        record = {"city": {"names": {"en": name}}, "location": {"latitude": latitude, "longitude": longitude}}
        writer.insert_network(netaddr.IPSet([f"{60 + number}.0.0.0/8"]), record)
    writer.to_db_file(str(path))
    return path
