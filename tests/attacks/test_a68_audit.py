"""Row 68. Position: somebody who can write to core.db, up to helm itself. Wants: that an act was not, or was another.

Countermeasure: each row's hash covers the row before it; checkpoints of the chain are signed by the fleet, and held by
others too. By the chain, rows between checkpoints hold together. By checkpoints, nobody writes the chain anew. By
witnesses, nobody cuts it off or forks it.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import ANY

import pytest
from nacl.signing import SigningKey

from pharos.helm.audit import chain
from pharos.helm.audit.chain import row_hash
from pharos.helm.audit.verify import Verification
from pharos.helm.ca.authority import Authority
from pharos.helm.errors import AuditError
from pharos.helm.store.audit import audit_rows
from pharos.helm.store.checkpoints import StoredCheckpoint, add_checkpoint, latest_checkpoint
from pharos.helm.store.database import Database
from pharos.wire.seal.checkpoint import Checkpoint, sign_checkpoint, signature_of, verify_checkpoint
from tests.support.audit import append_acts, sign_all, verdict
from tests.support.helm import STARTED_AT, fleet_in_memory

ROWS = 20
VICTIM = 7
FIELDS = {
    "at": STARTED_AT,
    "actor": "eve",
    "via": "token",
    "verb": "user_added",
    "noun": "device",
    "subject": "id-0",
    "version": 1,
    "detail": "",
    "hash": bytes(32),
}


@pytest.fixture
def fleet() -> Iterator[tuple[Database, Authority]]:
    with fleet_in_memory() as (db, authority):
        yield db, authority


def weaken(monkeypatch: pytest.MonkeyPatch, covered: Callable[[tuple[Any, ...]], object]) -> None:
    """A chain that is none: a row's hash covers these of its values, and not the row before it."""

    def weak_hash(_previous: bytes, values: tuple[Any, ...]) -> bytes:
        return hashlib.sha256(repr(covered(values)).encode()).digest()

    monkeypatch.setattr(chain, "chained_hash", weak_hash)


async def must_find(db: Database, authority: Authority, row: int, **given: Any) -> Verification:
    """The first row that does not follow is named, and all before it hold."""
    found = await verdict(db, authority, **given)
    assert not found.ok
    assert found.head.sequence == row - 1
    return found


async def must_miss(db: Database, authority: Authority, **given: Any) -> None:
    found = await verdict(db, authority, **given)
    assert found.ok, found.detail


# -- the chain, without any checkpoint


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.red_inside
async def test_a68_edited_field_is_found(
    fleet: tuple[Database, Authority], field: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    db, authority = fleet
    append_acts(db, ROWS)
    edit = f"UPDATE audit SET {field} = ? WHERE sequence = {VICTIM}"
    db.execute(edit, (FIELDS[field],))
    found = await must_find(db, authority, VICTIM)
    assert f"audit row {VICTIM} " in found.detail
    db.execute("DELETE FROM audit")
    if field == "hash":
        return
    position = chain.AuditRow._fields.index(field)
    weaken(monkeypatch, lambda values: values[:position] + values[position + 1 :])
    append_acts(db, ROWS)
    db.execute(edit, (FIELDS[field],))
    await must_miss(db, authority)


def delete(db: Database) -> None:
    """Close the gap as well."""
    db.execute(f"DELETE FROM audit WHERE sequence = {VICTIM}")
    renumber(db, VICTIM, -1)


def insert(db: Database) -> None:
    """Make room, and put another row's copy there."""
    renumber(db, VICTIM - 1, +1)
    db.execute(f"INSERT INTO audit SELECT {VICTIM}, {VALUES} FROM audit WHERE sequence = 2")


def reorder(db: Database) -> None:
    """Let two rows change places."""
    for old, new in ((VICTIM, -1), (VICTIM + 4, VICTIM), (-1, VICTIM + 4)):
        db.execute("UPDATE audit SET sequence = ? WHERE sequence = ?", (new, old))


def replace(db: Database) -> None:
    """Put a copy of one row in the place of another."""
    db.execute(f"DELETE FROM audit WHERE sequence = {VICTIM}")
    db.execute(f"INSERT INTO audit SELECT {VICTIM}, {VALUES} FROM audit WHERE sequence = 2")


VALUES = "at, actor, via, verb, noun, subject, version, detail, hash"


def renumber(db: Database, after: int, by: int) -> None:
    order = "DESC" if by > 0 else "ASC"
    for (sequence,) in db.execute(
        f"SELECT sequence FROM audit WHERE sequence > ? ORDER BY sequence {order}", (after,)
    ).fetchall():
        db.execute("UPDATE audit SET sequence = ? WHERE sequence = ?", (sequence + by, sequence))


@pytest.mark.parametrize("mutate", [delete, insert, reorder, replace])
@pytest.mark.red_inside
async def test_a68_moved_rows_are_found(
    fleet: tuple[Database, Authority], mutate: Callable[[Database], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    db, authority = fleet
    append_acts(db, ROWS)
    mutate(db)
    await must_find(db, authority, VICTIM)
    db.execute("DELETE FROM audit")
    weaken(monkeypatch, lambda values: values[1:])
    append_acts(db, ROWS)
    mutate(db)
    await must_miss(db, authority)


@pytest.mark.red_inside
async def test_a68_hash_that_covers_its_own_row_only_lets_a_row_be_written_anew(
    fleet: tuple[Database, Authority], monkeypatch: pytest.MonkeyPatch
) -> None:
    db, authority = fleet

    def write_anew() -> None:
        append_acts(db, ROWS)
        previous, row = audit_rows(db, VICTIM - 2, 2)
        altered = row._replace(actor="eve")
        digest = row_hash(previous.hash, *altered[:-1])
        db.execute(f"UPDATE audit SET actor = 'eve', hash = ? WHERE sequence = {VICTIM}", (digest,))

    write_anew()
    await must_find(db, authority, VICTIM + 1)
    db.execute("DELETE FROM audit")
    weaken(monkeypatch, lambda values: values)
    write_anew()
    await must_miss(db, authority)


@pytest.mark.parametrize(
    ("statement", "row"),
    [
        (f"DELETE FROM audit WHERE sequence = {VICTIM}", VICTIM),
        ("DELETE FROM audit WHERE sequence < 3", 1),
        (f"UPDATE audit SET sequence = sequence + 100 WHERE sequence >= {VICTIM}", VICTIM),
        (f"INSERT INTO audit SELECT -5, {VALUES} FROM audit WHERE sequence = 2", 1),
        (f"INSERT INTO audit SELECT 0, {VALUES} FROM audit WHERE sequence = 2", 1),
        (f"INSERT INTO audit SELECT NULL, {VALUES} FROM audit WHERE sequence = 2", 1),
        (f"INSERT INTO audit SELECT 7.5, {VALUES} FROM audit WHERE sequence = 2", VICTIM + 1),
        (f"INSERT INTO audit SELECT 'last', {VALUES} FROM audit WHERE sequence = 2", ROWS + 1),
        (f"UPDATE audit SET detail = CAST(x'ff' AS TEXT) WHERE sequence = {VICTIM}", None),
    ],
)
async def test_a68_row_that_helm_could_not_have_written_is_found(
    fleet: tuple[Database, Authority], statement: str, row: int | None
) -> None:
    db, authority = fleet
    append_acts(db, ROWS)
    await must_miss(db, authority)
    db.execute(statement)
    found = await verdict(db, authority)
    assert not found.ok
    assert row is None or found.head.sequence == row - 1


@pytest.mark.red_inside
async def test_a68_octets_in_the_place_of_a_text_are_found(
    fleet: tuple[Database, Authority], monkeypatch: pytest.MonkeyPatch
) -> None:
    db, authority = fleet
    append_acts(db, ROWS)
    # "note" is also what JSON encoders write for these three octets.
    db.execute(f"UPDATE audit SET detail = ? WHERE sequence = {VICTIM}", (base64.b64decode("note"),))
    await must_find(db, authority, VICTIM)
    monkeypatch.setattr(chain, "_TYPES", ANY)
    await must_miss(db, authority)


# -- checkpoints: whoever writes the rest of the chain anew, for its hashes have no key


def rewrite(db: Database, sequence: int, actor: str = "eve") -> None:
    """Edit one row, and compute every hash from there on."""
    rows = audit_rows(db, sequence - 1, 10_000)
    before = audit_rows(db, sequence - 2, 1) if sequence > 1 else []
    previous = before[0].hash if before else chain.GENESIS
    for row in [rows[0]._replace(actor=actor), *rows[1:]]:
        previous = row_hash(previous, *row[:-1])
        db.execute("UPDATE audit SET actor = ?, hash = ? WHERE sequence = ?", (row.actor, previous, row.sequence))


@pytest.mark.red_inside
async def test_a68_chain_written_anew_is_found_by_a_checkpoint(
    fleet: tuple[Database, Authority], monkeypatch: pytest.MonkeyPatch
) -> None:
    db, authority = fleet
    append_acts(db, 2_500)
    sign_all(db, authority)
    rewrite(db, 1_500)
    found = await must_find(db, authority, 2_000)
    assert "signed" in found.detail
    assert found.checkpoint is not None
    assert found.checkpoint.sequence == 1_000
    monkeypatch.setattr("pharos.helm.audit.verify.checkpoints_between", lambda _db, _after, _up_to: [])
    await must_miss(db, authority)


@pytest.mark.parametrize("table", ["checkpoints", "audit"])
async def test_a68_checkpoint_of_a_forger_is_found(fleet: tuple[Database, Authority], table: str) -> None:
    db, authority = fleet
    forger = SigningKey(bytes(32))
    append_acts(db, ROWS)
    sign_all(db, authority)
    if table == "audit":
        rewrite(db, VICTIM)
    db.execute("DELETE FROM checkpoints")
    head = audit_rows(db, ROWS - 1)[0]
    forged = Checkpoint(fleet=authority.trust.fleet, size=ROWS, head=head.hash, at=STARTED_AT)
    signature = signature_of(sign_checkpoint(forged, signing_key=forger))
    add_checkpoint(db, StoredCheckpoint(sequence=ROWS, at=STARTED_AT, hash=head.hash, signature=signature))
    found = await verdict(db, authority)
    assert not found.ok
    assert "not signed by the fleet" in found.detail
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pharos.wire.seal.checkpoint.verify_signature", lambda _signature, message, _keys: message)
        await must_miss(db, authority)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE checkpoints SET at = at + 1",
        "UPDATE checkpoints SET hash = zeroblob(32)",
        "UPDATE checkpoints SET hash = 'x'",
        "UPDATE checkpoints SET signature = zeroblob(64)",
        "UPDATE checkpoints SET signature = 'x'",
        "UPDATE checkpoints SET sequence = sequence - 1",
        "UPDATE checkpoints SET sequence = sequence + 1",
        "UPDATE checkpoints SET sequence = 'last'",
    ],
)
async def test_a68_altered_checkpoint_is_found(fleet: tuple[Database, Authority], statement: str) -> None:
    db, authority = fleet
    append_acts(db, ROWS)
    sign_all(db, authority)
    await must_miss(db, authority)
    db.execute(statement)
    assert not (await verdict(db, authority)).ok


@pytest.mark.red_inside
async def test_a68_rows_pruned_before_their_time_are_found(fleet: tuple[Database, Authority]) -> None:
    db, authority = fleet
    append_acts(db, 1_500)
    sign_all(db, authority)
    db.execute("DELETE FROM audit WHERE sequence <= 1000")
    found = await verdict(db, authority)
    assert not found.ok
    assert "had to be kept" in found.detail
    # Weakened: as if nothing had to be kept.
    await must_miss(db, authority, kept_from=STARTED_AT + 10**15)
    # Nor is there a way round by leaving out the checkpoint.
    db.execute("DELETE FROM checkpoints WHERE sequence = 1000")
    assert not (await verdict(db, authority, kept_from=STARTED_AT + 10**15)).ok


# -- witnesses: whoever takes the checkpoints table along


def held(db: Database, authority: Authority) -> Checkpoint:
    """What a node keeps, verified as it would."""
    stored = latest_checkpoint(db)
    assert stored is not None
    fleet, keys = authority.trust.fleet, [bytes(authority.signing.verify_key)]
    return verify_checkpoint(stored.blob(fleet), fleet=fleet, signing_keys=keys)


@pytest.mark.red_inside
async def test_a68_cut_off_tail_is_found_by_helms_own_checkpoint(
    fleet: tuple[Database, Authority], monkeypatch: pytest.MonkeyPatch
) -> None:
    db, authority = fleet
    append_acts(db, ROWS)
    sign_all(db, authority)
    for left in (VICTIM, 0):
        db.execute("DELETE FROM audit WHERE sequence > ?", (left,))
        found = await must_find(db, authority, left + 1)
        assert f"rows after {left} are gone" in found.detail
    # Weakened: nobody looks beyond the newest row.
    monkeypatch.setattr("pharos.helm.audit.verify.latest_checkpoint", lambda _db: None)
    await must_miss(db, authority)


@pytest.mark.red_inside
async def test_a68_tail_cut_off_with_its_checkpoints_is_found_by_a_witness(fleet: tuple[Database, Authority]) -> None:
    db, authority = fleet
    append_acts(db, 1_500)
    sign_all(db, authority)
    witness = held(db, authority)
    db.execute("DELETE FROM audit WHERE sequence > 1100")
    db.execute("DELETE FROM checkpoints WHERE sequence > 1100")
    # Weakened: nobody else holds a checkpoint.
    await must_miss(db, authority)
    found = await must_find(db, authority, 1_101, witness=witness)
    assert "the given signed checkpoint is of row 1500" in found.detail
    # Growing on hides it no better.
    append_acts(db, 1_000, actor="eve")
    sign_all(db, authority)
    await must_miss(db, authority)
    await must_find(db, authority, 1_500, witness=witness)


async def test_a68_fork_is_found_by_a_witness(fleet: tuple[Database, Authority]) -> None:
    """By helm itself, or by a copy of it that was restored: both branches are signed by the fleet."""
    db, authority = fleet
    append_acts(db, ROWS)
    sign_all(db, authority)
    witness = held(db, authority)
    db.execute("DELETE FROM checkpoints")
    rewrite(db, VICTIM)
    sign_all(db, authority)
    await must_miss(db, authority)
    found = await verdict(db, authority, witness=witness)
    assert not found.ok
    assert "forked" in found.detail


async def test_a68_helm_signs_no_chain_that_was_altered(fleet: tuple[Database, Authority]) -> None:
    db, authority = fleet
    append_acts(db, ROWS)
    sign_all(db, authority)
    append_acts(db, ROWS)
    db.execute("UPDATE audit SET actor = 'eve' WHERE sequence = ?", (ROWS + 3,))
    with pytest.raises(AuditError, match=f"audit row {ROWS + 3} "):
        sign_all(db, authority)
    rewrite(db, VICTIM)
    with pytest.raises(AuditError, match=f"audit row {ROWS + 1} "):
        sign_all(db, authority)
