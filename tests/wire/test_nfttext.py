"""A plan's rules for people: what nft itself prints of the same plan (tests/system/test_nft_text.py asks it)."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given

from pharos.wire.desired import Policy
from pharos.wire.netpolicy import NetworkPlan
from pharos.wire.netrules import nft_document
from pharos.wire.nfttext import nft_text
from tests.support.netplans import PLAN, plans
from tests.support.strategies import quick

SMALL = NetworkPlan(interfaces=("awg0",), networks=("10.7.0.0/16",), addresses=("10.7.0.1",))


def block(text: str, head: str) -> list[str]:
    """Return the lines of a set or chain."""
    body = text.split(f"\t{head} {{\n")[1].split("\t}\n")[0]
    return [line.removeprefix("\t\t") for line in body.splitlines()]


def test_table_is_spelt_as_nft_spells_it() -> None:
    text = nft_text(PLAN)
    assert text.startswith("table inet pharos {\n\tset node4 {\n\t\ttype ipv4_addr\n\t\tflags interval\n")
    assert text.endswith("\t}\n}\n")
    assert block(text, "chain refused") == [
        "meta l4proto tcp reject with tcp reset",
        "reject with icmpx admin-prohibited",
    ]
    assert block(text, "chain ask_resolvers") == [
        "ip daddr @resolvers4 accept",
        "meta nfproto ipv4 dnat ip to numgen inc mod 2 map { 0 : 192.0.2.53, 1 : 192.0.2.54 }",
        "ip6 daddr @resolvers6 accept",
        "meta nfproto ipv6 dnat ip6 to 2001:db8::53",
    ]
    assert block(text, "chain clamping") == [
        "type filter hook forward priority mangle; policy accept;",
        'iifname { "awg0", "awg1" } tcp flags syn / syn,rst tcp option maxseg size set rt mtu',
        'oifname { "awg0", "awg1" } tcp flags syn / syn,rst tcp option maxseg size set rt mtu',
    ]
    assert "fib daddr type { local, broadcast, anycast, multicast } goto refused" in block(text, "chain from_users")
    assert block(text, "chain to_devices") == ["ct state established,related accept", "drop"]


def test_set_of_many_is_broken_as_nft_breaks_it() -> None:
    text = nft_text(attrs.evolve(SMALL, policy=Policy(closed=("192.168.0.0/16", "203.0.113.7/32", "198.51.100.0/24"))))
    assert block(text, "set closed4") == [
        "type ipv4_addr",
        "flags interval",
        "elements = { 192.168.0.0/16, 198.51.100.0/24,",
        "\t     203.0.113.7 }",
    ]
    assert block(text, "set allowed6") == ["type ipv6_addr", "flags interval"]
    assert "\t     ::ffff:0.0.0.0/96," in block(text, "set inside6")


def test_one_value_needs_no_braces_and_several_are_in_the_order_of_their_numbers() -> None:
    text = nft_text(attrs.evolve(SMALL, node_ports=(8443, 443), transit=False, confined=(992, 5)))
    assert 'oifname != "awg0" iifname != "awg0" drop' in block(text, "chain forwarding")
    assert "tcp dport { 443, 8443 } ip daddr != @inside4 accept" in block(text, "chain to_node")
    assert "meta skuid { 5, 992 } jump from_users" in block(text, "chain sending")


@pytest.mark.parametrize(
    ("change", "gone", "come"),
    [
        ({"peer_to_peer": True}, 'oifname "awg0" goto refused', 'oifname "awg0" accept'),
        ({"internet": False}, "accept", "goto refused"),
        ({"resolvers": ("9.9.9.9",)}, None, "meta l4proto { tcp, udp } th dport 853 goto refused"),
    ],
)
def test_change_of_the_policy_is_a_change_of_its_lines(change: dict[str, object], gone: str | None, come: str) -> None:
    before = block(nft_text(SMALL), "chain from_devices")
    after = block(nft_text(attrs.evolve(SMALL, policy=attrs.evolve(Policy(), **change))), "chain from_devices")
    assert after.count(come) == before.count(come) + 1
    assert gone is None or after.count(gone) == before.count(gone) - 1


@quick
@given(plans)
def test_every_rule_of_every_plan_has_a_line_and_every_line_a_rule(plan: NetworkPlan) -> None:
    text = nft_text(plan)
    added = [one["add"] for one in nft_document(plan)["nftables"] if "add" in one]
    for one in added:
        if "chain" in one:
            name = one["chain"]["name"]
            rules = sum("rule" in other and other["rule"]["chain"] == name for other in added)
            assert len(block(text, f"chain {name}")) == rules + ("hook" in one["chain"])
    assert text.count("{") == text.count("}")
