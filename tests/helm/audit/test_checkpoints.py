"""Checkpoints are signed by rows, by time, at start and at shutdown."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import attrs
import pytest
import trio
import trio.testing

from pharos.helm.audit.checkpoints import INTERVAL, ROWS, believe, run_checkpoints, sign_next, signing_keys
from pharos.helm.ca.authority import Authority
from pharos.helm.ca.live import LiveAuthority
from pharos.helm.errors import AuditError, ReadOnlyError
from pharos.helm.store.checkpoints import checkpoints_between, latest_checkpoint
from pharos.helm.store.database import Database
from tests.support.audit import InlineStore, append_acts, sign_all, verdict
from tests.support.helm import STARTED_AT, fleet_in_memory

NOW = STARTED_AT + 1


@pytest.fixture
def fleet() -> Iterator[tuple[Database, Authority]]:
    with fleet_in_memory() as (db, authority):
        yield db, authority


def sizes(db: Database) -> list[int]:
    return [checkpoint.sequence for checkpoint in checkpoints_between(db, 0, 2**62)]


def test_checkpoint_is_signed_each_thousand_rows_however_many_there_are(fleet: tuple[Database, Authority]) -> None:
    db, authority = fleet
    append_acts(db, 2 * ROWS + 1)
    while sign_next(db, authority, at=NOW, everything=False):
        pass
    assert sizes(db) == [ROWS, 2 * ROWS]
    sign_all(db, authority)
    assert sizes(db) == [ROWS, 2 * ROWS, 2 * ROWS + 1]
    assert sign_next(db, authority, at=NOW, everything=True) is None


def test_empty_audit_is_not_signed(fleet: tuple[Database, Authority]) -> None:
    db, authority = fleet
    assert sign_next(db, authority, at=NOW, everything=True) is None
    assert latest_checkpoint(db) is None


def test_checkpoint_that_the_fleet_did_not_sign_is_not_believed(fleet: tuple[Database, Authority]) -> None:
    db, authority = fleet
    append_acts(db, 3)
    stored = sign_next(db, authority, at=NOW, everything=True)
    assert stored == latest_checkpoint(db)
    assert stored is not None
    said = believe(stored, fleet=authority.trust.fleet, keys=signing_keys(authority))
    assert (said.size, said.head, said.at) == (3, stored.hash, NOW)
    for changes in ({"sequence": 2}, {"at": NOW + 1}, {"hash": bytes(32)}, {"signature": bytes(64)}):
        with pytest.raises(AuditError, match="not signed by the fleet"):
            believe(attrs.evolve(stored, **changes), fleet=authority.trust.fleet, keys=signing_keys(authority))


def test_forged_checkpoint_is_not_built_upon(fleet: tuple[Database, Authority]) -> None:
    db, authority = fleet
    append_acts(db, 3)
    sign_all(db, authority)
    db.execute("UPDATE checkpoints SET signature = zeroblob(64)")
    append_acts(db, 3)
    with pytest.raises(AuditError, match="not signed by the fleet"):
        sign_next(db, authority, at=NOW, everything=True)


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("DELETE FROM audit WHERE sequence = 3", "rows after 2 are gone"),
        ("UPDATE audit SET hash = zeroblob(32) WHERE sequence = 3", "row 3 is not the one that was signed"),
    ],
)
def test_chain_that_lost_its_signed_head_is_not_signed(
    fleet: tuple[Database, Authority], statement: str, message: str
) -> None:
    db, authority = fleet
    append_acts(db, 3)
    sign_all(db, authority)
    db.execute(statement)
    with pytest.raises(AuditError, match=message):
        sign_next(db, authority, at=NOW, everything=True)


async def test_emptied_audit_goes_on_after_its_checkpoint_and_never_passes_for_a_new_one(
    fleet: tuple[Database, Authority],
) -> None:
    db, authority = fleet
    append_acts(db, 3)
    sign_all(db, authority)
    db.execute("DELETE FROM audit")
    append_acts(db, 1)
    sign_all(db, authority)
    assert sizes(db) == [3, 4]
    assert "rows up to 3 are gone" in (await verdict(db, authority)).detail


async def test_audit_is_signed_at_start_each_five_minutes_and_at_shutdown(
    fleet: tuple[Database, Authority], autojump_clock: trio.testing.MockClock
) -> None:
    db, authority = fleet
    store = InlineStore(db)
    append_acts(db, 3)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_checkpoints, store, LiveAuthority(authority))
        await trio.testing.wait_all_tasks_blocked()
        assert sizes(db) == [3]
        await store.run(append_acts, 4)
        await trio.sleep(INTERVAL - 1)
        assert sizes(db) == [3]
        await trio.sleep(2)
        assert sizes(db) == [3, 7]
        # Nothing was done meanwhile, so there is nothing to sign.
        await trio.sleep(10 * INTERVAL)
        assert sizes(db) == [3, 7]
        await store.run(append_acts, 1)
        nursery.cancel_scope.cancel()
    assert sizes(db) == [3, 7, 8]


async def test_busy_audit_is_signed_by_its_rows(
    fleet: tuple[Database, Authority], autojump_clock: trio.testing.MockClock
) -> None:
    db, authority = fleet
    store = InlineStore(db)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_checkpoints, store, LiveAuthority(authority))
        await trio.testing.wait_all_tasks_blocked()
        for _ in range(3):
            await store.run(append_acts, ROWS)
            await trio.sleep(2)
        assert sizes(db) == [ROWS, 2 * ROWS, 3 * ROWS]
        assert trio.current_time() < INTERVAL
        nursery.cancel_scope.cancel()


async def test_broken_chain_is_reported_once_and_ends_nobody(
    fleet: tuple[Database, Authority], autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    db, authority = fleet
    store = InlineStore(db)
    append_acts(db, 3)
    db.execute("UPDATE audit SET actor = 'eve' WHERE sequence = 2")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_checkpoints, store, LiveAuthority(authority))
        await trio.sleep(3 * INTERVAL)
        nursery.cancel_scope.cancel()
    assert sizes(db) == []
    errors = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert len(errors) == 1
    assert "audit row 2 " in errors[0]
    caplog.clear()


async def test_full_disk_is_waited_out(
    fleet: tuple[Database, Authority], autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    db, authority = fleet
    store = InlineStore(db)
    append_acts(db, 3)

    def refuse(_db: Database, _authority: Authority, **_values: object) -> None:
        raise ReadOnlyError("the disk is full")

    async with trio.open_nursery() as nursery:
        with monkeypatch.context() as patch:
            patch.setattr("pharos.helm.audit.checkpoints.sign_next", refuse)
            nursery.start_soon(run_checkpoints, store, LiveAuthority(authority))
            await trio.sleep(2 * INTERVAL)
        assert sizes(db) == []
        await trio.sleep(2 * INTERVAL)
        assert sizes(db) == [3]
        nursery.cancel_scope.cancel()
