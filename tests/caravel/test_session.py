"""A connection is up by the first way that works, and stays up: by another node, another network, a newer profile."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from pharos.caravel.errors import NoAnswerError, NoSuchNodeError
from pharos.caravel.events import (
    Connected,
    Event,
    Failed,
    Lost,
    NodeUnknown,
    Phase,
    PhaseChanged,
    ProfileChanged,
    Rebound,
    Trying,
)
from pharos.caravel.managed import Floor
from pharos.caravel.tunnel import steering as module
from pharos.caravel.tunnel.memory import NetworkMemory
from pharos.caravel.tunnel.options import ConnectOptions
from pharos.caravel.tunnel.select import REALITY_LEAD
from pharos.caravel.tunnel.session import Tunnel, open_session
from pharos.caravel.tunnel.status import TunnelStatus
from pharos.caravel.tunnel.watching import MAX_EVENTS
from pharos.wire.errors import LinkRefusedError, LocalProtocolError
from pharos.wire.profile import AMNEZIAWG, VLESS_REALITY
from tests.support.legs import INNER, NOWHERE, THERE, Node, ScriptedSource, Surroundings, until

NO_PORTALS = ConnectOptions(portal_checks=())


@asynccontextmanager
async def session(
    *nodes: Node, options: ConnectOptions = NO_PORTALS, timeout: float = 1000, **settings: Any
) -> AsyncIterator[tuple[Tunnel, ScriptedSource, Surroundings]]:
    source = settings.pop("source", None) or ScriptedSource(list(nodes))
    around = Surroundings()
    with trio.fail_after(timeout):
        async with open_session(source, INNER, options=options, look=around.look, **settings) as tunnel:
            yield tunnel, source, around


async def collect(tunnel: Tunnel, into: list[Event], *, task_status: trio.TaskStatus[None]) -> None:
    watch = tunnel.watch()
    task_status.started()
    async for event in watch:
        into.append(event)


def kinds(events: list[Event]) -> list[str]:
    return [event.kind for event in events]


async def test_first_node_that_answers_carries_and_the_others_are_closed(autojump_clock: MockClock) -> None:
    slow, quick, dead = Node("slow", up_after=2), Node("quick", up_after=0.05), Node("dead", up_after=None)
    async with session(dead, slow, quick) as (tunnel, _, _):
        status = await tunnel.wait_up(5)
        assert (status.phase, status.name, status.protocol) == (Phase.UP, "quick", AMNEZIAWG)
        await trio.testing.wait_all_tasks_blocked()
        assert (quick.log, slow.log, dead.log) == (["carry"], ["closed"], ["closed"])
        assert status.addresses == ("10.86.0.2/32",)
    assert quick.log == ["carry", "closed"]
    assert tunnel.status().phase is Phase.DOWN


async def test_reality_is_up_within_three_seconds_where_udp_is_blocked_and_leads_the_next_time(
    autojump_clock: MockClock,
) -> None:
    blocked, reality = Node("a", up_after=None), Node("a", VLESS_REALITY, up_after=0.7)
    memory = NetworkMemory()
    async with session(blocked, reality, memory=memory) as (tunnel, _, _):
        begun = trio.current_time()
        assert (await tunnel.wait_up(5)).protocol == VLESS_REALITY
        assert trio.current_time() - begun <= 3
    async with session(blocked, reality, memory=memory) as (tunnel, _, _):
        begun = trio.current_time()
        assert (await tunnel.wait_up(5)).protocol == VLESS_REALITY
        assert reality.dialled_at[-1] == begun


async def test_amneziawg_that_works_is_not_overtaken_by_reality(autojump_clock: MockClock) -> None:
    reality = Node("a", VLESS_REALITY, up_after=0.0)
    async with session(Node("a", up_after=REALITY_LEAD - 0.1), reality) as (tunnel, _, _):
        assert (await tunnel.wait_up(5)).protocol == AMNEZIAWG
    assert reality.legs == []


async def test_next_way_is_dialled_at_once_when_all_before_it_have_failed(autojump_clock: MockClock) -> None:
    refused, good = Node("a", up_after=0.0, error=NoAnswerError("no route")), Node("a", VLESS_REALITY, up_after=0.01)
    async with session(refused, good) as (tunnel, _, _):
        begun = trio.current_time()
        await tunnel.wait_up(5)
        assert trio.current_time() - begun < REALITY_LEAD / 2


async def test_node_that_is_lost_is_replaced_before_it_is_let_go(autojump_clock: MockClock) -> None:
    a, b = Node("a"), Node("b", up_after=0.3)
    events: list[Event] = []
    async with session(a, b) as (tunnel, _, _), trio.open_nursery() as nursery:
        await tunnel.wait_up(5)
        await nursery.start(functools.partial(collect, tunnel, events))
        begun = trio.current_time()
        a.leg.lose()
        await until(lambda: tunnel.status().name == "b")
        assert trio.current_time() - begun < 1
        assert (a.log, b.log) == (["carry", "adopt", "retire"], ["carry"])
        await trio.sleep(2)
        assert a.log[-1] == "closed"
        nursery.cancel_scope.cancel()
    assert kinds(events) == ["lost", "phase", "trying", "connected", "phase"]
    assert [event.phase for event in events if isinstance(event, PhaseChanged)] == [Phase.SWITCHING, Phase.UP]


async def test_node_that_is_found_again_first_goes_on(autojump_clock: MockClock) -> None:
    a, b = Node("a"), Node("b", up_after=None)
    async with session(a, b) as (tunnel, _, _):
        await tunnel.wait_up(5)
        a.leg.lose()
        await until(lambda: tunnel.status().phase is Phase.SWITCHING)
        await trio.sleep(1)
        a.leg.find()
        status = await tunnel.wait_up(1)
        assert (status.name, len(a.legs)) == ("a", 1)
        assert "retire" not in a.log


async def test_leg_that_ends_by_itself_is_replaced(autojump_clock: MockClock) -> None:
    a = Node("a")
    async with session(a) as (tunnel, _, _):
        await tunnel.wait_up(5)
        a.leg.break_down(OSError("no buffer"))
        await until(lambda: len(a.legs) == 2 and tunnel.is_up)


async def test_only_node_that_is_lost_is_dialled_anew_after_a_while(autojump_clock: MockClock) -> None:
    a = Node("a")
    async with session(a) as (tunnel, _, _):
        await tunnel.wait_up(5)
        a.leg.lose()
        await until(lambda: len(a.legs) == 2)
        assert (await tunnel.wait_up(5)).name == "a"


async def test_named_node_is_the_only_one_that_is_used(autojump_clock: MockClock) -> None:
    a, b = Node("a", up_after=None), Node("b")
    async with session(a, b, wanted="a") as (tunnel, _, _):
        with pytest.raises(NoAnswerError, match=r"no node answered within 30 s: a \(amneziawg\)"):
            await tunnel.wait_up(30)
    assert b.legs == []


async def test_protocol_that_is_named_is_the_only_one_that_is_used(autojump_clock: MockClock) -> None:
    a, reality = Node("a"), Node("a", VLESS_REALITY)
    async with session(a, reality, protocol=VLESS_REALITY) as (tunnel, _, _):
        assert (await tunnel.wait_up(5)).protocol == VLESS_REALITY
    assert a.legs == []


async def test_refusal_is_told_as_one(autojump_clock: MockClock) -> None:
    a = Node("a", error=LinkRefusedError("a does not let this device in"))
    async with session(a) as (tunnel, _, _):
        with pytest.raises(LinkRefusedError, match="does not let this device in"):
            await tunnel.wait_up(3)
        assert tunnel.status().phase is Phase.WAITING
        assert "does not let this device in" in tunnel.status().detail


async def test_pauses_grow_to_half_a_minute_and_another_network_ends_them(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    monkeypatch.setattr(module, "fraction", lambda: 1.0)
    a = Node("a", error=NoAnswerError("nobody is there"))
    async with session(a) as (tunnel, _, around):
        await trio.sleep(400)
        gaps = [round(after - before) for before, after in zip(a.dialled_at, a.dialled_at[1:], strict=False)]
        assert gaps[:5] == [1, 2, 4, 8, 16]
        assert set(gaps[5:]) == {30}
        a.error = None
        around.vantage = THERE
        begun = trio.current_time()
        # What Linux would tell at once is looked for here.
        tunnel._steering.news.tell_network("this machine is in another network")
        await tunnel.wait_up(5)
        assert trio.current_time() - begun < 1


async def test_another_network_rebinds_what_lives(autojump_clock: MockClock) -> None:
    a = Node("a")
    events: list[Event] = []
    async with session(a) as (tunnel, _, around), trio.open_nursery() as nursery:
        await tunnel.wait_up(5)
        await nursery.start(functools.partial(collect, tunnel, events))
        around.vantage = THERE
        tunnel._steering.news.tell_network("this machine is in another network")
        await until(lambda: "rebind" in a.log)
        assert tunnel.is_up
        nursery.cancel_scope.cancel()
    assert [event for event in events if isinstance(event, Rebound)]
    assert len(a.legs) == 1


async def test_machine_without_a_network_says_so_and_goes_on_when_there_is_one(autojump_clock: MockClock) -> None:
    a = Node("a")
    async with session(a) as (tunnel, _, around):
        await tunnel.wait_up(5)
        around.vantage = NOWHERE
        tunnel._steering.news.tell_network("this machine has no network")
        await until(lambda: tunnel.status().phase is Phase.OFFLINE)
        a.leg.lose()
        await trio.sleep(10)
        assert tunnel.status().phase is Phase.OFFLINE
        around.vantage = THERE
        tunnel._steering.news.tell_network("this machine is in another network")
        begun = trio.current_time()
        await tunnel.wait_up(5)
        assert trio.current_time() - begun < 1


async def test_reality_gives_way_to_amneziawg_in_a_network_that_carries_it(autojump_clock: MockClock) -> None:
    datagrams, reality = Node("a", up_after=None), Node("a", VLESS_REALITY)
    async with session(datagrams, reality) as (tunnel, _, around):
        await tunnel.wait_up(5)
        datagrams.up_after = 0.05
        around.vantage = THERE
        tunnel._steering.news.tell_network("this machine is in another network")
        await until(lambda: tunnel.status().protocol == AMNEZIAWG)
        assert reality.log[:2] == ["carry", "rebind"]


async def test_newer_profile_is_taken_over_by_the_leg_that_lives(autojump_clock: MockClock) -> None:
    a = Node("a")
    events: list[Event] = []
    async with session(a, Node("b")) as (tunnel, source, _), trio.open_nursery() as nursery:
        await tunnel.wait_up(5)
        await nursery.start(functools.partial(collect, tunnel, events))
        source.revision = 2
        tunnel.refresh()
        await until(lambda: "adopt" in a.log)
        await trio.sleep(1)
        assert tunnel.is_up
        nursery.cancel_scope.cancel()
    assert [(e.epoch, e.revision) for e in events if isinstance(e, ProfileChanged)] == [(1, 2)]
    assert len(a.legs) == 1


async def test_node_that_is_not_in_the_profile_any_more_is_left_at_once(autojump_clock: MockClock) -> None:
    a, b = Node("a"), Node("b")
    async with session(a, b) as (tunnel, source, _):
        await tunnel.wait_up(5)
        source.nodes.remove(a)
        tunnel.refresh()
        begun = trio.current_time()
        await until(lambda: tunnel.status().name == "b" and tunnel.is_up)
        assert trio.current_time() - begun < 1
        assert a.log[-1] == "closed"


async def test_switch_goes_over_when_the_other_is_up_and_not_before(autojump_clock: MockClock) -> None:
    a, b, dead = Node("a"), Node("b", up_after=1.0), Node("dead", up_after=None)
    async with session(a, b, dead) as (tunnel, _, _):
        await tunnel.wait_up(5)
        status = await tunnel.switch("b")
        assert (status.name, a.log) == ("b", ["carry", "retire"])
        with pytest.raises(NoAnswerError, match="dead does not answer"):
            await tunnel.switch("dead")
        assert (tunnel.status().name, tunnel.is_up) == ("b", True)
        with pytest.raises(NoSuchNodeError):
            await tunnel.switch("nobody")


async def test_who_waits_for_another_node_when_the_connection_ends_is_told(autojump_clock: MockClock) -> None:
    failures: list[str] = []

    async def switch(tunnel: Tunnel) -> None:
        try:
            await tunnel.switch("dead")
        except NoAnswerError as error:
            failures.append(str(error))

    async with trio.open_nursery() as nursery:
        async with session(Node("a"), Node("dead", up_after=None)) as (tunnel, _, _):
            await tunnel.wait_up(5)
            nursery.start_soon(switch, tunnel)
            await trio.sleep(1)
    assert failures == ["dead does not answer: nothing was heard"]


async def test_new_nodes_are_asked_for_once_when_no_known_one_answers(autojump_clock: MockClock) -> None:
    asked: list[tuple[str, ...]] = []

    async def confirm(names: tuple[str, ...]) -> bool:
        asked.append(names)
        await trio.sleep(60)
        return True

    known, new = Node("known", error=NoAnswerError("nobody is there")), Node("new")
    source = ScriptedSource([known], newcomers=[new])
    events: list[Event] = []
    options = ConnectOptions(portal_checks=(), confirm=confirm)
    async with session(source=source, options=options) as (tunnel, _, _), trio.open_nursery() as nursery:
        await nursery.start(functools.partial(collect, tunnel, events))
        await trio.sleep(50)
        # It goes on meanwhile with those that it knows.
        assert len(known.legs) > 2
        assert new.legs == []
        assert (await tunnel.wait_up(60)).name == "new"
        nursery.cancel_scope.cancel()
    assert (asked, source.accepted) == ([("new",)], ["new"])
    assert [event.names for event in events if isinstance(event, NodeUnknown)] == [("new",)]


async def test_new_nodes_are_not_used_where_nobody_says_so(autojump_clock: MockClock) -> None:
    new = Node("new")
    with pytest.raises(NoSuchNodeError):
        async with session(source=ScriptedSource([], newcomers=[new])):
            pass
    known = Node("known", error=NoAnswerError("nobody is there"))
    async with session(source=ScriptedSource([known], newcomers=[new])):
        await trio.sleep(300)
    assert new.legs == []


async def test_nothing_below_the_floor_is_dialled(autojump_clock: MockClock) -> None:
    plain, hidden = Node("plain", up_after=0.0, hides=False), Node("hidden", up_after=None)
    async with session(plain, hidden):
        await trio.sleep(120)
    assert plain.legs == []
    # Red: with the floor taken away the censor's wish comes true.
    async with session(plain, hidden, options=ConnectOptions(portal_checks=(), floor=Floor.ANY)) as (tunnel, _, _):
        assert (await tunnel.wait_up(5)).name == "plain"
    # And one that somebody has chosen, as a configuration of plain WireGuard, is theirs to choose.
    source = ScriptedSource([plain], is_named=True)
    async with session(source=source) as (tunnel, _, _):
        assert (await tunnel.wait_up(5)).name == "plain"
    with pytest.raises(NoSuchNodeError, match="below the floor"):
        async with session(source=source, options=ConnectOptions(floor=Floor.AMNEZIAWG)):
            pass


async def test_events_tell_what_was_tried(autojump_clock: MockClock) -> None:
    dead, good = Node("dead", error=NoAnswerError("nobody is there")), Node("good", up_after=0.5)
    events: list[Event] = []
    async with session(dead, good) as (tunnel, _, _), trio.open_nursery() as nursery:
        await nursery.start(functools.partial(collect, tunnel, events))
        await tunnel.wait_up(5)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert [(e.kind, e.name) for e in events if isinstance(e, Trying | Failed | Connected)] == [
        ("trying", "dead"),
        ("failed", "dead"),
        ("trying", "good"),
        ("connected", "good"),
    ]
    assert not [event for event in events if isinstance(event, Lost)]


async def test_watch_ends_with_the_connection_and_loses_the_oldest(autojump_clock: MockClock) -> None:
    a = Node("a")
    async with session(a) as (tunnel, _, _):
        await tunnel.wait_up(5)
        watch = tunnel.watch()
        for _ in range(2 * MAX_EVENTS):
            tunnel.tell_stale()
    events = [event async for event in watch]
    assert len(events) == MAX_EVENTS
    assert events[-1].as_json()["phase"] == "down"
    assert [event async for event in tunnel.watch()] == []


async def test_octets_and_rates_are_of_all_legs(autojump_clock: MockClock) -> None:
    a, b = Node("a"), Node("b")
    async with session(a, b) as (tunnel, _, _):
        await tunnel.wait_up(5)
        for _ in range(5):
            received, sent = a.leg.octets
            a.leg.octets = received + 1000, sent + 100
            await trio.sleep(1)
        status = tunnel.status()
        assert (status.received, status.sent) == (5000, 500)
        assert (round(status.receive_rate), round(status.send_rate)) == (1000, 100)
        a.leg.lose()
        await until(lambda: tunnel.status().name == "b")
        b.leg.octets = 7, 7
        assert (tunnel.status().received, tunnel.status().sent) == (5007, 507)
        assert isinstance(tunnel.status().as_json()["phase"], str)
        assert isinstance(tunnel.status(), TunnelStatus)


async def test_ping_of_what_is_not_up_has_no_answers(autojump_clock: MockClock) -> None:
    async with session(Node("a", up_after=None)) as (tunnel, _, _):
        assert (await tunnel.ping(3)).received == 0
    async with session(Node("a")) as (tunnel, _, _):
        assert (await tunnel.ping(3)).received == 3


async def test_streams_of_a_connection_whose_packets_are_the_hosts_are_an_error_of_the_caller(
    autojump_clock: MockClock,
) -> None:
    async with session(Node("a")) as (tunnel, _, _):
        with pytest.raises(LocalProtocolError, match="sockets of the system"):
            await tunnel.open_tcp_stream("192.0.2.1", 80)


async def test_connection_that_nobody_waits_for_can_be_closed_at_any_moment(autojump_clock: MockClock) -> None:
    for seconds in (0.0, 0.05, 0.1, 0.15, 0.5, 20.0):
        nodes = Node("a", up_after=0.1), Node("b", up_after=None), Node("b", VLESS_REALITY, error=NoAnswerError("no"))
        with trio.move_on_after(seconds):
            async with session(*nodes):
                await trio.sleep_forever()
        assert all(node.log.count("closed") == len(node.legs) for node in nodes)
