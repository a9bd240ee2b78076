"""The kill switch's table: what each plan lets through, read from the document that nft is given."""

from __future__ import annotations

import ipaddress
import json
from typing import Any

import pytest

from pharos.caravel.system.nft import Portal, nft_document, removal_document
from pharos.caravel.system.plan import SystemPlan

OWN = ("10.7.0.2/24", "fd07::2/64")
ACCEPT = {"accept": None}


def added(document: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [one["add"][kind] for one in document["nftables"] if kind in one.get("add", {})]


def policies(plan: SystemPlan) -> dict[str, str]:
    return {chain["hook"]: chain["policy"] for chain in added(nft_document(plan), "chain") if chain["prio"] == 0}


def rules(document: dict[str, Any], chain: str) -> list[list[dict[str, Any]]]:
    return [rule["expr"] for rule in added(document, "rule") if rule["chain"] == chain]


def elements(document: dict[str, Any], name: str) -> list[str]:
    (found,) = [one for one in added(document, "set") if one["name"] == name]
    return [f"{one['prefix']['addr']}/{one['prefix']['len']}" for one in found.get("elem", [])]


def test_a_kill_switch_drops_what_nothing_lets_through_in_all_three_directions() -> None:
    assert policies(SystemPlan(addresses=OWN)) == {"output": "drop", "input": "drop", "forward": "drop"}


@pytest.mark.parametrize("values", [{"kill_switch": False}, {"everything": False}, {"routes": ("10.0.0.0/8",)}])
def test_what_is_none_of_the_tunnels_is_left_to_others(values: dict[str, Any]) -> None:
    assert set(policies(SystemPlan(addresses=OWN, **values)).values()) == {"accept"}


def test_the_table_is_replaced_at_one_go() -> None:
    commands = nft_document(SystemPlan(addresses=OWN))["nftables"]
    kinds = [next(iter(one)) for one in commands]
    # Added so that it can be deleted, whether or not it is there; all of it is one transaction.
    assert kinds[:4] == ["metainfo", "add", "delete", "add"]
    assert commands[1:3] == removal_document()["nftables"]
    assert set(kinds[4:]) == {"add"}


def test_the_lan_is_named_only_if_it_is_allowed() -> None:
    assert elements(nft_document(SystemPlan(addresses=OWN)), "lan4") == []
    assert "192.168.0.0/16" in elements(nft_document(SystemPlan(addresses=OWN, lan=True)), "lan4")


def test_names_are_refused_before_the_lan_is_allowed() -> None:
    sending = [json.dumps(rule) for rule in rules(nft_document(SystemPlan(addresses=OWN, lan=True)), "sending")]
    (lan,) = [at for at, rule in enumerate(sending) if "@lan4" in rule]
    dns = [at for at, rule in enumerate(sending) if "853" in rule]
    inner = [at for at, rule in enumerate(sending) if "@inner4" in rule]
    assert dns
    assert max(dns + inner) < lan


def test_neighbours_are_heard_only_from_the_same_link() -> None:
    for chain in ("sending", "receiving"):
        (neighbours,) = [
            rule
            for rule in rules(nft_document(SystemPlan(addresses=OWN)), chain)
            if "nd-neighbor-solicit" in json.dumps(rule)
        ]
        assert {"protocol": "ip6", "field": "hoplimit"} in [
            one["match"]["left"].get("payload") for one in neighbours if "match" in one
        ]
        assert "redirect" not in json.dumps(neighbours)


def test_nothing_but_the_plan_decides_who_is_served() -> None:
    without = json.dumps(nft_document(SystemPlan(addresses=OWN)))
    assert '"dport"}}, "right": {"set": [22]}' not in without
    document = nft_document(SystemPlan(addresses=OWN, serve=(22,)))
    assert any("[22]" in json.dumps(rule) and rule[-1] == ACCEPT for rule in rules(document, "receiving"))


def test_a_portal_is_open_to_people_and_asks_the_networks_own_resolvers() -> None:
    plan = SystemPlan(addresses=OWN)
    assert rules(nft_document(plan), "rerouting") == rules(nft_document(plan), "asking") == []
    portal = Portal(resolvers=(ipaddress.ip_address("192.168.1.1"),))
    web, names = rules(nft_document(plan, portal), "rerouting")
    assert {"range": [1000, 60_000]} in [one["match"]["right"] for one in web if "match" in one]
    (asking,) = rules(nft_document(plan, portal), "asking")
    assert asking[-1] == {"dnat": {"family": "ip", "addr": "192.168.1.1"}}
    # What is marked so comes past the rules of the chain that sends.
    assert web[-1] == names[-1]


def test_the_mark_of_others_is_left_as_it_is() -> None:
    plan = SystemPlan(addresses=OWN)
    ((_, setting),) = rules(nft_document(plan), "saving")
    value = setting["mangle"]["value"]["|"]
    assert value[0]["&"][1] == 0xFFFF_FFFF ^ plan.marks.mask
    assert value[1] == plan.marks.outside
