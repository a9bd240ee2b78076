"""Verification in pages, beside a helm that goes on writing and pruning."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pharos.helm.audit.checkpoints import sign_next
from pharos.helm.audit.pruning import prune_next
from pharos.helm.audit.verify import verify_audit
from pharos.helm.ca.authority import Authority
from pharos.helm.store.audit import PAGE, audit_head
from pharos.helm.store.checkpoints import latest_checkpoint
from pharos.helm.store.database import Database
from pharos.wire.seal.checkpoint import Checkpoint
from tests.support.audit import LONG_BEFORE, InlineStore, append_acts, sign_all, verdict
from tests.support.helm import STARTED_AT, fleet_in_memory, open_helm


@pytest.fixture
def fleet() -> Iterator[tuple[Database, Authority]]:
    with fleet_in_memory() as (db, authority):
        yield db, authority


async def test_empty_audit_holds(fleet: tuple[Database, Authority]) -> None:
    found = await verdict(*fleet)
    assert (found.ok, found.rows, found.checkpoint, found.detail) == (True, 0, None, "the audit is empty")


async def test_verdict_says_how_far_the_audit_is_signed(fleet: tuple[Database, Authority]) -> None:
    db, authority = fleet
    append_acts(db, 3)
    found = await verdict(db, authority)
    assert (found.ok, found.rows, found.detail) == (True, 3, "audit rows 1 to 3 hold; none of them is signed yet")
    sign_all(db, authority)
    append_acts(db, 2)
    found = await verdict(db, authority)
    assert (found.ok, found.rows, found.head) == (True, 5, audit_head(db))
    assert found.checkpoint == latest_checkpoint(db)
    assert found.detail == "audit rows 1 to 5 hold, signed up to row 3 at 2027-01-15T08:00:00Z"


@pytest.mark.parametrize("rows", [PAGE - 1, PAGE, PAGE + 1, 2 * PAGE + 7])
async def test_every_row_is_on_some_page(fleet: tuple[Database, Authority], rows: int) -> None:
    db, authority = fleet
    append_acts(db, rows)
    found = await verdict(db, authority)
    assert (found.ok, found.rows) == (True, rows)
    db.execute("UPDATE audit SET detail = '' WHERE sequence = ?", (rows,))
    found = await verdict(db, authority)
    assert (found.ok, found.rows) == (False, rows - 1)
    assert f"audit row {rows} " in found.detail


async def test_witness_of_a_pruned_row_is_no_accusation(fleet: tuple[Database, Authority]) -> None:
    db, authority = fleet
    append_acts(db, 3)
    sign_all(db, authority)
    old = latest_checkpoint(db)
    assert old is not None
    witness = Checkpoint(fleet=authority.trust.fleet, size=old.sequence, head=old.hash, at=old.at)
    append_acts(db, 3)
    sign_all(db, authority)
    append_acts(db, 1)
    later = STARTED_AT + 10**15
    assert prune_next(db, authority, before=later) == 3
    assert (await verdict(db, authority, witness=witness, kept_from=later)).detail.startswith("audit rows 4 to 7 hold")
    assert prune_next(db, authority, before=later) == 6
    found = await verdict(db, authority, witness=witness, kept_from=later)
    assert found.ok
    assert "the given checkpoint is of row 3, which was pruned" in found.detail


class BusyStore(InlineStore):
    """Between any two looks at it, somebody acts."""

    between: Any = staticmethod(lambda _look: None)
    looks = 0

    async def read(self, function: Any, *args: Any, **kwargs: Any) -> Any:
        self.looks += 1
        self.between(self.looks)
        return await super().read(function, *args, **kwargs)


async def verify_busily(store: BusyStore, authority: Authority, kept_from: int) -> Any:
    keys = [bytes(authority.signing.verify_key)]
    return await verify_audit(store, fleet=authority.trust.fleet, keys=keys, kept_from=kept_from)


async def test_rows_and_checkpoints_that_are_written_meanwhile_do_not_disturb(
    fleet: tuple[Database, Authority],
) -> None:
    db, authority = fleet
    append_acts(db, 2 * PAGE)

    def act(_look: int) -> None:
        append_acts(db, 100)
        sign_next(db, authority, at=STARTED_AT, everything=True)

    store = BusyStore(db)
    store.between = act
    found = await verify_busily(store, authority, LONG_BEFORE)
    assert found.ok
    assert found.rows > 2 * PAGE


async def test_rows_that_are_pruned_meanwhile_are_no_accusation(fleet: tuple[Database, Authority]) -> None:
    db, authority = fleet
    append_acts(db, 2 * PAGE)
    sign_all(db, authority)
    append_acts(db, 1)
    later = STARTED_AT + 10**15

    def prune(look: int) -> None:
        if look == 3:
            while prune_next(db, authority, before=later):
                pass

    store = BusyStore(db)
    store.between = prune
    found = await verify_busily(store, authority, later)
    assert (found.ok, found.rows) == (True, 1)


async def test_audit_in_real_files_is_verified(tmp_path: Path) -> None:
    async with open_helm(tmp_path) as helm:
        await helm.store.run(append_acts, PAGE + 1)
        await helm.store.run(sign_all, helm.authority)
        keys = [bytes(helm.authority.signing.verify_key)]
        fleet = helm.authority.trust.fleet
        found = await verify_audit(helm.store, fleet=fleet, keys=keys, kept_from=LONG_BEFORE)
        assert found.ok
        assert found.rows >= PAGE + 1
