"""A pair's secret moves on in a running fleet: device told, device's word, node; and no tunnel waits for helm."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from pharos.caravel.follow import follow
from pharos.caravel.sync import SyncOutcome
from pharos.caravel.tunnel import seeking
from pharos.caravel.tunnel.session import Tunnel
from pharos.helm.profiles.pairs import move_pairs
from pharos.helm.profiles.reseal import run_reseal
from pharos.helm.relay.edge import PassageEdge
from pharos.helm.store.pairs import Pair, pairs_of_device
from pharos.wire.ids import DeviceId, NodeId
from tests.support.fleet import running_fleet
from tests.support.helm import sample_act

pytestmark = pytest.mark.journey


@pytest.fixture
def edges(monkeypatch: pytest.MonkeyPatch) -> list[PassageEdge]:
    """The edges that helms make, the newest last."""
    made: list[PassageEdge] = []
    make: Callable[..., Any] = PassageEdge.__init__

    def remember(edge: PassageEdge, *args: Any) -> None:
        make(edge, *args)
        made.append(edge)

    monkeypatch.setattr(PassageEdge, "__init__", remember)
    return made


async def until_echoed(tunnel: Tunnel) -> None:
    """Wait until echoes come back; the test's own timeout ends the wait."""
    while (await tunnel.ping(1)).received == 0:
        pass


async def test_pair_moves_and_a_tunnel_that_was_open_finds_the_new_secret_by_itself(
    tmp_path: Path, edges: list[PassageEdge], monkeypatch: pytest.MonkeyPatch
) -> None:
    # An echo that is lost takes 2 s; a look within which nothing was sent says nothing.
    monkeypatch.setattr(seeking, "LOOK_EVERY", 2.2)
    monkeypatch.setattr(seeking, "FIRST_LOOK", 0.5)
    async with running_fleet(tmp_path) as fleet:
        enrolled = await fleet.enrol()
        await fleet.wait_settled(peers=1)
        context = edges[-1].context
        told_send, told = trio.open_memory_channel[SyncOutcome](100)
        async with trio.open_nursery() as nursery, fleet.client() as client:
            # What helm's own task does, beside it.
            nursery.start_soon(run_reseal, context.store, context.authorities, edges[-1])

            async def stay_in_touch() -> None:
                await follow(fleet.device_store("laptop"), random=lambda: 0.01, told=told_send.send_nowait)

            nursery.start_soon(stay_in_touch)
            await told.receive()
            (node,) = client.profile().nodes
            async with client.connect("a") as old:
                await until_echoed(old)
                pair = Pair(device_id=DeviceId(enrolled.device_id), node_id=NodeId(node.id))
                await context.store.run(move_pairs, sample_act(), [pair])
                # The note comes by itself; the device's word is what it says in its next question.
                async for outcome in told:
                    if client.profile().nodes[0].generation == 2:
                        break
                    assert outcome.changed
                # A new one knows the new secret alone, so once it is through the node has that.
                async with client.connect("a") as new:
                    await until_echoed(new)
                await until_echoed(old)
            known = await context.store.read(pairs_of_device, DeviceId(enrolled.device_id))
            assert (known[node.id].generation, known[node.id].acknowledged) == (2, 2)
            nursery.cancel_scope.cancel()
