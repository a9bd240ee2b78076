"""A link looks at the record when there is news for its node, and not at each commit."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio
import trio.testing

from pharos.helm.accounts.users import add_group, add_user, join_group
from pharos.helm.fleet.desired import DesiredFleet
from pharos.helm.fleet.nodes import change_node
from pharos.helm.fleet.stir import Stir
from pharos.helm.model.nodes import Node
from pharos.helm.store.database import Database
from pharos.helm.store.fleet import get_fleet
from pharos.wire.desired import Fence
from tests.support.helm import SampleHelm, adopt_sample_node, enrol_sample_device, open_helm, sample_act


@asynccontextmanager
async def stirred(tmp_path: Path) -> AsyncIterator[tuple[SampleHelm, Stir, Node, Node]]:
    """Two nodes, and a user who may use the first alone."""
    async with open_helm(tmp_path) as helm, trio.open_nursery() as nursery:
        near, far = [(await helm.store.run(adopt_sample_node, helm.authority, name))[0] for name in ("near", "far")]

        def restrict(db: Database) -> None:
            change_node(db, sample_act(), near.id, near.version, {"tags": ("eu",)})
            group = add_group(db, sample_act(), {"name": "europe", "node_tags": ("eu",)})
            user = add_user(db, sample_act(), {"name": "ada"})
            join_group(db, sample_act(), group.id, user.id)

        await helm.store.run(restrict)
        stir = Stir()
        nursery.start_soon(stir.run, helm.store, helm.context.authorities, DesiredFleet(helm.store), helm.context.board)
        with trio.fail_after(10):
            await stir.wait(near.id, 0)
            await stir.wait(far.id, 0)
            yield helm, stir, near, far
        nursery.cancel_scope.cancel()


def user_of(db: Database) -> str:
    user_id: str = db.execute("SELECT id FROM users").fetchone()["id"]
    return user_id


async def test_only_the_node_that_a_change_concerns_is_stirred(tmp_path: Path) -> None:
    async with stirred(tmp_path) as (helm, stir, near, far):
        board, before = helm.context.board, await helm.store.read(get_fleet)
        for node in (near, far):
            board.of(node.id).applied = Fence(1, 1, before.revision)
        user_id = await helm.store.read(user_of)
        await helm.store.run(enrol_sample_device, 1, user_id=user_id)
        assert await stir.wait(near.id, 1) == 2
        assert stir.count(far.id) == 1
        after = await helm.store.read(get_fleet)
        assert after.revision > before.revision
        assert board.of(far.id).applied.revision == after.revision, "in force where it changes nothing"
        assert board.of(near.id).applied.revision == before.revision, "not before it was acknowledged"


async def test_commit_without_a_revision_stirs_nobody(tmp_path: Path) -> None:
    async with stirred(tmp_path) as (helm, stir, near, far):
        await helm.store.run(add_user, sample_act(), {"name": "grace"})
        user_id = await helm.store.read(user_of)
        await helm.store.run(enrol_sample_device, 1, user_id=user_id)
        assert await stir.wait(near.id, 1) == 2
        assert stir.count(far.id) == 1


async def test_another_authority_stirs_everybody(tmp_path: Path) -> None:
    async with stirred(tmp_path) as (helm, stir, near, far):
        helm.context.authorities.replace(helm.authority)
        assert (await stir.wait(near.id, 1), await stir.wait(far.id, 1)) == (2, 2)
