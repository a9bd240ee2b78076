"""The kernel's switches: which a plan wants, and in which order they go there and back."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pharos.wire.netswitches import first_seen, is_switch, order_back, sysctls
from tests.support.netplans import PLAN
from tests.support.strategies import quick

HOST = {
    "net/ipv4/ip_forward": "0",
    "net/ipv4/conf/all/accept_redirects": "1",
    "net/ipv4/conf/all/send_redirects": "1",
    "net/ipv4/conf/awg0/send_redirects": "1",
    "net/ipv4/conf/eth0/send_redirects": "1",
    "net/ipv4/conf/eth0/forwarding": "0",
    "net/ipv6/conf/all/forwarding": "0",
    "net/ipv6/conf/all/accept_ra": "1",
    "net/ipv6/conf/default/accept_ra": "1",
    "net/ipv6/conf/eth0/accept_ra": "1",
    "net/ipv6/conf/eth0.100/accept_ra": "0",
    "net/ipv6/conf/awg0/accept_ra": "1",
}


def test_a_host_forwards_and_takes_its_own_way_out_by_advertisement_as_before() -> None:
    assert [*sysctls(PLAN, HOST).items()] == [
        # First: with forwarding on, the kernel drops what was advertised.
        ("net/ipv6/conf/eth0/accept_ra", "2"),
        ("net/ipv4/conf/all/send_redirects", "0"),
        ("net/ipv4/conf/awg0/send_redirects", "0"),
        ("net/ipv4/ip_forward", "1"),
        ("net/ipv6/conf/all/forwarding", "1"),
    ]


def test_a_router_that_takes_no_advice_goes_on_taking_none() -> None:
    assert "net/ipv6/conf/eth0/accept_ra" not in sysctls(PLAN, HOST | {"net/ipv6/conf/all/forwarding": "1"})


def test_a_kernel_without_ipv6_is_not_asked_for_it() -> None:
    before = {path: value for path, value in HOST.items() if "ipv6" not in path}
    assert not [path for path in sysctls(PLAN, before) if "ipv6" in path]


def test_a_plan_without_a_tunnel_moves_no_switch() -> None:
    assert sysctls(attrs.evolve(PLAN, interfaces=()), HOST) == {}


def test_all_that_is_wanted_is_a_switch() -> None:
    assert all(is_switch(path, value) for path, value in sysctls(PLAN, HOST).items())


def test_of_an_interface_that_came_later_its_forwarding_is_not_taken_for_the_machines() -> None:
    assert first_seen(HOST, {}) == HOST
    later = HOST | {
        "net/ipv4/conf/eth1/forwarding": "1",
        "net/ipv6/conf/eth1/accept_ra": "1",
        "net/ipv4/ip_forward": "1",
    }
    assert first_seen(later, HOST) == HOST | {"net/ipv6/conf/eth1/accept_ra": "1"}


def test_what_moves_others_along_goes_back_first() -> None:
    assert order_back(HOST)[:2] == ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"]
    assert sorted(order_back(HOST)) == sorted(HOST)


@pytest.mark.parametrize(
    "path",
    [
        "kernel/core_pattern",
        "net/ipv4/conf/../../../kernel/core_pattern",
        "net/ipv4/conf/../forwarding",
        "net/ipv4/conf/./forwarding",
        "/proc/sys/net/ipv4/ip_forward",
        "net/ipv4/ip_forward\n",
        "net/ipv4/conf/eth0/rp_filter",
        "net/ipv4/conf//forwarding",
    ],
)
def test_no_other_path_is_a_switch(path: str) -> None:
    assert not is_switch(path, "1")


@quick
@given(st.text(), st.text())
def test_a_switch_has_a_small_number(path: str, value: str) -> None:
    if is_switch("net/ipv4/ip_forward", value):
        assert int(value) < 10_000
        assert value.isascii()
    assert not is_switch(path, value) or path in HOST
