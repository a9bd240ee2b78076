"""A plan of system-wide mode says what it cannot be, and what follows from it."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pharos.caravel.system.mark import Marks
from pharos.caravel.system.plan import LAN, MIN_MTU, OUTER_BYTES, SystemPlan, fitting_mtu, of_version
from pharos.wire.errors import ConfigError

OWN = ("10.7.0.2/24", "fd07::2/64")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"addresses": ()}, "addresses"),
        ({"addresses": ("10.7.0",)}, "write an address as"),
        ({"device": "lo"}, "device"),
        ({"device": "a" * 16}, "device"),
        ({"device": 'x" }'}, "device"),
        ({"device": "../x"}, "device"),
        ({"mtu": 1279}, "mtu = 1279"),
        ({"resolvers": ("dns.example",)}, "named by its address"),
        ({"routes": ("10.0.0.1/8",)}, "write a network as"),
        ({"outside": ("everything",)}, "write a network as"),
        ({"outside": tuple(f"10.{a}.{b}.0/24" for a in range(5) for b in range(200))}, "no more than 1000"),
        ({"serve": (0,)}, "serve"),
        ({"serve": tuple(range(1, 66))}, "no more than 64"),
        ({"padding": -1}, "padding = -1"),
        ({"table": 254}, "table = 254"),
        ({"priority": 32_766}, "priority"),
    ],
)
def test_a_plan_that_does_not_fit_says_which_value(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        SystemPlan(**{"addresses": OWN, **values})


@pytest.mark.parametrize(
    "values",
    [{"outside": 1, "inside": 1}, {"outside": 0}, {"outside": 0x1_0000_0000}, {"inside": 0x0100_0000}, {"mask": 0}],
)
def test_marks_that_cannot_be_told_apart_are_refused(values: dict[str, int]) -> None:
    with pytest.raises(ConfigError):
        Marks(**values)


def test_marks_leave_the_bits_of_others() -> None:
    marks = Marks()
    assert marks.others & marks.mask == 0
    assert marks.others & 0xFF_C000 == 0xFF_C000


def test_a_plan_knows_what_is_carried_and_whether_it_is_all() -> None:
    assert SystemPlan(addresses=OWN).carried == {4, 6}
    assert SystemPlan(addresses=OWN[:1]).carried == {4}
    # What is not carried goes nowhere: that is still all.
    assert SystemPlan(addresses=OWN[:1]).whole
    assert not SystemPlan(addresses=OWN, routes=("10.0.0.0/8",)).whole
    assert not SystemPlan(addresses=OWN, everything=False).whole


def test_the_fleets_network_and_its_resolvers_are_inside_by_nature() -> None:
    plan = SystemPlan(addresses=OWN, resolvers=("9.9.9.9", "fd07::1"))
    assert [str(one) for one in plan.inner] == ["10.7.0.0/24", "fd07::/64", "9.9.9.9/32", "fd07::1/128"]


@given(path=st.integers(0, 70_000), padding=st.integers(0, 1000))
def test_a_packet_that_fits_the_tunnel_fits_the_path(path: int, padding: int) -> None:
    mtu = fitting_mtu(path, padding)
    assert mtu >= MIN_MTU
    if mtu > MIN_MTU:
        assert mtu + OUTER_BYTES + padding <= path


def test_networks_within_others_are_left_out() -> None:
    networks = [ipaddress.ip_network(one) for one in ("10.0.0.0/8", "10.1.0.0/16", "::/0", "fd07::/64")]
    assert [str(one) for one in of_version(4, networks)] == ["10.0.0.0/8"]
    assert [str(one) for one in of_version(6, networks)] == ["::/0"]


def test_no_lan_has_an_address_of_the_internet() -> None:
    assert not [one for one in LAN if one.is_global and not one.is_multicast]
