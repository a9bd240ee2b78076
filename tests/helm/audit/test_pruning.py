"""What is old enough is forgotten, up to a checkpoint, and the rest still verifies."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
import trio
import trio.testing

from pharos.helm.audit.pruning import kept_from, missed_from, prune_next, run_pruning
from pharos.helm.ca.authority import Authority
from pharos.helm.ca.live import LiveAuthority
from pharos.helm.errors import AuditError
from pharos.helm.store.audit import append_audit, audit_head, oldest_sequence
from pharos.helm.store.changes import Act
from pharos.helm.store.checkpoints import checkpoints_between, latest_checkpoint
from pharos.helm.store.database import Database
from pharos.helm.store.records import find_record
from pharos.helm.store.settings import SETTINGS, put_setting
from pharos.wire.units import DAYS
from tests.support.audit import SECOND, InlineStore, append_acts, sign_all, verdict
from tests.support.helm import STARTED_AT, fleet_in_memory

DAY = 86_400 * SECOND
LATER = STARTED_AT + 100 * DAY


@pytest.fixture
def fleet() -> Iterator[tuple[Database, Authority]]:
    with fleet_in_memory() as (db, authority):
        yield db, authority


def fill(db: Database, authority: Authority) -> None:
    """Three checkpoints: of rows 1 to 10, on day 1; 11 to 20, on day 2; 21 to 25, on day 90."""
    for day, count in ((0, 10), (1, 10), (89, 5)):
        append_acts(db, count, at=STARTED_AT + day * DAY)
        sign_all(db, authority, at=STARTED_AT + day * DAY + 1)


def set_days(db: Database, days: int, *, at: int) -> None:
    """Be an admin who says how long the audit is kept."""
    found = find_record(db, SETTINGS, "audit.days")
    put_setting(db, Act(actor="ada", at=at), "audit.days", 0 if found is None else found.version, days)


def test_retention_is_what_the_setting_says(fleet: tuple[Database, Authority]) -> None:
    db, _ = fleet
    assert kept_from(db, LATER) == LATER - 30 * DAY
    set_days(db, 3, at=STARTED_AT)
    assert kept_from(db, LATER) == LATER - 3 * DAY


async def test_what_went_by_a_shorter_retention_is_not_missed_when_it_is_raised(
    fleet: tuple[Database, Authority],
) -> None:
    db, authority = fleet
    fill(db, authority)
    set_days(db, 200, at=LATER)
    assert prune_next(db, authority, before=LATER - 30 * DAY) is not None
    assert (await verdict(db, authority, kept_from=missed_from(db, LATER))).ok
    # Whose rows go afterwards by no pruning is found out.
    later = LATER + 150 * DAY
    append_acts(db, 5, at=LATER + 20 * DAY)
    sign_all(db, authority, at=LATER + 20 * DAY + 1)
    append_acts(db, 5, at=later)
    assert prune_next(db, authority, before=later) is not None
    while prune_next(db, authority, before=later) is not None:
        pass
    found = await verdict(db, authority, kept_from=missed_from(db, later))
    assert not found.ok
    assert "had to be kept" in found.detail


async def test_old_rows_go_up_to_a_checkpoint_and_the_rest_verifies(fleet: tuple[Database, Authority]) -> None:
    db, authority = fleet
    fill(db, authority)
    before = kept_from(db, LATER)
    assert prune_next(db, authority, before=before) == 10
    assert prune_next(db, authority, before=before) == 20
    assert prune_next(db, authority, before=before) is None
    assert oldest_sequence(db) == 21
    assert [checkpoint.sequence for checkpoint in checkpoints_between(db, 0, 100)] == [20, 25]
    found = await verdict(db, authority, kept_from=before)
    assert (found.ok, found.rows, found.head) == (True, 5, audit_head(db))
    assert found.detail.startswith("audit rows 21 to 25 hold, signed up to row 25")
    append_acts(db, 1)
    assert audit_head(db).sequence == 26
    assert (await verdict(db, authority, kept_from=before)).ok


def test_row_or_checkpoint_that_is_too_young_keeps_what_is_before_it(fleet: tuple[Database, Authority]) -> None:
    db, authority = fleet
    append_acts(db, 5)
    # By a clock that was wrong for a while.
    append_acts(db, 1, at=LATER)
    append_acts(db, 5)
    sign_all(db, authority)
    append_acts(db, 1)
    assert prune_next(db, authority, before=LATER - DAY) is None
    assert prune_next(db, authority, before=LATER + 1) == 11
    sign_all(db, authority, at=LATER)
    append_acts(db, 1)
    assert prune_next(db, authority, before=LATER) is None


def test_newest_row_stays_however_old(fleet: tuple[Database, Authority]) -> None:
    db, authority = fleet
    append_acts(db, 10)
    sign_all(db, authority)
    assert prune_next(db, authority, before=LATER) is None
    append_acts(db, 1)
    assert prune_next(db, authority, before=LATER) == 10
    assert oldest_sequence(db) == audit_head(db).sequence == 11


def test_rows_that_no_checkpoint_covers_stay(fleet: tuple[Database, Authority]) -> None:
    db, authority = fleet
    assert prune_next(db, authority, before=LATER) is None
    append_acts(db, 10)
    assert prune_next(db, authority, before=LATER) is None


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit SET actor = 'eve' WHERE sequence = 3",
        "DELETE FROM audit WHERE sequence = 3",
        "DELETE FROM audit WHERE sequence < 3",
        "UPDATE audit SET hash = zeroblob(32) WHERE sequence = 10",
        "UPDATE checkpoints SET signature = zeroblob(64)",
    ],
)
def test_what_does_not_hold_is_not_forgotten(fleet: tuple[Database, Authority], statement: str) -> None:
    db, authority = fleet
    fill(db, authority)
    db.execute(statement)
    changes = db.total_changes
    with pytest.raises(AuditError):
        prune_next(db, authority, before=LATER)
    assert db.total_changes == changes


async def test_forged_anchor_is_found_before_anything_goes(fleet: tuple[Database, Authority]) -> None:
    db, authority = fleet
    fill(db, authority)
    assert prune_next(db, authority, before=LATER) == 10
    db.execute("UPDATE checkpoints SET at = at - 1 WHERE sequence = 10")
    with pytest.raises(AuditError, match="row 10 is not the fleet's"):
        prune_next(db, authority, before=LATER)


async def test_pruning_goes_on_each_hour(
    fleet: tuple[Database, Authority], autojump_clock: trio.testing.MockClock
) -> None:
    db, authority = fleet
    fill(db, authority)

    def clock() -> int:
        return LATER - 70 * DAY + int(trio.current_time()) * SECOND

    async with trio.open_nursery() as nursery:
        start = trio.current_time()
        nursery.start_soon(lambda: run_pruning(InlineStore(db), LiveAuthority(authority), clock=clock))
        await trio.testing.wait_all_tasks_blocked()
        seen = [oldest_sequence(db)]
        while trio.current_time() < start + 40 * DAYS:
            await trio.sleep(1 * DAYS)
            if oldest_sequence(db) != seen[-1]:
                seen.append(oldest_sequence(db))
        nursery.cancel_scope.cancel()
    assert seen == [1, 11, 21]
    latest = latest_checkpoint(db)
    assert latest is not None
    assert latest.sequence == 25


async def test_broken_chain_is_reported_once_and_left(
    fleet: tuple[Database, Authority], autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    db, authority = fleet
    fill(db, authority)
    append_audit(db, at=LATER, actor="ada", via="session", verb="sign_in")
    db.execute("UPDATE audit SET actor = 'eve' WHERE sequence = 3")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: run_pruning(InlineStore(db), LiveAuthority(authority), clock=lambda: LATER))
        await trio.sleep(1 * DAYS)
        nursery.cancel_scope.cancel()
    (error,) = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert "audit row 3 " in error
    assert oldest_sequence(db) == 1
    caplog.clear()
