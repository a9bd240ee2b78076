"""The feed shows what was committed, all of it, in the order it was committed."""

from __future__ import annotations

from pathlib import Path

import trio
import trio.testing

from pharos.helm.live.follow import follow_outbox
from pharos.helm.live.hub import Hub, Subscriber
from pharos.helm.store.database import Database, open_store
from pharos.helm.store.outbox import RECENT, append_entry


def append(db: Database, kind: str, count: int = 1) -> None:
    for number in range(count):
        append_entry(db, at=number, kind=kind, subject="subject", actor="operator", detail=f"{kind} {number}")


async def receive(subscriber: Subscriber, count: int) -> list[str]:
    texts: list[str] = []
    with trio.fail_after(5):
        while len(texts) < count:
            texts += [event.text for event in await subscriber.receive()]
    return texts


async def test_committed_entries_reach_subscribers_in_order(tmp_path: Path) -> None:
    hub = Hub()
    with open_store(tmp_path, create=True) as store:
        await store.run(append, "before")
        async with hub.open_subscriber() as subscriber, trio.open_nursery() as nursery:
            nursery.start_soon(follow_outbox, store, hub)
            await trio.testing.wait_all_tasks_blocked()
            # More in one transaction than one reading takes.
            await store.run(append, "burst", 2 * RECENT + 1)
            await store.run(append, "after")
            texts = await receive(subscriber, 2 * RECENT + 2)
            nursery.cancel_scope.cancel()
    assert texts == [f"burst {number}" for number in range(2 * RECENT + 1)] + ["after 0"]


async def test_entry_names_its_device_or_node(tmp_path: Path) -> None:
    hub = Hub()
    with open_store(tmp_path, create=True) as store:
        async with hub.open_subscriber() as subscriber, trio.open_nursery() as nursery:
            nursery.start_soon(follow_outbox, store, hub)
            await trio.testing.wait_all_tasks_blocked()
            for kind in ("device_revoked", "node_added", "relay_added", "ticket_made"):
                await store.run(append, kind)
            await receive(subscriber, 4)
            nursery.cancel_scope.cancel()
    assert [(event.kind, event.device, event.node) for event in hub.recent()] == [
        ("device_revoked", "subject", None),
        ("node_added", None, "subject"),
        ("relay_added", None, "subject"),
        ("ticket_made", None, None),
    ]


async def test_entry_of_a_failed_transaction_is_never_shown(tmp_path: Path) -> None:
    def append_and_fail(db: Database) -> None:
        append(db, "never")
        raise ZeroDivisionError

    hub = Hub()
    with open_store(tmp_path, create=True) as store:
        async with hub.open_subscriber() as subscriber, trio.open_nursery() as nursery:
            nursery.start_soon(follow_outbox, store, hub)
            await trio.testing.wait_all_tasks_blocked()
            try:
                await store.run(append_and_fail)
            except ZeroDivisionError:
                await store.run(append, "next")
            assert await receive(subscriber, 1) == ["next 0"]
            nursery.cancel_scope.cancel()
