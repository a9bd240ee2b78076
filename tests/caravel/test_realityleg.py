"""A leg of REALITY finds out by use, and by few questions, that its node is gone; and breaks what cannot go on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import attrs
import pytest
import trio
import trio.testing
from trio.testing import MockClock, memory_stream_pair

from pharos.caravel.errors import NoAnswerError
from pharos.caravel.tunnel.candidates import Outside, candidate_of
from pharos.caravel.tunnel.engine import IDLE
from pharos.caravel.tunnel.parts import Candidate, Inner
from pharos.caravel.tunnel.realityleg import ASK_AGAIN, ASK_TIMEOUT, SILENCE, RealityLeg
from pharos.caravel.tunnel.realityplan import RealityPlan
from pharos.wire.errors import LinkLostError, LinkRefusedError, WireError
from pharos.wire.profile import VLESS_REALITY

PLAN = RealityPlan(name="node a", identity=b"a", access=("one",), ways=(object(),), user_ids=(b"u" * 16,))  # type: ignore[arg-type]


@attrs.define
class Node:
    """What a tunnel finds at the other end."""

    is_there: bool = True
    error: WireError | None = None
    asked: list[float] = attrs.field(factory=list)
    others: list[trio.StapledStream] = attrs.field(factory=list)
    adopted: list[Any] = attrs.field(factory=list)

    async def wait_up(self, timeout: float) -> float:
        self.asked.append(trio.current_time())
        if self.error is not None:
            raise self.error
        if not self.is_there:
            await trio.sleep(timeout)
            raise NoAnswerError("nothing")
        await trio.sleep(0.6)
        return 0.1

    async def open_tcp_stream(self, _host: str, _port: int) -> Any:
        await trio.lowlevel.checkpoint()
        if not self.is_there:
            raise LinkLostError("refused")
        own, other = memory_stream_pair()
        self.others.append(other)
        return own

    def adopt(self, ways: Any, user_ids: Any) -> None:
        self.adopted.append((ways, user_ids))


@asynccontextmanager
async def leg_to(node: Node) -> AsyncIterator[RealityLeg]:
    leg = RealityLeg(PLAN, node, Inner(far=IDLE, streams=None))  # type: ignore[arg-type]
    with trio.fail_after(3600):
        async with trio.open_nursery() as nursery:
            await nursery.start(leg.run)
            await leg.wait_up(10)
            node.asked.clear()
            yield leg
            nursery.cancel_scope.cancel()


async def test_idle_leg_asks_nobody(autojump_clock: MockClock) -> None:
    node = Node()
    async with leg_to(node):
        await trio.sleep(600)
    assert node.asked == []


async def test_node_that_is_silent_after_data_is_asked_and_lost_within_five_seconds(autojump_clock: MockClock) -> None:
    node = Node()
    async with leg_to(node) as leg:
        stream = await leg.open_tcp_stream("h", 1)
        await trio.sleep(30)
        node.is_there = False
        begun = trio.current_time()
        await stream.send_all(b"question")
        assert "does not answer" in await leg.wait_lost()
        assert trio.current_time() - begun <= SILENCE + ASK_TIMEOUT + 1
        node.is_there = True
        await leg.wait_found()


async def test_stream_that_cannot_be_opened_has_the_node_asked_at_once(autojump_clock: MockClock) -> None:
    node = Node(is_there=True)
    async with leg_to(node) as leg:
        node.is_there = False
        begun = trio.current_time()
        with pytest.raises(LinkLostError):
            await leg.open_tcp_stream("h", 1)
        await leg.wait_lost()
        assert trio.current_time() - begun <= ASK_TIMEOUT + 1


async def test_refusal_is_a_loss_with_its_reason(autojump_clock: MockClock) -> None:
    node = Node()
    async with leg_to(node) as leg:
        node.error, node.is_there = LinkRefusedError("it does not let this device in"), False
        with pytest.raises(LinkLostError):
            await leg.open_tcp_stream("h", 1)
        assert await leg.wait_lost() == "it does not let this device in"


async def test_long_upload_is_asked_about_now_and_then_and_not_lost(autojump_clock: MockClock) -> None:
    node = Node()
    async with leg_to(node) as leg:
        stream = await leg.open_tcp_stream("h", 1)
        for _ in range(600):
            await stream.send_all(b"x" * 1000)
            await trio.sleep(0.1)
        assert not leg._lost.is_set()
        assert 1 <= len(node.asked) <= 60 / ASK_AGAIN + 1
        assert leg.traffic().sent == 600_000


async def test_targets_that_break_have_the_node_asked_seldom(autojump_clock: MockClock) -> None:
    node = Node()
    async with leg_to(node) as leg:
        for _ in range(60):
            stream = await leg.open_tcp_stream("h", 1)
            await trio.aclose_forcefully(node.others[-1])
            assert await stream.receive_some() == b""
            with pytest.raises(trio.BrokenResourceError):
                await stream.send_all(b"x")
            await trio.sleep(1)
        assert len(node.asked) <= 60 / ASK_AGAIN + 1


async def test_another_network_breaks_what_went_through_the_one_before(autojump_clock: MockClock) -> None:
    node = Node()
    async with leg_to(node) as leg:
        stream = await leg.open_tcp_stream("h", 1)
        broken = trio.Event()

        async def read() -> None:
            with pytest.raises(trio.BrokenResourceError, match="another network"):
                await stream.receive_some()
            broken.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            await trio.testing.wait_all_tasks_blocked()
            await leg.rebind()
            await broken.wait()
        await trio.sleep(2)
        assert len(node.asked) == 1


async def test_newer_profile_changes_what_changed(autojump_clock: MockClock) -> None:
    node = Node()
    async with leg_to(node) as leg:

        def way(plan: RealityPlan) -> Candidate:
            ways: Any = tuple(SimpleNamespace(endpoint=SimpleNamespace(host="h", port=1)) for _ in plan.access)
            return candidate_of("a", "a", VLESS_REALITY, attrs.evolve(plan, ways=ways), Outside())

        assert await leg.adopt(way(PLAN))
        assert node.adopted == []
        assert await leg.adopt(way(attrs.evolve(PLAN, access=("one", "two"))))
        [(ways, _)] = node.adopted
        assert ways[0] is PLAN.ways[0], "what was drawn for a way stays with it"
        assert not await leg.adopt(way(attrs.evolve(PLAN, identity=b"b")))
