"""The feed shows what was committed, all of it, in the order it was committed; what is old is forgotten."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.testing

from pharos.helm.errors import BusyError
from pharos.helm.live import follow
from pharos.helm.live.follow import PAGE, follow_outbox, run_feed
from pharos.helm.live.hub import Hub
from pharos.helm.live.subscriber import Subscriber
from pharos.helm.store import outbox
from pharos.helm.store.database import Database, Store, open_store
from pharos.helm.store.devices import DEVICES
from pharos.helm.store.outbox import append_entry, entries_after, last_sequence, oldest_sequence
from pharos.helm.store.records import change_record
from tests.support.helm import enrol_sample_device, open_helm, sample_act
from tests.support.live import message


def append(db: Database, kind: str, count: int = 1) -> None:
    for number in range(count):
        append_entry(db, at=number, kind=kind, subject=f"{number}", actor="operator", detail=f"{kind} {number}")


@asynccontextmanager
async def following(store: Store, hub: Hub) -> AsyncIterator[Subscriber]:
    async with trio.open_nursery() as nursery:
        await nursery.start(follow_outbox, store, hub)
        async with hub.open_subscriber() as subscriber:
            yield subscriber
        nursery.cancel_scope.cancel()


async def receive(subscriber: Subscriber, count: int) -> list[str]:
    details: list[str] = []
    while len(details) < count:
        details += [delta["detail"] for delta in (await message(subscriber))["deltas"]]
    return details


async def test_committed_entries_reach_subscribers_in_order(tmp_path: Path) -> None:
    hub = Hub()
    with open_store(tmp_path, create=True) as store:
        await store.run(append, "before")
        async with following(store, hub) as subscriber:
            # More in one transaction than one reading takes.
            await store.run(append, "burst", 2 * PAGE + 1)
            await store.run(append, "after")
            details = await receive(subscriber, 2 * PAGE + 2)
    assert details == [f"burst {number}" for number in range(2 * PAGE + 1)] + ["after 0"]


async def test_no_commit_after_the_start_is_missed(tmp_path: Path) -> None:
    hub = Hub()
    with open_store(tmp_path, create=True) as store:
        async with trio.open_nursery() as nursery:
            await nursery.start(run_feed, store, hub)
            async with hub.open_subscriber() as subscriber:
                await store.run(append, "first")
                assert await receive(subscriber, 1) == ["first 0"]
            nursery.cancel_scope.cancel()


async def test_page_of_today_keeps_device_and_node_of_an_entry(tmp_path: Path) -> None:
    hub = Hub()
    with open_store(tmp_path, create=True) as store:
        async with following(store, hub) as subscriber:
            for kind in ("device_revoked", "node_added", "relay_added", "ticket_made"):
                await store.run(append, kind)
            await receive(subscriber, 4)
    assert [(event.kind, event.device, event.node) for event in hub.recent()] == [
        ("device_revoked", "0", None),
        ("node_added", None, "0"),
        ("relay_added", None, "0"),
        ("ticket_made", None, None),
    ]


async def test_entry_of_a_failed_transaction_is_never_shown(tmp_path: Path) -> None:
    def append_and_fail(db: Database) -> None:
        append(db, "never")
        raise ZeroDivisionError

    hub = Hub()
    with open_store(tmp_path, create=True) as store:
        async with following(store, hub) as subscriber:
            with pytest.raises(ZeroDivisionError):
                await store.run(append_and_fail)
            await store.run(append, "next")
            assert await receive(subscriber, 1) == ["next 0"]


async def test_database_that_is_locked_for_a_while_delays_the_feed_and_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "RETRY", 0.01)
    hub, refused = Hub(), trio.Event()
    with open_store(tmp_path, create=True) as store:
        async with following(store, hub) as subscriber:

            def locked(_db: Database, _sequence: int, _limit: int) -> list[outbox.Entry]:
                trio.from_thread.run_sync(refused.set)
                raise BusyError("locked")

            monkeypatch.setattr(follow, "entries_after", locked)
            await store.run(append, "first")
            with trio.fail_after(5):
                await refused.wait()
            monkeypatch.setattr(follow, "entries_after", entries_after)
            assert await receive(subscriber, 1) == ["first 0"]


async def test_old_entries_are_dropped_while_helm_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "KEPT_ROWS", 10)
    monkeypatch.setattr(outbox, "PRUNED_AT_ONCE", 7)
    monkeypatch.setattr(follow, "now_us", lambda: 100)
    with open_store(tmp_path, create=True) as store:
        await store.run(append, "kind", 50)
        async with trio.open_nursery() as nursery:
            await nursery.start(run_feed, store, Hub())
            with trio.fail_after(5):
                commits = 0
                while await store.read(oldest_sequence) != 41:
                    commits = await store.wait_commit(commits)
            nursery.cancel_scope.cancel()
        assert await store.read(last_sequence) == 50


async def test_outbox_that_cannot_be_pruned_is_pruned_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "PRUNE_INTERVAL", 0.01)
    again, tried = trio.Event(), 0

    def prune(_db: Database, *, at: int) -> bool:
        nonlocal tried
        tried += 1
        if tried == 3:
            trio.from_thread.run_sync(again.set)
        raise BusyError("the disk is full")

    monkeypatch.setattr(follow, "prune_outbox", prune)
    with open_store(tmp_path, create=True) as store:
        async with trio.open_nursery() as nursery:
            await nursery.start(run_feed, store, Hub())
            with trio.fail_after(5):
                await again.wait()
            nursery.cancel_scope.cancel()


async def test_names_of_devices_are_known_from_before_and_as_they_change(tmp_path: Path) -> None:
    async with open_helm(tmp_path) as helm:
        store, hub = helm.store, helm.context.hub
        old = await store.run(enrol_sample_device, 1, "phone")
        async with following(store, hub) as subscriber:
            new = await store.run(enrol_sample_device, 2, "laptop")
            await store.run(change_record, DEVICES, old.id, 1, {"name": "old phone"}, sample_act())
            await receive(subscriber, 2)
        assert hub.names == {old.id: "old phone", new.id: "laptop"}
        assert [(event.device, event.name) for event in hub.recent()] == [(new.id, "laptop"), (old.id, "old phone")]
