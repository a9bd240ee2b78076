"""What the doctor makes of what it sees."""

from __future__ import annotations

import datetime
import socket
from pathlib import Path

import attrs
import pytest

from pharos.caravel.doctor import network
from pharos.caravel.doctor.device import check_clock
from pharos.caravel.doctor.network import check_dns, check_routes, name_servers
from pharos.caravel.doctor.reach import Reached, judge_nodes
from pharos.caravel.profiles.pins import Standing
from pharos.caravel.profiles.store import ProfileStore
from pharos.caravel.sync import SyncOutcome
from pharos.wire.findings import Finding, Level
from pharos.wire.profile import AMNEZIAWG, VLESS_REALITY, ProfileNode
from tests.caravel.test_pins import node as make_node

NOW = datetime.datetime(2026, 11, 26, 12, tzinfo=datetime.UTC)
INNER = ("10.90.0.2/16", "fd90::2/64")


def levels(findings: list[Finding]) -> dict[str, Level]:
    return {finding.id: finding.level for finding in findings}


def way(node: ProfileNode, protocol: str, *, ok: bool, blocked_mtu: int = 0) -> Reached:
    return Reached(node=node, protocol=protocol, ok=ok, says="so it is", blocked_mtu=blocked_mtu)


@pytest.fixture
def node() -> ProfileNode:
    return make_node("a")


def test_node_that_answers_by_one_protocol_is_no_problem(node: ProfileNode) -> None:
    reached = [way(node, AMNEZIAWG, ok=False), way(node, VLESS_REALITY, ok=True)]
    told = levels(judge_nodes([node], reached, {}))
    assert told[f"node:{node.name}:amneziawg"] is Level.NOTE
    assert told[f"node:{node.name}:reality"] is Level.OK
    assert told["udp"] is Level.NOTE


def test_node_that_answers_by_none_is_one_and_udp_is_not_blamed(node: ProfileNode) -> None:
    reached = [way(node, AMNEZIAWG, ok=False), way(node, VLESS_REALITY, ok=False)]
    told = judge_nodes([node], reached, {})
    assert levels(told) == {f"node:{node.name}": Level.PROBLEM}
    assert told[0].todo


def test_node_that_is_not_trusted_is_told_of_and_not_tried(node: ProfileNode) -> None:
    (finding,) = judge_nodes([node], [], {node.id: Standing.CHANGED})
    assert (finding.level, "changed" in finding.says) == (Level.PROBLEM, True)


def test_large_packets_that_get_lost_are_told_with_the_size_that_comes_through(node: ProfileNode) -> None:
    told = judge_nodes([node], [way(node, AMNEZIAWG, ok=True, blocked_mtu=1380)], {})
    (finding,) = [one for one in told if one.id == "mtu"]
    assert finding.level is Level.PROBLEM
    assert "1380" in finding.todo


@pytest.mark.parametrize(
    ("skew", "level"), [(0.4, Level.OK), (-45.0, Level.NOTE), (400.0, Level.PROBLEM), (-3600.0, Level.PROBLEM)]
)
def test_clock_is_compared_with_helms(tmp_path: Path, skew: float, level: Level) -> None:
    outcome = SyncOutcome(changed=False, epoch=1, revision=1, skew=skew)
    assert check_clock(ProfileStore(tmp_path / "s"), outcome, NOW).level is level


def test_clock_that_went_back_is_found_without_helm(tmp_path: Path) -> None:
    store = ProfileStore(tmp_path / "s")
    store.save_heard(NOW)
    assert check_clock(store, None, NOW + datetime.timedelta(hours=1)).level is Level.OK
    finding = check_clock(store, None, NOW - datetime.timedelta(days=1))
    assert finding.level is Level.PROBLEM
    assert "no node answers" in finding.says


def test_name_servers_are_read_as_the_c_library_does(tmp_path: Path) -> None:
    path = tmp_path / "resolv.conf"
    path.write_bytes(
        b"# nameserver 1.1.1.1\nnameserver 192.0.2.53\nnameserver fe80::1%eth0\nnameserver what\nsearch x\n\xff\n"
    )
    assert [str(one) for one in name_servers(path)] == ["192.0.2.53", "fe80::1"]
    assert list(name_servers(tmp_path / "gone")) == []


@pytest.mark.parametrize(
    ("asked", "level"), [("10.90.0.1", Level.OK), ("127.0.0.53", Level.OK), ("192.0.2.53", Level.PROBLEM)]
)
def test_question_that_would_leave_beside_the_tunnel_is_a_problem(tmp_path: Path, asked: str, level: Level) -> None:
    path = tmp_path / "resolv.conf"
    path.write_text(f"nameserver {asked}\n")
    assert check_dns(["10.90.0.1"], system_wide=True, path=path).level is level
    assert check_dns(["10.90.0.1"], system_wide=False, path=path).level is Level.OK


def test_route_beside_the_tunnel_is_a_problem_where_the_machine_is_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    ways = {socket.AF_INET: "10.90.0.2", socket.AF_INET6: "2001:db8::7"}
    monkeypatch.setattr(network, "source_of", ways.get)
    told = levels(list(check_routes(INNER, system_wide=True)))
    assert told == {"route:ipv4": Level.OK, "route:ipv6": Level.PROBLEM}
    assert set(levels(list(check_routes(INNER, system_wide=False))).values()) == {Level.OK}


def test_no_way_by_ipv6_cannot_leak(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "source_of", {socket.AF_INET: "10.90.0.2"}.get)
    assert set(levels(list(check_routes(INNER, system_wide=True))).values()) == {Level.OK}


def test_reached_is_named_as_people_say_it(node: ProfileNode) -> None:
    assert attrs.evolve(way(node, VLESS_REALITY, ok=True)).id == f"node:{node.name}:reality"
