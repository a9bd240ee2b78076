"""Signing what the audit holds: each 1,000 rows, each five minutes, at start and at shutdown (security.md §2g)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from typing import Final, NoReturn

import attrs
import trio

from pharos.helm.audit.chain import Link, verify_rows
from pharos.helm.ca.authority import Authority
from pharos.helm.ca.live import LiveAuthority
from pharos.helm.errors import AuditError, BusyError, DatabaseCorruptError
from pharos.helm.live.board import now_us
from pharos.helm.store.audit import audit_head, audit_rows
from pharos.helm.store.checkpoints import StoredCheckpoint, add_checkpoint, latest_checkpoint
from pharos.helm.store.database import Database, Store
from pharos.wire.errors import RemoteProtocolError
from pharos.wire.ids import FleetId
from pharos.wire.seal.checkpoint import Checkpoint, sign_checkpoint, signature_of, verify_checkpoint
from pharos.wire.units import MINUTES, SECONDS

log = logging.getLogger(__name__)

# Security.md §2g: whoever alters the database can write at most so many rows anew without being found out.
ROWS: Final = 1_000
INTERVAL: Final = 5 * MINUTES
# 300 commits a second need no 300 looks at the head.
_LOOK: Final = 1 * SECONDS
# One durable transaction of 1,000 rows takes some 20 ms; a disk that is slower than this is not waited for.
_GRACE: Final = 5 * SECONDS


def signing_keys(authority: Authority) -> tuple[bytes, ...]:
    """Return the raw public keys by one of which a checkpoint has to be signed."""
    return authority.verify_keys


def believe(checkpoint: StoredCheckpoint, *, fleet: FleetId, keys: Collection[bytes]) -> Checkpoint:
    """Return what a row of the checkpoints table says, if the fleet signed it.

    Raises: AuditError — it did not.
    """
    try:
        return verify_checkpoint(checkpoint.blob(fleet), fleet=fleet, signing_keys=keys)
    except (RemoteProtocolError, TypeError, ValueError) as error:
        raise AuditError(f"the checkpoint of audit row {checkpoint.sequence!r} is not the fleet's: {error}") from None


def sign_next(db: Database, authority: Authority, *, at: int, everything: bool) -> StoredCheckpoint | None:
    """Sign the next 1,000 rows, or with ``everything`` also fewer; None where there are not so many.

    The rows are verified from the last checkpoint on: helm puts its name to no chain that does not hold.

    Raises: AuditError — the chain, or the last checkpoint, does not hold.
    """
    last = latest_checkpoint(db)
    start = Link()
    if last is not None:
        believe(last, fleet=authority.trust.fleet, keys=signing_keys(authority))
        start = last.link
    head = audit_head(db)
    if head.sequence < start.sequence:
        raise AuditError(f"audit rows after {head.sequence} are gone; rows up to {start.sequence} were signed")
    if head.sequence == start.sequence and head.hash != start.hash:
        raise AuditError(f"audit row {head.sequence} is not the one that was signed")
    rows = audit_rows(db, start.sequence, ROWS)
    if not rows or (len(rows) < ROWS and not everything):
        return None
    end = verify_rows(rows, start)
    checkpoint = Checkpoint(fleet=authority.trust.fleet, size=end.sequence, head=end.hash, at=at)
    blob = sign_checkpoint(checkpoint, signing_key=authority.signing)
    stored = StoredCheckpoint(sequence=end.sequence, at=at, hash=end.hash, signature=signature_of(blob))
    add_checkpoint(db, stored)
    return stored


async def run_checkpoints(store: Store, authorities: LiveAuthority, *, clock: Callable[[], int] = now_us) -> NoReturn:
    """Sign the audit for as long as helm runs, and once more when it is cancelled.

    A chain that does not hold is reported once, and not signed any further. ``clock`` gives microseconds since 1970.
    """
    signer = _Signer(store, authorities, clock)
    try:
        while True:
            await signer.sign(everything=True)
            commits = store.commits
            with trio.move_on_after(INTERVAL):
                while True:
                    commits = await store.wait_commit(commits)
                    await signer.sign(everything=False)
                    await trio.sleep(_LOOK)
    finally:
        with trio.move_on_after(_GRACE, shield=True):
            await signer.sign(everything=True)


@attrs.define
class _Signer:
    """Signs until the chain is found broken."""

    _store: Store
    _authorities: LiveAuthority
    _clock: Callable[[], int]
    _broken: bool = attrs.field(default=False, init=False)

    async def sign(self, *, everything: bool) -> None:
        """Sign all that is due, 1,000 rows a transaction."""
        try:
            due = not self._broken
            while due:
                signed = await self._store.run(
                    sign_next, self._authorities.current, at=self._clock(), everything=everything
                )
                due = signed is not None
        except (BusyError, DatabaseCorruptError) as error:
            log.warning("the audit could not be signed, and will be later: %s", error)
        except AuditError as error:
            self._broken = True
            log.error("the audit is not signed any further: %s; see helm audit verify", error)
