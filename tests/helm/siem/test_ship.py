"""Sinks of a real store over real sockets: at least once, whoever falls when, and without a word of what is secret."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from pharos.helm.model.sinks import Cursor, Health, Sink, SinkKind, SinkState, Source
from pharos.helm.siem import ship
from pharos.helm.siem.acts import add_sink, change_sink, remove_sink, switch_sink
from pharos.helm.siem.ship import Pace, run_sinks
from pharos.helm.store.audit import remove_audit_rows
from pharos.helm.store.database import Database
from pharos.helm.store.handshakes import add_events
from pharos.helm.store.records import get_record
from pharos.helm.store.sinks import SINKS, cursors_of, health_of
from tests.support.audit import append_acts
from tests.support.helm import SampleHelm, open_helm, sample_act
from tests.support.sinks import LOOPBACK, Inbox, http_receiver, own_ca, syslog_receiver
from tests.support.telemetry import event

SECRET = "s3cret-token"
FAST = Pace(gather=0.01, look=0.02, first_retry=0.02, longest_retry=0.05, timeout=1.0)


async def add(helm: SampleHelm, kind: SinkKind, url: str, **changes: Any) -> Sink:
    values: dict[str, Any] = {
        "name": "soc",
        "kind": kind,
        "url": url,
        "sources": tuple(Source),
        "headers": {} if kind is SinkKind.SYSLOG else {"Authorization": f"Bearer {SECRET}"},
        "ca": None,
        "from_oldest": False,
    }
    return await helm.store.run(add_sink, sample_act(), helm.vault, **values | changes)


@asynccontextmanager
async def running(helm: SampleHelm, pace: Pace = FAST) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: run_sinks(helm.store, helm.vault, pace=pace))
        yield
        nursery.cancel_scope.cancel()


def told_in(items: Iterable[Any]) -> list[dict[str, Any]]:
    return [record for posted in items for record in json.loads(posted.body)["records"]]


def subjects(items: Iterable[Any]) -> list[str]:
    return [record["subject"] for record in told_in(items) if record["name"] == "user_changed"]


async def wait_for_health(helm: SampleHelm, sink: Sink, *, failing: bool) -> Health:
    with trio.fail_after(10):
        while True:
            seen = helm.store.commits
            health = await helm.store.read(health_of, sink.id)
            if (health.failing_since_at is not None) == failing and (failing or health.sent_at):
                return health
            await helm.store.wait_commit(seen)


async def test_audit_and_events_go_out_as_they_come(tmp_path: Path) -> None:
    async with open_helm(tmp_path) as helm, http_receiver() as inbox:
        sink = await add(helm, SinkKind.WEBHOOK, f"http://{LOOPBACK}:{inbox.port}/hook")
        async with running(helm):
            await helm.store.run(append_acts, 3)
            await helm.store.record(add_events, [event(1), event(2)], received_at=sink.created_at + 1)
            await inbox.wait(lambda items: len(told_in(items)) >= 5)
            told = told_in(inbox.items)
            assert subjects(inbox.items) == ["id-0", "id-1", "id-2"]
            assert [record["name"] for record in told if record["source"] == "events"] == ["handshake"] * 2
            # What was before the sink is not told.
            assert len(told) == 5
            assert (await wait_for_health(helm, sink, failing=False)).error == ""
        assert inbox.items[0].headers["authorization"] == f"Bearer {SECRET}"


async def test_oldest_is_told_where_that_is_wanted(tmp_path: Path) -> None:
    async with open_helm(tmp_path) as helm, http_receiver() as inbox:
        await helm.store.run(append_acts, 3)
        await helm.store.record(add_events, [event(1)])
        await add(helm, SinkKind.WEBHOOK, f"http://{LOOPBACK}:{inbox.port}/", from_oldest=True)
        async with running(helm):
            await inbox.wait(lambda items: len(subjects(items)) == 3 and len(told_in(items)) >= 5)


@pytest.mark.parametrize("kind", list(SinkKind))
async def test_who_is_killed_between_sending_and_noting_it_sends_again_and_loses_nothing(
    tmp_path: Path, kind: SinkKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A helm that dies once a receiver has acknowledged, before its cursor is written: the fault is in the store."""

    class KilledError(BaseException):
        pass

    def killed(*_arguments: object, **_named: object) -> None:
        raise KilledError

    authority = own_ca()
    receiver = syslog_receiver(authority.server) if kind is SinkKind.SYSLOG else http_receiver()
    async with open_helm(tmp_path) as helm, receiver as inbox:
        url = f"{'tls' if kind is SinkKind.SYSLOG else 'http'}://{LOOPBACK}:{inbox.port}"
        await add(helm, kind, url, ca=authority.pem if kind is SinkKind.SYSLOG else None, sources=(Source.AUDIT,))
        await helm.store.run(append_acts, 4)
        with monkeypatch.context() as patch:
            patch.setattr(ship, "move_cursor", killed)
            with pytest.raises(BaseExceptionGroup) as caught:
                async with running(helm):
                    await trio.sleep_forever()
            assert caught.value.split(KilledError)[1] is None
        before = len(inbox.items)
        assert before, "the receiver had it"
        async with running(helm):
            await helm.store.run(append_acts, 1, actor="bob")
            await inbox.wait(lambda items: any(b"bob" in content(item) for item in items[before:]))
            again = b"".join(content(item) for item in inbox.items[before:])
            assert all(b"id-%d" % number in again for number in range(4))


def content(item: Any) -> bytes:
    return item if isinstance(item, bytes) else item.body


async def test_receiver_that_was_away_gets_everything_when_it_is_back(tmp_path: Path) -> None:
    async with open_helm(tmp_path) as helm:
        async with http_receiver() as inbox:
            port = inbox.port
        sink = await add(helm, SinkKind.WEBHOOK, f"http://{LOOPBACK}:{port}/")
        async with running(helm):
            await helm.store.run(append_acts, 3)
            down = await wait_for_health(helm, sink, failing=True)
            assert down.error
            async with http_receiver(port=port) as back:
                await back.wait(lambda items: len(subjects(items)) == 3)
                health = await wait_for_health(helm, sink, failing=False)
                assert (health.error, health.failing_since_at) == ("", None)
                assert subjects(back.items) == ["id-0", "id-1", "id-2"]


async def test_since_when_a_sink_fails_outlives_helm(tmp_path: Path) -> None:
    async with open_helm(tmp_path) as helm:
        sink = await add(helm, SinkKind.WEBHOOK, f"http://{LOOPBACK}:1/")
        await helm.store.run(append_acts, 1)
        async with running(helm):
            first = await wait_for_health(helm, sink, failing=True)
        async with running(helm):
            seen = helm.store.commits
            await helm.store.wait_commit(seen)
            assert (await helm.store.read(health_of, sink.id)).failing_since_at == first.failing_since_at


@pytest.mark.parametrize("trouble", [500, 413, None], ids=["500", "too large", "slow"])
async def test_trouble_of_a_receiver_costs_no_row(tmp_path: Path, trouble: int | None) -> None:
    def respond(number: int) -> tuple[int, list[tuple[str, str]], bytes] | None:
        if number >= 3:
            return 200, [], b""
        return None if trouble is None else (trouble, [], b"")

    async with open_helm(tmp_path) as helm, http_receiver(respond) as inbox:
        await add(helm, SinkKind.WEBHOOK, f"http://{LOOPBACK}:{inbox.port}/", sources=(Source.AUDIT,))
        await helm.store.run(append_acts, 40)
        async with running(helm, attrs.evolve(FAST, timeout=0.1)):
            await inbox.wait(lambda items: len(set(subjects(items[3:]))) == 40)
            assert subjects(inbox.items[3:]) == [f"id-{number}" for number in range(40)]


async def test_receiver_that_takes_little_at_once_is_given_little(tmp_path: Path) -> None:
    sizes: list[int] = []

    def respond(_number: int) -> tuple[int, list[tuple[str, str]], bytes]:
        return (200 if sizes and sizes[-1] <= 70 else 413), [], b""

    async with open_helm(tmp_path) as helm, http_receiver(respond) as inbox:
        put = inbox.put

        def measure(item: Any) -> None:
            sizes.append(len(told_in([item])))
            put(item)

        # The answer is decided before a request is put away, so each is judged by the size of the one before.
        inbox.put = measure  # type: ignore[method-assign]
        await add(helm, SinkKind.WEBHOOK, f"http://{LOOPBACK}:{inbox.port}/", sources=(Source.AUDIT,))
        await helm.store.run(append_acts, 200)
        async with running(helm):
            await inbox.wait(lambda items: len(set(subjects(items))) == 200 and len(items) > 4)
        assert min(sizes) <= 70 < max(sizes)


async def test_pruned_rows_are_a_gap_on_record(tmp_path: Path) -> None:
    async with open_helm(tmp_path) as helm, http_receiver() as inbox:
        sink = await add(helm, SinkKind.WEBHOOK, f"http://{LOOPBACK}:{inbox.port}/", sources=(Source.AUDIT,))
        stood = (await helm.store.read(cursors_of, sink.id))[Source.AUDIT].sequence
        await helm.store.run(append_acts, 6)
        await helm.store.run(remove_audit_rows, stood + 4)
        async with running(helm):
            await inbox.wait(lambda items: len(told_in(items)) >= 3)
        gap, *rest = told_in(inbox.items)
        assert (gap["name"], gap["first"], gap["last"], gap["severity"]) == (
            "siem_gap",
            stood + 1,
            stood + 4,
            "warning",
        )
        assert [record["sequence"] for record in rest] == [stood + 5, stood + 6]


async def test_sink_is_switched_changed_and_removed_while_helm_runs(tmp_path: Path) -> None:
    async with open_helm(tmp_path) as helm, http_receiver() as one, http_receiver() as two:
        sink = await add(helm, SinkKind.WEBHOOK, f"http://{LOOPBACK}:{one.port}/", sources=(Source.AUDIT,), headers={})
        async with running(helm):
            await helm.store.run(append_acts, 1, actor="first")
            await one.wait(lambda items: len(subjects(items)) >= 1)
            off = await helm.store.run(switch_sink, sample_act(), sink.id, sink.version, SinkState.DISABLED)
            await helm.store.run(append_acts, 2)
            values = {"url": f"http://{LOOPBACK}:{two.port}/"}
            moved = await helm.store.run(change_sink, sample_act(), helm.vault, sink.id, off.version, values)
            on = await helm.store.run(switch_sink, sample_act(), sink.id, moved.version, SinkState.ENABLED)
            # Switched off, it was told of nothing at once: both rows go where it was moved to meanwhile.
            await two.wait(lambda items: {"id-0", "id-1"} <= set(subjects(items)))
            assert subjects(one.items) == ["id-0"]
            await helm.store.run(remove_sink, sample_act(), sink.id, on.version)
            await helm.store.run(append_acts, 1, actor="bob")
            other = await add(helm, SinkKind.WEBHOOK, f"http://{LOOPBACK}:{one.port}/", sources=(Source.AUDIT,))
            await helm.store.run(append_acts, 1, actor="eve")
            await one.wait(lambda items: any(record["actor"] == "eve" for record in told_in(items)))
        assert all(record["actor"] != "bob" for record in told_in(two.items))
        assert (await helm.store.read(cursors_of, other.id)).keys() == {Source.AUDIT}


async def test_sink_that_fails_holds_up_no_other(tmp_path: Path) -> None:
    async with open_helm(tmp_path) as helm, http_receiver(lambda _: None) as stuck, http_receiver() as inbox:
        await add(helm, SinkKind.WEBHOOK, f"http://{LOOPBACK}:{stuck.port}/", name="stuck")
        await add(helm, SinkKind.OTLP, f"http://{LOOPBACK}:{inbox.port}", name="well")
        async with running(helm, attrs.evolve(FAST, timeout=60)):
            await stuck_first(stuck, helm)
            with trio.fail_after(2):
                await helm.store.run(append_acts, 2)
                await inbox.wait(lambda items: any(b"id-1" in item.body for item in items))


async def stuck_first(stuck: Inbox, helm: SampleHelm) -> None:
    await helm.store.run(append_acts, 1, actor="early")
    await stuck.wait(lambda items: len(items) == 1)


def rows_of(db: Database, table: str) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in db.execute(f"SELECT * FROM {table}")]


async def test_nothing_secret_is_logged_or_on_record(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    # As a daemon sets it up: the HTTP client tells every URL at INFO (pharos.wire.daemon.set_up_logging).
    caplog.set_level(logging.WARNING, "httpx")
    async with open_helm(tmp_path) as helm, http_receiver(lambda _: (500, [], SECRET.encode())) as inbox:
        sink = await add(helm, SinkKind.WEBHOOK, f"http://{LOOPBACK}:{inbox.port}/{SECRET}")
        await helm.store.run(append_acts, 1)
        async with running(helm):
            await wait_for_health(helm, sink, failing=True)
        for table in ("audit", "outbox", "sink_health"):
            rows = await helm.store.read(rows_of, table)
            assert SECRET not in repr(rows), table
        stored = await helm.store.read(lambda db: get_record(db, SINKS, sink.id))
        assert stored.headers is not None
        assert SECRET.encode() not in stored.headers
        assert SECRET not in repr(attrs.evolve(stored, url=""))
    assert "takes no records: it answered 500" in caplog.text
    assert SECRET not in caplog.text


async def test_headers_that_do_not_open_are_a_failure_that_says_so(tmp_path: Path) -> None:
    async with open_helm(tmp_path) as helm, http_receiver() as inbox:
        sink = await add(helm, SinkKind.WEBHOOK, f"http://{LOOPBACK}:{inbox.port}/")
        await helm.store.run(lambda db: db.execute("UPDATE sinks SET headers = ?", (b"damaged" * 9,)))
        await helm.store.run(append_acts, 1)
        async with running(helm):
            assert "does not open" in (await wait_for_health(helm, sink, failing=True)).error
        assert inbox.items == []


async def test_cursor_of_events_is_placed_once(tmp_path: Path) -> None:
    async with open_helm(tmp_path) as helm, http_receiver() as inbox:
        await helm.store.record(add_events, [event(number) for number in range(5)], received_at=1)
        sink = await add(helm, SinkKind.WEBHOOK, f"http://{LOOPBACK}:{inbox.port}/", sources=(Source.EVENTS,))
        # Between the act and the task's first look.
        await helm.store.record(add_events, [event(6)], received_at=sink.created_at + 1)
        async with running(helm):
            await inbox.wait(lambda items: len(told_in(items)) == 1)
            await wait_for_health(helm, sink, failing=False)
            assert (await helm.store.read(cursors_of, sink.id))[Source.EVENTS] == Cursor(
                sequence=6, mark=sink.created_at + 1
            )
