"""The plan of a node's network: whatever is taken is typed, and crosses a socket as it is."""

from __future__ import annotations

import ipaddress
import json
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pharos.wire.desired import Policy
from pharos.wire.netpolicy import MAX_NETWORKS, NetworkPlan, Target
from tests.support.netplans import PLAN, plans
from tests.support.strategies import junk_json, quick

BODY = PLAN.as_json()


@quick
@given(plans)
def test_a_plan_crosses_a_socket_as_it_is(plan: NetworkPlan) -> None:
    assert NetworkPlan.from_json(json.loads(json.dumps(plan.as_json()))) == plan


@quick
@given(st.sampled_from(sorted(BODY)), junk_json)
def test_no_member_of_another_kind_is_taken(name: str, junk: Any) -> None:
    try:
        plan = NetworkPlan.from_json(BODY | {name: junk})
    except ValueError:
        return
    # What is taken is what it says: nothing is read as something else.
    assert plan.as_json() == BODY | {name: junk}


@quick
@given(st.sampled_from(sorted(BODY["policy"])), junk_json)
def test_no_member_of_another_kind_is_taken_for_the_policy(name: str, junk: Any) -> None:
    try:
        plan = NetworkPlan.from_json(BODY | {"policy": BODY["policy"] | {name: junk}})
    except ValueError:
        return
    assert plan.as_json()["policy"] == BODY["policy"] | {name: junk}


@quick
@given(junk_json)
def test_what_is_no_plan_is_not_taken(junk: Any) -> None:
    with pytest.raises(ValueError):
        NetworkPlan.from_json(junk)


@pytest.mark.parametrize("name", sorted(BODY))
def test_a_plan_without_a_member_or_with_one_more_is_none(name: str) -> None:
    with pytest.raises(ValueError, match="members"):
        NetworkPlan.from_json({key: value for key, value in BODY.items() if key != name})
    with pytest.raises(ValueError, match="members"):
        NetworkPlan.from_json(BODY | {f"{name}_": None})


@pytest.mark.parametrize(
    "fields",
    [
        {"interfaces": (), "confined": ()},
        {"interfaces": ("awg10",)},
        {"interfaces": ("eth0",)},
        {"interfaces": ("awg0", "awg0")},
        {"interfaces": ["awg0"]},
        {"networks": ("10.7.0.1/16",)},
        {"networks": ("0.0.0.0/0",)},
        {"networks": ("::/0",)},
        {"networks": ("10.7.0.0/255.255.0.0",)},
        {"networks": tuple(f"10.{n >> 8}.{n & 255}.0/24" for n in range(MAX_NETWORKS + 1))},
        {"addresses": ("10.7.0.1/32",)},
        {"addresses": ("FD07::1",)},
        {"addresses": (ipaddress.ip_address("10.7.0.1"),)},
        {"egress": ("eth0*",)},
        {"egress": ("*",)},
        {"egress": ("@inside4",)},
        {"egress": ("$x",)},
        {"egress": ("awg0",)},
        {"egress": ("a" * 16,)},
        {"egress": ("",)},
        {"egress": ("eth0\n",)},
        {"node_ports": (0,)},
        {"node_ports": (True,)},
        {"node_ports": ("443",)},
        {"transit": 1},
        {"confined": (0,)},
        {"confined": (-1,)},
        {"confined": (2**32 - 1,)},
        {"confined": (True,)},
        {"confined": ("991",)},
        {"confined": (991, 991)},
        {"confined": tuple(range(1, 6))},
        {"allowed_users": ("10.7.0.1/16",)},
        {"machine_resolvers": ("fe80::1%eth0",)},
        {"targets": (("127.0.0.1", 443),)},
        {"policy": None},
        {"policy": Policy(internet=1)},  # type: ignore[arg-type]
    ],
    ids=lambda fields: str(fields)[:50],
)
def test_what_is_not_typed_is_no_plan(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        attrs.evolve(PLAN, **fields)


@pytest.mark.parametrize(("address", "port"), [("example.org", 1), ("FD07::1", 1), (None, 1), ("", 0), ("", True)])
def test_a_target_is_an_address_or_none_and_a_port(address: Any, port: Any) -> None:
    with pytest.raises(ValueError):
        Target(address=address, port=port)


def test_a_plan_without_a_tunnel_has_a_user() -> None:
    assert attrs.evolve(PLAN, interfaces=()).confined


def test_the_machines_own_resolvers_are_asked_where_the_policy_names_none() -> None:
    plan = attrs.evolve(PLAN, policy=Policy(), own_resolvers=("192.0.2.1",))
    assert [*map(str, plan.resolvers)] == ["192.0.2.1"]
    named = attrs.evolve(plan, policy=Policy(resolvers=("192.0.2.2", "2001:DB8::2", "2001:db8::2")))
    assert [*map(str, named.resolvers)] == ["192.0.2.2", "2001:db8::2"]


@pytest.mark.parametrize(
    "text", ["127.0.0.53", "::1", "0.0.0.0", "169.254.1.1", "fe80::1", "224.0.0.1", "::ffff:1.2.3.4"]
)
def test_a_resolver_where_nobody_else_can_ask_is_none(text: str) -> None:
    assert attrs.evolve(PLAN, policy=Policy(resolvers=(text,)), own_resolvers=("192.0.2.1",)).resolvers == ()
