"""From the outbox to the hub: the feed shows what was committed, in the order it was committed."""

from __future__ import annotations

from typing import NoReturn

from pharos.helm.live.hub import Hub
from pharos.helm.store.database import Store
from pharos.helm.store.outbox import Entry, entries_after, last_sequence


async def follow_outbox(store: Store, hub: Hub) -> NoReturn:
    """Publish every entry committed from now on, until cancelled."""
    sequence = await store.run(last_sequence)
    while True:
        commits = store.commits
        entries = await store.run(entries_after, sequence)
        for entry in entries:
            _publish(hub, entry)
            sequence = entry.sequence
        if not entries:
            await store.wait_commit(commits)


def _publish(hub: Hub, entry: Entry) -> None:
    device = entry.subject if entry.kind.startswith("device_") else None
    node = entry.subject if entry.kind.startswith(("node_", "relay_")) else None
    hub.publish(entry.kind, at=entry.at, node=node, device=device, text=entry.detail)
