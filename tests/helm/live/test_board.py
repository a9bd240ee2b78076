"""The board shows where each link stands, and a change is one live event."""

from __future__ import annotations

import pytest

from pharos.helm.live import board as module
from pharos.helm.live.board import Board
from pharos.helm.live.hub import Hub
from pharos.wire.link import LinkState
from pharos.wire.reports import EngineReport, MachineReport


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The wall clock in a box, in microseconds."""
    at = [1000]
    monkeypatch.setattr(module, "now_us", lambda: at[0])
    return at


def kinds(hub: Hub) -> list[str]:
    return [event.kind for event in hub.recent()]


def test_stranger_is_being_connected_to(clock: list[int]) -> None:
    sighting = Board(Hub()).of("a")
    assert (sighting.state, sighting.since, sighting.peers) == (LinkState.CONNECTING, 1000, 0)


def test_change_is_noted_with_its_time_and_told_once(clock: list[int]) -> None:
    hub = Hub()
    board = Board(hub)
    board.report("a", "amsterdam", LinkState.UP, "")
    clock[0] = 2000
    board.report("a", "amsterdam", LinkState.UP, "")
    assert board.of("a").since == 1000
    board.report("a", "amsterdam", LinkState.LOST, "connection reset")
    assert (board.of("a").state, board.of("a").since) == (LinkState.LOST, 2000)
    assert kinds(hub) == ["link_up", "link_lost"]
    lost = hub.recent()[-1]
    assert (lost.node, lost.text, lost.at) == ("a", "amsterdam: connection reset", 2000)


def test_redialling_a_lost_link_is_still_lost(clock: list[int]) -> None:
    hub = Hub()
    board = Board(hub)
    for state in (LinkState.LOST, LinkState.CONNECTING, LinkState.LOST, LinkState.CONNECTING):
        board.report("a", "amsterdam", state, "no route" if state is LinkState.LOST else "")
    assert (board.of("a").state, board.of("a").detail) == (LinkState.LOST, "no route")
    assert kinds(hub) == ["link_lost"], "one event, however often it is redialled"
    board.report("a", "amsterdam", LinkState.UP, "")
    assert kinds(hub) == ["link_lost", "link_up"]


def test_new_reason_is_told_but_the_time_stays(clock: list[int]) -> None:
    hub = Hub()
    board = Board(hub)
    board.report("a", "amsterdam", LinkState.LOST, "no route")
    clock[0] = 2000
    board.report("a", "amsterdam", LinkState.LOST, "no answer in time")
    assert (board.of("a").since, board.of("a").detail) == (1000, "no answer in time")
    assert kinds(hub) == ["link_lost", "link_lost"]


def test_refused_link_that_is_dialled_anew_is_connecting(clock: list[int]) -> None:
    board = Board(Hub())
    board.report("a", "amsterdam", LinkState.REFUSED, "wrong fleet")
    board.report("a", "amsterdam", LinkState.CONNECTING, "")
    assert (board.of("a").state, board.of("a").detail) == (LinkState.CONNECTING, "")


def test_forgotten_member_is_a_stranger_again(clock: list[int]) -> None:
    board = Board(Hub())
    board.report("a", "amsterdam", LinkState.UP, "")
    board.forget("a")
    board.forget("never seen")
    assert board.of("a").state is LinkState.CONNECTING


def engine(protocol: str, trouble: str = "") -> EngineReport:
    return EngineReport(protocol=protocol, driver="embedded", trouble=trouble)


def test_trouble_of_an_engine_is_told_when_it_begins_and_when_it_ends(clock: list[int]) -> None:
    hub = Hub()
    board = Board(hub)
    board.report("a", "amsterdam", LinkState.UP, "")
    awg, machine = engine("amneziawg"), MachineReport(load=0.5)
    board.hear("a", (awg, engine("vless-reality", "port 443 is taken")), machine)
    board.hear("a", (awg, engine("vless-reality", "port 443 is still taken")), machine)
    assert (board.of("a").engines[1].trouble, board.of("a").machine) == ("port 443 is still taken", machine)
    assert kinds(hub) == ["link_up", "engine_trouble"], "what it is may change, and it is the same trouble"
    begun = hub.recent()[-1]
    assert (begun.node, begun.text) == ("a", "amsterdam: vless-reality by embedded: port 443 is taken")
    board.hear("a", (awg, engine("vless-reality")), machine)
    assert kinds(hub) == ["link_up", "engine_trouble", "engine_mended"]
