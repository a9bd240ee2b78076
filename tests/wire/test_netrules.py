"""The firewall's table: what a plan makes of it, and nothing that a plan does not say."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Any

import attrs
import pytest
from hypothesis import given

from pharos.wire.desired import Policy
from pharos.wire.netpolicy import NetworkPlan
from pharos.wire.netrules import NOT_THE_INTERNET, nft_document, removal_document
from tests.support.netplans import PLAN, plans
from tests.support.strategies import quick


def rules(plan: NetworkPlan, chain: str) -> list[list[dict[str, Any]]]:
    added = [one["add"]["rule"] for one in nft_document(plan)["nftables"] if "rule" in one.get("add", {})]
    return [rule["expr"] for rule in added if rule["chain"] == chain]


def elements(plan: NetworkPlan, name: str) -> list[Any]:
    (found,) = [
        one["add"]["set"]
        for one in nft_document(plan)["nftables"]
        if name == one.get("add", {}).get("set", {}).get("name")
    ]
    return [ipaddress.ip_network((one["prefix"]["addr"], one["prefix"]["len"])) for one in found.get("elem", [])]


def leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from leaves(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from leaves(inner)
    else:
        yield value


def shape(plan: NetworkPlan) -> list[tuple[str, str]]:
    """What is added where, whatever the values are."""
    added = [one["add"] for one in nft_document(plan)["nftables"] if "add" in one]
    return [
        (kind, what.get("chain", what["name"]) if kind == "rule" else what["name"])
        for one in added
        for kind, what in one.items()
    ]


VOCABULARY = {leaf for leaf in leaves(nft_document(PLAN)) if isinstance(leaf, str)}


@quick
@given(plans)
def test_all_that_a_document_says_is_of_a_fixed_vocabulary_or_a_value_of_the_plan(plan: NetworkPlan) -> None:
    for leaf in leaves(nft_document(plan)):
        if isinstance(leaf, str) and leaf not in VOCABULARY and leaf not in (*plan.interfaces, *plan.egress):
            ipaddress.ip_address(leaf)


@quick
@given(plans)
def test_no_two_elements_of_a_set_overlap_for_nft_takes_none(plan: NetworkPlan) -> None:
    for kind in ("node", "resolvers", "closed", "allowed", "machine", "users", "inside"):
        for version in (4, 6):
            found = elements(plan, f"{kind}{version}")
            assert all(one.version == version for one in found)
            assert found == [*ipaddress.collapse_addresses(found)]


@quick
@given(plans)
def test_every_name_that_is_referred_to_is_there(plan: NetworkPlan) -> None:
    added = [one["add"] for one in nft_document(plan)["nftables"] if "add" in one]
    sets = {f"@{one['set']['name']}" for one in added if "set" in one}
    chains = {one["chain"]["name"] for one in added if "chain" in one}
    for leaf in leaves([one["rule"]["expr"] for one in added if "rule" in one]):
        assert not isinstance(leaf, str) or not leaf.startswith("@") or leaf in sets
    targets = [
        target["target"]
        for one in added
        if "rule" in one
        for word in one["rule"]["expr"]
        for target in word.values()
        if isinstance(target, dict) and "target" in target
    ]
    assert {*targets} <= chains
    assert {one["rule"]["chain"] for one in added if "rule" in one} <= chains


@quick
@given(plans)
def test_a_table_is_replaced_at_one_go(plan: NetworkPlan) -> None:
    commands = nft_document(plan)["nftables"]
    assert commands[1:3] == removal_document()["nftables"]
    assert [*commands[3]] == ["add"]
    assert all("add" in command for command in commands[3:])


def test_every_way_out_of_a_tunnel_ends_in_a_verdict() -> None:
    for plan in (PLAN, attrs.evolve(PLAN, egress=()), attrs.evolve(PLAN, policy=Policy(internet=False))):
        for chain in ("from_devices", "to_devices", "to_node", "refused"):
            (last,) = rules(plan, chain)[-1]
            assert last.keys() & {"accept", "drop", "goto", "reject"}


def test_without_internet_nothing_is_accepted_but_resolvers_devices_and_what_is_allowed() -> None:
    plan = attrs.evolve(PLAN, policy=Policy(internet=False, peer_to_peer=True))
    accepted = [rule for rule in rules(plan, "from_devices") if {"accept": None} in rule]
    assert len(accepted) == 7
    assert sum("@resolvers" in str(rule) for rule in accepted) == 4
    assert sum("@allowed" in str(rule) for rule in accepted) == 2


def test_what_a_policy_closes_no_machine_allows() -> None:
    order = [str(rule) for rule in rules(PLAN, "from_devices")]
    closed, allowed = (
        [place for place, rule in enumerate(order) if f"@{kind}" in rule] for kind in ("closed", "allowed")
    )
    assert max(closed) < min(allowed)


@pytest.mark.parametrize("resolvers", [(), ("192.0.2.53",)])
def test_encrypted_questions_are_refused_only_where_an_operator_named_resolvers(resolvers: tuple[str, ...]) -> None:
    plan = attrs.evolve(PLAN, policy=Policy(resolvers=resolvers), own_resolvers=("192.0.2.1",))
    refused = [
        rule for rule in rules(plan, "from_devices") if {"goto": {"target": "refused"}} in rule and "853" in str(rule)
    ]
    assert bool(refused) is bool(resolvers)


def test_what_leads_to_a_private_address_by_a_translator_is_private() -> None:
    inside = elements(PLAN, "inside6")
    for text in (
        "64:ff9b::a9fe:a9fe",
        "64:ff9b::10.0.0.1",
        "2002:a9fe:a9fe::1",
        "2002:7f00:1::",
        "::ffff:10.0.0.1",
        "::1",
    ):
        assert any(ipaddress.ip_address(text) in network for network in inside), text
    for text in ("64:ff9b::192.0.2.1", "2002:c000:201::1", "2606:4700::1"):
        assert not any(ipaddress.ip_address(text) in network for network in inside), text
    closed = elements(PLAN, "closed6")
    assert any(ipaddress.ip_address("64:ff9b::198.51.100.7") in network for network in closed)


def test_what_the_standard_library_calls_private_is_not_of_the_internet() -> None:
    for text in (
        "10.1.2.3",
        "172.31.0.1",
        "192.168.1.1",
        "127.0.0.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "255.255.255.255",
        "224.0.0.251",
        "fd00::1",
        "fe80::1",
        "ff02::fb",
    ):
        assert any(
            ipaddress.ip_address(text) in network
            for network in NOT_THE_INTERNET
            if network.version == (6 if ":" in text else 4)
        ), text


def test_devices_networks_leave_by_no_other_interface() -> None:
    plan = attrs.evolve(PLAN, networks=("203.0.113.0/24",))
    assert ipaddress.ip_network("203.0.113.0/24") in elements(plan, "inside4")


# -- programs that dial for devices


def accepted(plan: NetworkPlan) -> list[str]:
    return [str(rule) for rule in rules(plan, "from_users") if {"accept": None} in rule]


@quick
@given(plans)
def test_only_what_confined_users_send_is_confined(plan: NetworkPlan) -> None:
    confined = [*plan.confined]
    led = rules(plan, "sending")
    assert led == (
        [
            [
                {"match": {"op": "==", "left": {"meta": {"key": "skuid"}}, "right": {"set": confined}}},
                {"jump": {"target": "from_users"}},
            ]
        ]
        if confined
        else []
    )
    assert bool(rules(plan, "from_users")) is bool(confined)


@quick
@given(plans)
def test_confined_users_reach_no_more_than_answers_names_targets_and_what_is_allowed(plan: NetworkPlan) -> None:
    named = {one.port for one in plan.targets if not one.address}
    exact = [one for one in plan.targets if one.address]
    found = accepted(plan)
    if not plan.confined:
        assert found == []
        return
    assert "'direction'" in found[0]
    assert all("'dport'" in one and "53" in one and "@machine" in one for one in found[1:3])
    assert all(repr(one.address) in rule and str(one.port) in rule for one, rule in zip(exact, found[3:], strict=False))
    rest = found[3 + len(exact) :]
    assert all("@users" in one for one in rest[:2])
    assert len(rest[2:]) == (bool(named) and not plan.policy.internet)


@quick
@given(plans)
def test_what_is_not_of_the_internet_is_refused_to_confined_users_whatever_the_policy(plan: NetworkPlan) -> None:
    order = [str(rule) for rule in rules(plan, "from_users")]
    if not order:
        return
    allowed, own, inside = (
        max(place for place, rule in enumerate(order) if what in rule) for what in ("@users", "'fib'", "@inside")
    )
    assert allowed < own < inside
    refused = [rule for rule in order[own:] if "'refused'" in rule]
    assert len(refused) == (3 if plan.policy.internet else 4)
    if not plan.policy.internet:
        assert rules(plan, "from_users")[-1] == [{"goto": {"target": "refused"}}]


def test_what_a_policy_closes_is_closed_to_confined_users_before_anything_is_allowed() -> None:
    order = [str(rule) for rule in rules(PLAN, "from_users")]
    closed, allowed = (
        [place for place, rule in enumerate(order) if f"@{kind}" in rule] for kind in ("closed", "users")
    )
    assert max(closed) < min(allowed)


def test_without_a_tunnel_there_are_rules_for_users_only() -> None:
    document = nft_document(attrs.evolve(PLAN, interfaces=()))["nftables"]
    chains = {one["add"]["rule"]["chain"] for one in document if "rule" in one.get("add", {})}
    assert chains == {"refused", "from_users", "sending"}
    # nft takes no set without an element.
    assert {"set": []} not in [*walk(document)]


# -- others


def walk(value: Any) -> Iterator[Any]:
    yield value
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for one in inner:
        yield from walk(one)


@pytest.mark.parametrize("transit", [True, False])
def test_what_is_not_of_devices_is_dropped_only_if_the_plan_says_so(transit: bool) -> None:
    found = rules(attrs.evolve(PLAN, transit=transit), "forwarding")
    assert (found[-1][-1] == {"drop": None}) is not transit
    if not transit:
        assert [match["match"]["op"] for match in found[-1][:-1]] == ["!=", "!="]
