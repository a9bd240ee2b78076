"""How many changes a second the record takes: each durable and audited, as the REST edge makes them."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Final

import trio

from pharos.helm.model.users import User
from pharos.helm.store.changes import Act
from pharos.helm.store.database import Database, open_store
from pharos.helm.store.ids import fresh_id
from pharos.helm.store.records import add_record, change_record
from pharos.helm.store.users import USERS
from pharos.helm.store.writer import GROUP

CALLERS: Final = 8
_ACT: Final = Act(actor="operator", at=1_800_000_000_000_000)


def measure_writes(seconds: float, *, folder: Path | None = None, group: int = GROUP) -> float:
    """Return durable, audited changes per second of 8 callers at once, on the disk of ``folder``.

    With a ``group`` of 1 every change pays for a commit of its own.
    """
    with tempfile.TemporaryDirectory(dir=folder) as name, open_store(Path(name), create=True, group=group) as store:

        async def run() -> float:
            users = [await store.run(_add, number) for number in range(CALLERS)]
            changes = 0

            async def call(user: User) -> None:
                nonlocal changes
                while True:
                    user = await store.run(change_record, USERS, user.id, user.version, {"note": str(changes)}, _ACT)
                    changes += 1

            started = trio.current_time()
            with trio.move_on_after(seconds):
                async with trio.open_nursery() as nursery:
                    for user in users:
                        nursery.start_soon(call, user)
            return changes / (trio.current_time() - started)

        return trio.run(run)


def _add(db: Database, number: int) -> User:
    return add_record(db, USERS, User(id=fresh_id(), name=f"user {number}"), _ACT)
