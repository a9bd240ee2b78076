"""When a device or user expires, nodes hear of it at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NoReturn

import trio

from pharos.helm.fleet.wake import Wakes
from pharos.helm.live.board import now_us
from pharos.helm.model.devices import DeviceState
from pharos.helm.store.changes import Act, record_change
from pharos.helm.store.database import Database, Store
from pharos.helm.store.devices import DEVICES, next_expiry
from pharos.helm.store.fleet import next_revision
from pharos.helm.store.records import Noun
from pharos.helm.store.users import USERS
from pharos.wire.units import SECONDS

# The wall clock may be set at any moment, so it is looked at this often.
LONGEST_WAIT: Final = 60 * SECONDS


async def run_expiry(store: Store, wakes: Wakes, *, clock: Callable[[], int] = now_us) -> NoReturn:
    """Tell of every expiry from now on, until cancelled; ``clock`` is the wall clock in microseconds.

    What expired before needs no telling: each link begins with what holds then.
    """
    seen = clock()
    while True:
        commits = store.commits
        expiry = await store.read(next_expiry, seen)
        now = clock()
        if expiry is not None and expiry <= now:
            await store.run(expire, seen, now)
            seen = now
            continue
        wait = LONGEST_WAIT if expiry is None else min(LONGEST_WAIT, (expiry - now) / 1e6)
        with trio.move_on_after(wait):
            # What expired while this machine slept is due when it wakes.
            async with wakes.ending():
                await store.wait_commit(commits)


def expire(db: Database, after: int, at: int) -> None:
    """Write who has expired since ``after``, and count a change that nodes have to hear of."""
    act = Act(actor="helm", at=at, via="helm")
    nouns: tuple[Noun[Any], ...] = (DEVICES, USERS)
    for noun in nouns:
        rows = db.execute(
            f"SELECT {noun.all_columns} FROM {noun.table}"  # noqa: S608 -- names of a Noun
            " WHERE expires_at > ? AND expires_at <= ? AND state <> ? ORDER BY id",
            (after, at, DeviceState.REVOKED.value),
        ).fetchall()
        for record in map(noun.load, rows):
            body = noun.view(record)
            record_change(
                db, act, noun.kind, "expired", subject=record.id, version=record.version, body=body, detail=record.name
            )
    next_revision(db, profiles=False)
