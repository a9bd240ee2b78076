"""helm's link to a beacon: tunnels come with passages and go after them, and each falls alone."""

from __future__ import annotations

import functools
from typing import Any

import attrs
import grpclib.server
import pytest
import trio
import trio.testing
from grpclib.exceptions import StreamTerminatedError

from pharos.beacon.limiter import PassageLimiter, Rates
from pharos.helm.ca.live import LiveAuthority
from pharos.helm.live.board import Board
from pharos.helm.live.hub import Hub
from pharos.helm.model.nodes import NodeState
from pharos.helm.model.relays import Relay
from pharos.helm.relay.link import RelayLinks
from pharos.helm.relay.tunnels import SURPLUS_TIME
from pharos.wire.errors import LinkLostError
from pharos.wire.gen.pharos.relay.v1 import passage_grpc
from pharos.wire.ids import RelayId
from pharos.wire.rpc.guard import TUNNEL_ALLOWANCE
from pharos.wire.rpc.h2stream import H2Stream
from pharos.wire.rpc.limits import EDGE_STREAMS, TUNNEL_STREAMS
from pharos.wire.rpc.status import leaves
from tests.support.relay import NO_RATES, MemoryBeacon, memory_beacon

# Hours pass in no time: everything here is in memory.
Clock = trio.testing.MockClock


async def still_echoes(stream: H2Stream) -> bool:
    """Whether a passage that was opened before works."""
    if stream.error is not None:
        return False
    await stream.send_data(b"ping")
    return await stream.recv_data(4) == b"ping"


async def settle(beacon: MemoryBeacon, passages: int) -> None:
    while sum(beacon.passages) != passages:
        await trio.testing.wait_all_tasks_blocked()
        await trio.sleep(0.1)


async def test_twelve_hundred_passages_spread_over_three_tunnels(
    autojump_clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with memory_beacon() as beacon, beacon.linked():
        opened = await beacon.open_passages(1_200)
        assert len(opened) == 1_200
        assert sum(beacon.passages) == 1_200
        assert len(beacon.passages) == 3
        assert max(beacon.passages) <= TUNNEL_STREAMS
        assert await still_echoes(opened[0])
        assert await still_echoes(opened[-1])
    # Without further tunnels the first takes what it may, and the rest is turned away.
    monkeypatch.setattr("pharos.helm.relay.tunnels.MAX_TUNNELS", 1)
    async with memory_beacon() as beacon, beacon.linked():
        assert len(await beacon.open_passages(600)) == TUNNEL_STREAMS == sum(beacon.passages)


async def test_tunnel_too_many_drains_and_its_passages_stay(autojump_clock: Clock) -> None:
    async with memory_beacon() as beacon, beacon.linked():
        opened = await beacon.open_passages(450) + await beacon.open_passages(50)
        assert len(beacon.passages) == 2
        kept = opened[::10]
        for stream in opened:
            if stream not in kept:
                stream.close()
        await settle(beacon, len(kept))
        (first, second), upstreams = beacon.upstreams._tunnels, beacon.upstreams
        assert min(beacon.passages) > 0
        await trio.sleep(SURPLUS_TIME - 60)
        assert (first.is_open, second.is_open) == (True, True)
        await trio.sleep(120)
        draining, staying = (first, second) if second.is_open else (second, first)
        assert (draining.is_open, staying.is_open) == (False, True)
        assert draining.passages > 0
        assert all([await still_echoes(stream) for stream in kept])
        before = draining.passages
        kept += await beacon.open_passages(20)
        assert draining.passages == before
        for stream in kept:
            stream.close()
        await settle(beacon, 0)
        await trio.sleep(2)
        assert upstreams._tunnels == [staying]


async def test_loss_of_a_tunnel_loses_its_passages_only_and_the_next_comes_by_need(autojump_clock: Clock) -> None:
    async with memory_beacon() as beacon, beacon.linked():
        opened = await beacon.open_passages(450) + await beacon.open_passages(50)
        lost, left = beacon.passages
        await beacon.tunnels[0].aclose()
        await settle(beacon, left)
        alive = [stream for stream in opened if await still_echoes(stream)]
        assert len(alive) == left == 500 - lost > 0
        assert len(beacon.tunnels) == 2, "one tunnel is enough for them"
        assert len(await beacon.open_passages(lost)) == lost
        assert len(beacon.tunnels) == 3


async def test_link_is_lost_with_its_last_tunnel(autojump_clock: Clock) -> None:
    async with memory_beacon() as beacon:
        with pytest.raises(BaseExceptionGroup) as caught:
            async with beacon.link() as link:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(link.run)
                    await trio.testing.wait_all_tasks_blocked()
                    await beacon.open_passages(450)
                    for tunnel in beacon.tunnels:
                        await tunnel.aclose()
        assert caught.group_contains(LinkLostError, match="closed|broke", depth=2)


async def test_first_tunnel_that_does_not_come_up_is_a_lost_link(autojump_clock: Clock) -> None:
    async with memory_beacon(refuses_tunnels=True) as beacon:
        with pytest.raises(BaseExceptionGroup) as caught:
            async with beacon.link():
                pytest.fail("there is no tunnel")
        assert caught.group_contains(LinkLostError)


async def test_further_tunnel_that_does_not_come_up_is_dialled_again(autojump_clock: Clock) -> None:
    async with memory_beacon() as beacon, beacon.linked():
        beacon.refuses_tunnels = True
        assert len(await beacon.open_passages(450)) == 450
        # At 0, 1, 3 and 7 s.
        await trio.sleep(5)
        assert len(beacon.passages) == 1
        beacon.refuses_tunnels = False
        await trio.sleep(3)
        assert len(beacon.passages) == 2


async def test_second_helm_takes_over_without_harm(autojump_clock: Clock) -> None:
    async with memory_beacon() as beacon:
        async with beacon.linked():
            first = await beacon.open_passages(20)
            async with beacon.linked():
                second = await beacon.open_passages(20)
                assert beacon.passages == [20, 20]
                assert all([await still_echoes(stream) for stream in first + second])
            await settle(beacon, 20)
            assert all([await still_echoes(stream) for stream in first])
            assert not any([await still_echoes(stream) for stream in second])
            assert len(await beacon.open_passages(20)) == 20


# -- what strangers can do to it


async def give_up(beacon: MemoryBeacon, passages: int) -> None:
    """Open passages and reset them as soon as helm has seen them."""
    for _ in range(0, passages, 80):
        # Their connections to the beacon bear 100 resets each.
        clients = [await beacon.dial() for _ in range(4)]
        for _ in range(5):
            streams = [await client.open() for client in clients for _ in range(EDGE_STREAMS)]
            await trio.testing.wait_all_tasks_blocked()
            for stream in streams:
                stream.close()
            await trio.testing.wait_all_tasks_blocked()
        for client in clients:
            client.connection.close_now()


async def test_passages_given_up_by_the_thousand_do_not_cost_helm_the_tunnel(autojump_clock: Clock) -> None:
    """helm ends a tunnel that resets too much, so the beacon has to bound it."""
    flood = int(TUNNEL_ALLOWANCE.reset_burst) + 500
    async with memory_beacon(limiter=PassageLimiter(NO_RATES)) as weakened:
        with pytest.raises(BaseExceptionGroup) as caught:
            async with weakened.linked():
                await give_up(weakened, flood)
                await trio.sleep(1)
        (error,) = leaves(caught.value)
        assert isinstance(error, LinkLostError)
        assert "resets" in str(error)
    async with memory_beacon(limiter=PassageLimiter(Rates())) as beacon, beacon.linked():
        await give_up(beacon, flood)
        await trio.sleep(1)
        (good,) = await beacon.open_passages(1)
        assert await still_echoes(good)


# -- the board


class CountingPassages(passage_grpc.PassageBase):
    """Counts a passage from its first message to its end."""

    def __init__(self, _relay_id: RelayId, count: Any) -> None:
        self._count = count

    async def Open(self, stream: grpclib.server.Stream[Any, Any]) -> None:
        self._count(+1)
        try:
            await stream.send_initial_metadata()
            while await stream.recv_message() is not None:
                pass
        finally:
            self._count(-1)


@attrs.frozen
class CountingEdge:
    for_relay = CountingPassages
    context: Any = None
    run = "0123456789abcdef"


RELAY = Relay(
    id=RelayId("00000000-0000-7000-8000-000000000001"),
    name="gate",
    state=NodeState.ACTIVE,
    address="192.0.2.9",
    ingress_port=443,
    tunnel_port=7444,
    spki=bytes(32),
    certificate=b"",
)


async def test_board_counts_passages_over_tunnels_losses_and_a_link_that_is_replaced(
    autojump_clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    board = Board(Hub())
    peers = functools.partial(getattr, board.of(RELAY.id), "peers")
    links = RelayLinks(authorities=LiveAuthority(None), edge=CountingEdge(), board=board)  # type: ignore[arg-type]
    async with memory_beacon() as beacon:

        async def dial(*_member: object) -> object:
            return await beacon.open_stream()

        monkeypatch.setattr("pharos.helm.relay.link.dial_member", dial)
        async with trio.open_nursery() as nursery:
            old, new = trio.CancelScope(), trio.CancelScope()

            async def keep(scope: trio.CancelScope, *, task_status: trio.TaskStatus[None]) -> None:
                with scope:
                    async with links.dial(RELAY) as link:
                        task_status.started()
                        await link.run()

            await nursery.start(keep, old)
            await trio.testing.wait_all_tasks_blocked()
            await beacon.open_passages(450)
            await beacon.open_passages(50)
            assert (len(beacon.passages), peers()) == (2, 500)
            left = beacon.passages[1]
            assert left > 0
            await beacon.tunnels[0].aclose()
            await settle(beacon, left)
            assert peers() == left
            # The record changed: the new link is up before the old one has ended.
            await nursery.start(keep, new)
            await trio.testing.wait_all_tasks_blocked()
            await beacon.open_passages(10)
            assert peers() == left + 10
            old.cancel()
            await trio.testing.wait_all_tasks_blocked()
            assert peers() == 10
            new.cancel()
        assert peers() == 0


async def test_cut_link_ends_its_passages(autojump_clock: Clock) -> None:
    async with memory_beacon() as beacon:
        async with beacon.linked():
            (passage,) = await beacon.open_passages(1)
        with pytest.raises(StreamTerminatedError):
            await passage.recv_data(1)
