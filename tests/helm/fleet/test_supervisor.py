"""Links come and go with the rows of the record."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest
import trio
import trio.testing

from pharos.helm.fleet.nodes import push_node
from pharos.helm.fleet.supervisor import DIALS, DIALS_IN_VAIN, dial_cap, run_supervisor
from pharos.helm.fleet.wake import Wakes
from pharos.helm.live.board import Board
from pharos.helm.live.hub import Hub
from pharos.helm.store.changes import Act, record_change
from pharos.helm.store.database import Database
from pharos.helm.store.nodes import list_nodes
from pharos.wire.errors import LinkLostError, LinkRefusedError
from pharos.wire.link import DELAY_CAP, Link, LinkState
from tests.support.helm import SampleHelm, adopt_sample_node, adopt_sample_relay, open_helm, sample_act


class Standing:
    """A link that stays up, and complains when it is cut, as one whose connection is taken away does."""

    async def run(self) -> None:
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            raise LinkLostError("the connection was closed") from None


@attrs.define
class Scene:
    """A supervisor at work, whose dials meet ``fates`` by name, and a bell that rings at each change."""

    helm: SampleHelm
    board: WatchedBoard = attrs.field(init=False)
    dialled: list[str] = attrs.field(factory=list)
    standing: list[str] = attrs.field(factory=list)
    fates: dict[str, Exception] = attrs.field(factory=dict)
    _bell: trio.Event = attrs.field(factory=trio.Event)

    def ring(self) -> None:
        self._bell.set()
        self._bell = trio.Event()

    async def until(self, met: Callable[[], bool]) -> None:
        with trio.fail_after(5):
            while not met():
                await self._bell.wait()

    @asynccontextmanager
    async def dial(self, member: object) -> AsyncIterator[Link]:
        name: str = member.name  # type: ignore[attr-defined]
        self.dialled.append(name)
        if name in self.fates:
            raise self.fates[name]
        self.standing.append(name)
        self.ring()
        try:
            yield Standing()
        finally:
            self.standing.remove(name)
            self.ring()

    def up(self, *names: str) -> bool:
        return sorted(self.standing) == list(names)


class WatchedBoard(Board):
    """Rings the bell when something is noted or forgotten."""

    def __init__(self, ring: Callable[[], None]) -> None:
        super().__init__(Hub())
        self._ring = ring
        self.forgotten: list[str] = []

    def report(self, member_id: str, name: str, state: LinkState, detail: str) -> None:
        super().report(member_id, name, state, detail)
        self._ring()

    def forget(self, member_id: str) -> None:
        super().forget(member_id)
        self.forgotten.append(member_id)
        self._ring()


@asynccontextmanager
async def supervised(tmp_path: Path, **fates: Exception) -> AsyncIterator[Scene]:
    """A supervisor over a fleet with node ``a``."""
    async with open_helm(tmp_path) as helm:
        await helm.store.run(adopt_sample_node, helm.authority, "a")
        scene = Scene(helm, fates=fates)
        scene.board = WatchedBoard(scene.ring)

        async def supervise() -> None:
            await run_supervisor(helm.store, scene.board, dial_node=scene.dial, dial_relay=scene.dial)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(supervise)
            yield scene
            nursery.cancel_scope.cancel()


def told(db: Database, noun: str) -> None:
    """Write what every act writes beside its change."""
    record_change(db, Act(actor="operator", at=1), noun, "changed", subject="x", version=2, body={})


async def change_node(scene: Scene, name: str, column: str, value: object) -> None:
    def change(db: Database) -> None:
        db.execute(f"UPDATE nodes SET {column} = ? WHERE name = ?", (value, name))
        told(db, "node")

    await scene.helm.store.run(change)


async def test_every_node_and_relay_of_the_record_gets_a_link(tmp_path: Path) -> None:
    async with supervised(tmp_path) as scene:
        await scene.until(lambda: scene.up("a"))
        await scene.helm.store.run(adopt_sample_relay, scene.helm.authority, "gate")
        await scene.until(lambda: scene.up("a", "gate"))
        await scene.helm.store.run(adopt_sample_node, scene.helm.authority, "b")
        await scene.until(lambda: scene.up("a", "b", "gate"))
    assert scene.dialled == ["a", "gate", "b"], "a new row disturbs no other link"
    assert scene.up(), "no link outlives its supervisor"


@pytest.mark.parametrize("state", ["draining", "disabled"])
async def test_node_that_is_draining_or_disabled_stays_linked(tmp_path: Path, state: str) -> None:
    """A disabled one has to hear that it has no peers any more, and hears it over the link that stands."""
    async with supervised(tmp_path) as scene:
        await scene.until(lambda: scene.up("a"))
        await change_node(scene, "a", "state", state)
        await scene.helm.store.run(adopt_sample_node, scene.helm.authority, "b")
        await scene.until(lambda: scene.up("a", "b"))
    assert scene.dialled == ["a", "b"]


@pytest.mark.parametrize(("state", "linked"), [("draining", True), ("disabled", False), ("revoked", False)])
async def test_relay_is_tunnelled_as_long_as_it_carries_anybody(tmp_path: Path, state: str, *, linked: bool) -> None:
    async with supervised(tmp_path) as scene:
        await scene.helm.store.run(adopt_sample_relay, scene.helm.authority, "gate")
        await scene.until(lambda: scene.up("a", "gate"))

        def change(db: Database) -> None:
            db.execute("UPDATE relays SET state = ?", (state,))
            told(db, "relay")

        await scene.helm.store.run(change)
        await scene.until(lambda: scene.up("a", "gate") if linked else scene.up("a"))


async def test_link_of_a_node_that_left_is_cut_and_forgotten(tmp_path: Path) -> None:
    async with supervised(tmp_path) as scene:
        await scene.until(lambda: scene.up("a"))
        await change_node(scene, "a", "state", "revoked")
        await scene.until(lambda: scene.up() and len(scene.board.forgotten) == 1)
        await trio.testing.wait_all_tasks_blocked()
        (node_id,) = scene.board.forgotten
        assert scene.board.of(node_id).state is LinkState.CONNECTING, "nothing is known of it"
        assert "link_lost" not in [event.kind for event in scene.board._hub.recent()]


async def test_changed_record_is_dialled_anew(tmp_path: Path) -> None:
    async with supervised(tmp_path) as scene:
        await scene.until(lambda: scene.up("a"))
        await change_node(scene, "a", "address", "198.51.100.1")
        # The old link may end a moment after the new one is up.
        await scene.until(lambda: scene.dialled == ["a", "a"] and scene.up("a"))


async def test_node_that_is_pushed_to_is_dialled_anew_and_no_other(tmp_path: Path) -> None:
    async with supervised(tmp_path) as scene:
        await scene.until(lambda: scene.up("a"))
        (node,) = await scene.helm.store.read(list_nodes)
        await scene.helm.store.run(adopt_sample_node, scene.helm.authority, "b")
        await scene.until(lambda: scene.up("a", "b"))
        pushed = await scene.helm.store.run(push_node, sample_act(), node.id, node.version)
        await scene.until(lambda: scene.dialled == ["a", "b", "a"] and scene.up("a", "b"))
        # Once for each time that it is asked for.
        await scene.helm.store.run(push_node, sample_act(), node.id, pushed.version)
        await scene.until(lambda: scene.dialled == ["a", "b", "a", "a"] and scene.up("a", "b"))
        await scene.helm.store.run(adopt_sample_relay, scene.helm.authority, "gate")
        await scene.until(lambda: scene.up("a", "b", "gate"))
        assert scene.dialled == ["a", "b", "a", "a", "gate"]


async def test_refused_node_is_tried_again_when_it_is_pushed_to(tmp_path: Path) -> None:
    async with supervised(tmp_path, a=LinkRefusedError("another fleet's")) as scene:
        await scene.until(lambda: "link_refused" in [event.kind for event in scene.board._hub.recent()])
        scene.fates.clear()
        (node,) = await scene.helm.store.read(list_nodes)
        await scene.helm.store.run(push_node, sample_act(), node.id, node.version)
        await scene.until(lambda: scene.up("a"))


async def test_refused_link_rests_until_its_record_changes(tmp_path: Path) -> None:
    async with supervised(tmp_path, a=LinkRefusedError("another fleet's")) as scene:
        await scene.until(lambda: "link_refused" in [event.kind for event in scene.board._hub.recent()])
        # A commit elsewhere is no reason to try again.
        await scene.helm.store.run(adopt_sample_relay, scene.helm.authority, "gate")
        await scene.until(lambda: scene.up("gate"))
        assert scene.dialled == ["a", "gate"]
        scene.fates.clear()
        await change_node(scene, "a", "version", 2)
        await scene.until(lambda: scene.up("a", "gate"))


async def test_lost_link_of_one_member_leaves_the_others_alone(tmp_path: Path) -> None:
    async with supervised(tmp_path, gate=LinkLostError("gone")) as scene:
        await scene.until(lambda: scene.up("a"))
        relay, _ = await scene.helm.store.run(adopt_sample_relay, scene.helm.authority, "gate")
        await scene.until(lambda: scene.board.of(relay.id).state is LinkState.LOST)
        assert scene.up("a")
        assert scene.dialled.count("a") == 1


async def test_wake_dials_everybody_anew_and_nobody_is_said_to_be_lost(tmp_path: Path) -> None:
    async with open_helm(tmp_path) as helm:
        await helm.store.run(adopt_sample_node, helm.authority, "a")
        scene, wakes = Scene(helm), Wakes()
        scene.board = WatchedBoard(scene.ring)

        async def supervise() -> None:
            await run_supervisor(helm.store, scene.board, dial_node=scene.dial, dial_relay=scene.dial, wakes=wakes)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(supervise)
            await scene.until(lambda: scene.up("a"))
            await trio.testing.wait_all_tasks_blocked()
            wakes.count += 1
            wakes._woken.unpark_all()
            await scene.until(lambda: scene.dialled == ["a", "a"] and scene.up("a"))
            assert "link_lost" not in [event.kind for event in scene.board._hub.recent()]
            nursery.cancel_scope.cancel()


async def test_no_more_than_64_dial_at_once(tmp_path: Path) -> None:
    dialling = most = 0
    may = trio.Event()

    @asynccontextmanager
    async def dial(_member: object) -> AsyncIterator[Link]:
        nonlocal dialling, most
        dialling += 1
        most = max(most, dialling)
        await may.wait()
        dialling -= 1
        yield Standing()

    async with open_helm(tmp_path) as helm:
        for number in range(DIALS + 6):
            await helm.store.run(adopt_sample_node, helm.authority, f"n{number}")
        board = WatchedBoard(lambda: None)

        async def supervise() -> None:
            await run_supervisor(helm.store, board, dial_node=dial, dial_relay=dial)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(supervise)
            with trio.fail_after(10):
                while dialling < DIALS:
                    await trio.testing.wait_all_tasks_blocked(0.01)
                may.set()
                while sum(sighting.state is LinkState.UP for sighting in board.seen().values()) < DIALS + 6:
                    await trio.testing.wait_all_tasks_blocked(0.01)
            nursery.cancel_scope.cancel()
    assert most == DIALS


def test_what_was_cut_off_is_dialled_within_ten_seconds_and_a_large_fleet_not_too_often() -> None:
    assert dial_cap(1) == dial_cap(192) == 6
    assert dial_cap(640) == 20
    assert dial_cap(10_000) == DELAY_CAP
    for members in (1, 100, 192, 512, 960):
        assert members / (dial_cap(members) / 2) <= DIALS_IN_VAIN
