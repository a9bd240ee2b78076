"""An audit to test with: rows as helm writes them, and a store whose acts need no thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

import trio

from pharos.helm.audit.checkpoints import sign_next, signing_keys
from pharos.helm.audit.verify import Verification, verify_audit
from pharos.helm.ca.authority import Authority
from pharos.helm.store.audit import append_audit
from pharos.helm.store.database import Database, Store, transact
from pharos.wire.seal.checkpoint import Checkpoint
from tests.support.helm import STARTED_AT

P = ParamSpec("P")
R = TypeVar("R")

SECOND = 1_000_000
LONG_BEFORE = STARTED_AT - 30 * 86_400 * SECOND


class InlineStore(Store):
    """Runs what it is given at once, so that a test's clock does not jump while a thread works."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._commits = 0
        self._committed = trio.lowlevel.ParkingLot()

    async def run(self, function: Callable[Concatenate[Database, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        await trio.lowlevel.checkpoint()
        before = self._db.total_changes
        result = transact(self._db, function, *args, **kwargs)
        if self._db.total_changes != before:
            self._commits += 1
            self._committed.unpark_all()
        return result

    async def read(self, function: Callable[Concatenate[Database, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        await trio.lowlevel.checkpoint()
        return function(self._db, *args, **kwargs)


def append_acts(db: Database, count: int, *, at: int = STARTED_AT, actor: str = "ada") -> None:
    """Write rows one second apart."""
    for number in range(count):
        append_audit(
            db,
            at=at + number * SECOND,
            actor=actor,
            via="session",
            verb="user_changed",
            noun="user",
            subject=f"id-{number}",
            version=number + 1,
            detail="note",
        )


def sign_all(db: Database, authority: Authority, *, at: int = STARTED_AT) -> None:
    """Sign every row, as run_checkpoints does at shutdown."""
    while sign_next(db, authority, at=at, everything=True):
        pass


async def verdict(
    db: Database, authority: Authority, *, witness: Checkpoint | None = None, kept_from: int = LONG_BEFORE
) -> Verification:
    """Verify what the database holds."""
    return await verify_audit(
        InlineStore(db),
        fleet=authority.trust.fleet,
        keys=signing_keys(authority),
        kept_from=kept_from,
        witness=witness,
    )
