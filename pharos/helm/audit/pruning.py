"""Forgetting the oldest rows, up to a signed checkpoint that stays as what the rest follows (security.md §2g)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final, NoReturn

import trio

from pharos.helm.audit.chain import Link, verify_rows
from pharos.helm.audit.checkpoints import believe, signing_keys
from pharos.helm.ca.authority import Authority
from pharos.helm.ca.live import LiveAuthority
from pharos.helm.errors import AuditError, BusyError, DatabaseCorruptError
from pharos.helm.live.board import now_us
from pharos.helm.store.audit import audit_head, audit_rows, oldest_sequence, remove_audit_rows
from pharos.helm.store.checkpoints import find_checkpoint, next_checkpoint, remove_checkpoints
from pharos.helm.store.database import Database, Store
from pharos.helm.store.settings import setting
from pharos.wire.units import DAYS, HOURS

log = logging.getLogger(__name__)

SETTING: Final = "audit.days"
_PERIOD: Final = 1 * HOURS
_DAY: Final = int(1 * DAYS) * 1_000_000


def kept_from(db: Database, now: int) -> int:
    """Return from when rows are kept, as the setting says; both times in microseconds since 1970."""
    days: int = setting(db, SETTING)
    return now - days * _DAY


def missed_from(db: Database, now: int) -> int:
    """Return from when a row that is gone has been removed by no pruning.

    Whoever raises the setting brings nothing back: until it was set last, rows a day old may have gone by it.
    """
    query = "SELECT MAX(at) AS at FROM audit WHERE noun = 'setting' AND subject = ?"
    set_at = db.execute(query, (SETTING,)).fetchone()["at"]
    kept = kept_from(db, now)
    return kept if set_at is None else max(kept, set_at - _DAY)


def prune_next(db: Database, authority: Authority, *, before: int) -> int | None:
    """Remove the rows up to the oldest checkpoint after the anchor; return its sequence, None where nothing is due.

    All of them, and the checkpoint, have to be older than ``before``, in microseconds since 1970; and the newest row
    stays, however old. What is removed is verified first, for afterwards nobody can.

    Raises: AuditError — it does not hold; nothing was removed.
    """
    oldest = oldest_sequence(db)
    if oldest is None:
        return None
    fleet, keys = authority.trust.fleet, signing_keys(authority)
    start = Link()
    if oldest != 1:
        anchor = find_checkpoint(db, oldest - 1)
        if anchor is None:
            raise AuditError(f"audit rows before {oldest} are gone, and no checkpoint says that they were pruned")
        believe(anchor, fleet=fleet, keys=keys)
        start = anchor.link
    end = next_checkpoint(db, start.sequence)
    if end is None or end.at >= before or end.sequence >= audit_head(db).sequence:
        return None
    believe(end, fleet=fleet, keys=keys)
    rows = audit_rows(db, start.sequence, end.sequence - start.sequence)
    # A clock that once was wrong may have dated a row out of order.
    if any(row.at >= before for row in rows):
        return None
    verify_rows(rows, start, {end.sequence: end.hash})
    remove_audit_rows(db, end.sequence)
    remove_checkpoints(db, end.sequence)
    return end.sequence


async def run_pruning(store: Store, authorities: LiveAuthority, *, clock: Callable[[], int] = now_us) -> NoReturn:
    """Remove what need not be kept any longer, each hour; a chain that does not hold is reported and left as it is."""
    while True:
        try:
            await _prune(store, authorities.current, before=await store.read(kept_from, clock()))
        except (BusyError, DatabaseCorruptError) as error:
            log.warning("the audit could not be pruned, and will be later: %s", error)
        except AuditError as error:
            log.error("the audit is not pruned any further: %s; see helm audit verify", error)
            await trio.sleep_forever()
        await trio.sleep(_PERIOD)


async def _prune(store: Store, authority: Authority, *, before: int) -> None:
    pruned = None
    # One checkpoint a transaction, so that nobody's change waits for more than 1,000 rows.
    while (reached := await store.run(prune_next, authority, before=before)) is not None:
        pruned = reached
    if pruned is not None:
        log.info("audit rows up to %d were pruned", pruned)
