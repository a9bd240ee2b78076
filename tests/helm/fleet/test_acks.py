"""Acknowledgements of many members are one commit, and the last of each counts."""

from __future__ import annotations

from pathlib import Path

import trio
import trio.testing

from pharos.helm.fleet.acks import Acknowledged, Acks
from pharos.helm.store.database import Database
from pharos.wire.desired import Fence
from tests.support.helm import open_helm


def rows(db: Database) -> list[tuple[object, ...]]:
    return [
        tuple(row) for row in db.execute("SELECT id, applied_revision, deny_version FROM member_states ORDER BY id")
    ]


async def test_what_many_acknowledge_is_one_commit_with_the_last_of_each(tmp_path: Path) -> None:
    async with open_helm(tmp_path) as helm:
        acks, before = Acks(), helm.store.commits
        for number in range(100):
            acks.note(f"n{number:02}", Acknowledged(applied=Fence(1, 1, 1)))
        acks.note("n00", Acknowledged(applied=Fence(1, 1, 2), deny_order=(1, 7)))
        await acks.flush(helm.store)
        assert helm.store.commits == before + 1
        found = await helm.store.read(rows)
        assert (len(found), found[0], found[1]) == (100, ("n00", 2, 7), ("n01", 1, 0))
        acks.note("n00", Acknowledged(applied=Fence(1, 1, 3)))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(acks.run, helm.store)
            with trio.fail_after(10):
                await helm.store.wait_commit(before + 1)
            nursery.cancel_scope.cancel()
        assert (await helm.store.read(rows))[0] == ("n00", 3, 0)
