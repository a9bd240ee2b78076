"""Which routes and rules a plan makes: nothing falls through to the machine's own, but for what is meant to."""

from __future__ import annotations

import ipaddress
import json

import pytest

from pharos.caravel.system.plan import LAN, SystemPlan
from pharos.caravel.system.routes import LAST_METRIC, MAIN, Route, RouteKind, Rule, plan_routes, plan_rules

OWN = ("10.7.0.2/24", "fd07::2/64")
TUN = 7


def kinds(routes: list[Route], network: str) -> list[tuple[RouteKind, int | None]]:
    found = [route for route in routes if route.network == ipaddress.ip_network(network)]
    return [(route.kind, route.device) for route in sorted(found, key=lambda route: route.metric)]


def test_everything_goes_in_and_nowhere_else_when_the_tunnel_is_gone() -> None:
    routes = plan_routes(SystemPlan(addresses=OWN), TUN)
    for network in ("0.0.0.0/0", "::/0"):
        assert kinds(routes, network) == [(RouteKind.UNICAST, TUN), (RouteKind.UNREACHABLE, None)]
    assert {route.metric for route in routes if route.kind is RouteKind.UNREACHABLE} == {LAST_METRIC}


def test_a_version_that_is_not_carried_is_unreachable() -> None:
    routes = plan_routes(SystemPlan(addresses=OWN[:1]), TUN)
    assert kinds(routes, "::/0") == [(RouteKind.UNREACHABLE, None)]


def test_a_machine_without_ipv6_is_told_nothing_of_it() -> None:
    plan = SystemPlan(addresses=OWN)
    assert {route.network.version for route in plan_routes(plan, TUN, versions=(4,))} == {4}
    assert {rule.version for rule in plan_rules(plan, versions=(4,))} == {4}


def test_what_goes_outside_is_left_to_the_next_rule() -> None:
    routes = plan_routes(SystemPlan(addresses=OWN, outside=("192.0.2.0/24",)), TUN)
    assert kinds(routes, "192.0.2.0/24") == [(RouteKind.THROW, None)]


def test_single_networks_go_in_with_the_tunnels_own() -> None:
    routes = plan_routes(SystemPlan(addresses=OWN, routes=("198.51.100.0/24",), resolvers=("9.9.9.9",)), TUN)
    assert not kinds(routes, "0.0.0.0/0")
    for network in ("198.51.100.0/24", "10.7.0.0/24", "9.9.9.9/32", "fd07::/64"):
        assert kinds(routes, network) == [(RouteKind.UNICAST, TUN), (RouteKind.UNREACHABLE, None)]


def test_no_route_stands_twice() -> None:
    plan = SystemPlan(addresses=OWN, routes=("10.7.0.0/24", "0.0.0.0/0", "::/0"), outside=("0.0.0.0/0",))
    routes = plan_routes(plan, TUN)
    assert len({(route.network, route.metric) for route in routes}) == len(routes)


@pytest.mark.parametrize("version", [4, 6])
def test_all_but_what_is_marked_look_into_the_table(version: int) -> None:
    plan = SystemPlan(addresses=OWN)
    *_, last = [rule for rule in plan_rules(plan) if rule.version == version]
    assert (last.table, last.mark, last.mask, last.inverted) == (plan.table, plan.marks.outside, plan.marks.mask, True)
    assert last.to is None


def test_only_what_is_marked_looks_there_if_not_everything_goes_in() -> None:
    plan = SystemPlan(addresses=OWN, everything=False)
    *_, last = plan_rules(plan)
    assert (last.mark, last.inverted) == (plan.marks.inside, False)


def test_the_lan_is_asked_after_the_tunnels_own_networks_and_before_all_the_rest() -> None:
    plan = SystemPlan(addresses=OWN, lan=True)
    rules = [rule for rule in plan_rules(plan) if rule.version == 4]
    assert [rule.priority for rule in rules] == sorted(rule.priority for rule in rules)
    assert rules[0].to == ipaddress.ip_network("10.7.0.0/24")
    theirs = [rule for rule in rules if rule.table == MAIN and rule.to is not None]
    # Each for a private network alone: the table main is never asked about the internet.
    assert {rule.to for rule in theirs} == {network for network in LAN if network.version == 4}
    assert all(rule.suppress or (rule.to is not None and rule.to.is_multicast) for rule in theirs)


def test_without_the_lan_the_machines_own_routes_are_for_its_lease_alone() -> None:
    rules = [rule for rule in plan_rules(SystemPlan(addresses=OWN)) if rule.table == MAIN]
    assert [(rule.version, rule.flow) for rule in rules] == [(4, (17, 68, 67))]


def test_what_the_journal_notes_reads_back() -> None:
    plan = SystemPlan(addresses=OWN, lan=True, outside=("192.0.2.0/24",))
    for rule in plan_rules(plan):
        assert Rule.from_json(json.loads(json.dumps(rule.as_json()))) == rule
    for route in plan_routes(plan, TUN):
        assert Route.from_json(json.loads(json.dumps(route.as_json()))) == route
