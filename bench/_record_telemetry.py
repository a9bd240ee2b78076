"""How many events a second are taken in and durable as rows, sessions and counts, and how soon a large file is open."""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import trio

from pharos.helm.model.telemetry import NodeEvent
from pharos.helm.store.database import TELEMETRY, Database, Store, open_store
from pharos.helm.telemetry.ingest import BATCH_SIZE, Ingest
from pharos.wire.ids import DeviceId, NodeId

NODES: Final = 50
DEVICES: Final = 5_000
_BORN: Final = 1_800_000_000_000_000
_AGAIN: Final = 120_000_000
"""Microseconds between two handshakes of a device."""
# A row of the events table with its index, about.
_ROW: Final = 250


def measure_ingest(seconds: float, *, devices: int = DEVICES) -> float:
    """Return events per second: handshakes of so many devices at 50 nodes, offered as fast as they are written."""
    with tempfile.TemporaryDirectory() as folder, open_store(Path(folder), create=True) as store:
        return trio.run(_ingest, store, seconds, devices)


def measure_reopen(size: int, *, folder: Path | None = None) -> float:
    """Return the seconds until a store is open whose ``telemetry.db`` has ``size`` bytes of events."""
    with tempfile.TemporaryDirectory(dir=folder) as name:
        state = Path(name)
        with open_store(state, create=True) as store:
            trio.run(_fill, store, size)
        began = time.perf_counter()
        with open_store(state):
            return time.perf_counter() - began


async def _ingest(store: Store, seconds: float, devices: int) -> float:
    ingest, events = Ingest(), _events(devices)
    # The first handshake of a device costs more than all that follow; no fleet sees only those.
    ingest.offer_events(itertools.islice(events, devices))
    while not ingest.backlog.is_empty:
        await ingest.write(store, at=_BORN)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ingest.run, store)
        before, began = ingest.written.events, trio.current_time()
        while trio.current_time() - began < seconds:
            # Links bring some hundred events at a time.
            while len(ingest.backlog) < 4 * BATCH_SIZE:
                ingest.offer_events(itertools.islice(events, 500))
            await trio.sleep(0.01)
        rate = (ingest.written.events - before) / (trio.current_time() - began)
        nursery.cancel_scope.cancel()
    if ingest.backlog.dropped or ingest.written.repeated:
        raise RuntimeError("events were dropped or repeated, so nothing was measured")
    return rate


def _events(devices: int) -> Iterator[NodeEvent]:
    """Give handshakes as they come: each device again after two minutes."""
    apart = _AGAIN // devices
    pairs = [
        (NodeId(f"0198a2b4-0001-7000-8000-{device % NODES:012x}"), DeviceId(f"0198a2b4-0002-7000-8000-{device:012x}"))
        for device in range(devices)
    ]
    for number, (node_id, device_id) in enumerate(itertools.cycle(pairs)):
        at = _BORN + number * apart
        yield NodeEvent(at=at, kind="handshake", node_id=node_id, device_id=device_id, detail="198.51.100.4:40001")


async def _fill(store: Store, size: int) -> None:
    file = store.state / TELEMETRY
    for device in itertools.count():
        # Device by device, for an index grows fastest at its end.
        await store.record(_fill_device, device, min(size // _ROW, 50_000))
        if file.stat().st_size >= size:
            return


def _fill_device(db: Database, device: int, rows: int) -> None:
    name = f"0198a2b4-0002-7000-8000-{device:012x}"
    db.executemany(
        "INSERT INTO events (at, kind, node_id, device_id, detail, received_at) VALUES (?, ?, ?, ?, ?, ?)",
        [
            (at, "handshake", "0198a2b4-0001-7000-8000-000000000000", name, "198.51.100.4:40001", at)
            for at in range(_BORN, _BORN + rows * 120_000_000, 120_000_000)
        ],
    )
