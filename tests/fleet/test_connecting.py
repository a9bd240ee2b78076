"""A device of a whole fleet connects to whichever node there is, and helm moves it about without its noticing."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from pharos.caravel.events import Event, Lost, ProfileChanged
from pharos.caravel.tunnel.options import ConnectOptions
from pharos.wire.profile import AMNEZIAWG
from tests.support.fleet import running_fleet

SETTLED = 10
"""Echoes in a row."""
FOLLOWING = ConnectOptions(follow=True, portal_checks=())


async def test_node_that_is_killed_is_replaced_by_the_other(tmp_path: Path) -> None:
    async with running_fleet(tmp_path, buoys=("a", "b")) as fleet:
        await fleet.enrol()
        await fleet.wait_settled(peers=1)
        async with fleet.client() as client, client.connect() as tunnel:
            first = await tunnel.wait_up(15)
            assert first.protocol == AMNEZIAWG
            assert (await tunnel.ping(3)).received == 3
            await fleet.buoys[first.name].stop()
            begun = trio.current_time()
            # Whoever uses the connection sees the next node within five seconds; this machine does much else.
            while (await tunnel.ping(1)).received == 0:
                pass
            assert trio.current_time() - begun <= 15
            assert {first.name, tunnel.name} == {"a", "b"}


@pytest.mark.journey
async def test_parameters_that_are_issued_anew_are_taken_over_while_the_tunnel_lives(tmp_path: Path) -> None:
    async with running_fleet(tmp_path, timeout=120) as fleet:
        await fleet.enrol()
        await fleet.wait_settled(peers=1)
        events: list[Event] = []
        async with fleet.client() as client, client.connect("a", options=FOLLOWING) as tunnel:
            watch = tunnel.watch()
            await tunnel.wait_up(15)
            (node,) = (await fleet.ask("GET", "/api/v1/nodes"))["items"]
            before = client.profile().nodes[0].amneziawg
            path, wanted = f"/api/v1/nodes/{node['id']}/reissue", {"protocols": ["amneziawg"]}
            await fleet.ask("POST", path, wanted, version=node["version"])
            answered: list[bool] = []
            with trio.fail_after(60):
                while client.profile().nodes[0].amneziawg == before:
                    answered.append((await tunnel.ping(1)).received == 1)
                for _ in range(2 * SETTLED):
                    answered.append((await tunnel.ping(1)).received == 1)
            # The old ones have ended at the first port, and the new ones carry.
            assert answered[-SETTLED:] == [True] * SETTLED
            # One may be under way at the moment at which the node takes the new ones into use.
            assert answered.count(False) <= 1
            watch.close()
            events += [event async for event in watch]
        assert [event for event in events if isinstance(event, ProfileChanged)]
        assert not [event for event in events if isinstance(event, Lost)]
