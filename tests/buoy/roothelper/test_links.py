"""The lines for ip(8) are what is missing and what is too much, and nothing else."""

from __future__ import annotations

import json
from ipaddress import ip_interface, ip_network

import pytest

from pharos.buoy.roothelper.acts import Interface, SetLink
from pharos.buoy.roothelper.links import LinkSeen, RouteSeen, link_lines, parse_link, parse_routes

# As iproute2 6.1 prints them, shortened.
SHOWN = json.dumps(
    [
        {"ifindex": 1, "ifname": "lo", "addr_info": [{"local": "127.0.0.1", "prefixlen": 8, "scope": "host"}]},
        {},
        {
            "ifindex": 2,
            "ifname": "awg0",
            "mtu": 1420,
            "linkinfo": {"info_kind": "tun", "info_data": {"type": "tun"}},
            "addr_info": [
                {"family": "inet", "local": "10.7.0.1", "prefixlen": 32, "scope": "global"},
                {"family": "inet6", "local": "fd07::1", "prefixlen": 128, "scope": "global", "nodad": True},
                {"family": "inet6", "local": "fe80::5", "prefixlen": 64, "scope": "link"},
            ],
        },
    ]
)
ROUTES = json.dumps(
    [
        {"dst": "10.7.0.0/16", "protocol": "static", "scope": "link", "metric": 1024, "flags": ["linkdown"]},
        {"dst": "10.9.0.4", "protocol": "static", "metric": 1024, "flags": []},
        {"dst": "10.7.1.0/24", "protocol": "kernel", "scope": "link", "prefsrc": "10.7.1.1"},
        {"dst": "default", "protocol": "boot"},
    ]
)
EMPTY = LinkSeen(kind="tun", addresses=frozenset())


def link(*addresses: str, networks: tuple[str, ...] = ()) -> SetLink:
    return SetLink(
        interface=Interface.AWG0,
        addresses=tuple(map(ip_interface, addresses)),
        networks=tuple(map(ip_network, networks)),
        mtu=1420,
    )


def test_link_is_read_without_the_addresses_that_every_link_has() -> None:
    seen = parse_link(SHOWN, Interface.AWG0)
    assert seen == LinkSeen(kind="tun", addresses=frozenset(map(ip_interface, ("10.7.0.1", "fd07::1"))))
    assert parse_link(SHOWN, Interface.AWG1) is None
    assert parse_link("", Interface.AWG0) is None


def test_routes_are_read_and_the_kernels_own_are_known() -> None:
    assert [(str(route.network), route.metric, route.ours) for route in parse_routes(ROUTES, 4)] == [
        ("10.7.0.0/16", 1024, True),
        ("10.9.0.4/32", 1024, True),
        ("10.7.1.0/24", 0, False),
        ("0.0.0.0/0", 0, True),
    ]
    assert parse_routes("", 6) == []


@pytest.mark.parametrize(
    "text", ["{", '[{"dst": "x"}]', '[{"protocol": "static"}]', '[{"dst": "10.0.0.0/8", "metric": []}]']
)
def test_what_does_not_read_is_no_route(text: str) -> None:
    with pytest.raises((ValueError, KeyError, TypeError)):
        parse_routes(text, 4)


def test_fresh_link_gets_all_of_it() -> None:
    act = link("10.7.0.1", "fd07::1", networks=("10.7.0.0/16", "fd07::/64"))
    assert link_lines(act, EMPTY, [], ipv6=True) == [
        "link set dev awg0 mtu 1420 up",
        "address add 10.7.0.1/32 dev awg0",
        "address add fd07::1/128 dev awg0 nodad",
        "route add 10.7.0.0/16 dev awg0 proto static metric 1024",
        "route add fd07::/64 dev awg0 proto static metric 1024",
    ]


def test_link_that_is_as_it_should_be_is_left_alone() -> None:
    seen = LinkSeen(kind="tun", addresses=frozenset({ip_interface("10.7.0.1")}))
    routes = [RouteSeen(network=ip_network("10.7.0.0/16"), metric=1024, ours=True)]
    act = link("10.7.0.1", networks=("10.7.0.0/16",))
    assert link_lines(act, seen, routes, ipv6=True) == ["link set dev awg0 mtu 1420 up"]


def test_what_is_no_longer_wanted_goes_after_the_new_is_there() -> None:
    seen = LinkSeen(kind="tun", addresses=frozenset({ip_interface("10.7.0.1")}))
    routes = parse_routes(ROUTES, 4)
    assert link_lines(link("10.8.0.1", networks=("10.7.0.0/16",)), seen, routes, ipv6=True) == [
        "link set dev awg0 mtu 1420 up",
        "address add 10.8.0.1/32 dev awg0",
        "address delete 10.7.0.1/32 dev awg0",
        "route delete 10.9.0.4/32 dev awg0 metric 1024",
        "route delete 0.0.0.0/0 dev awg0 metric 0",
    ]


def test_network_of_an_own_address_is_the_kernels_to_route() -> None:
    act = link("10.7.0.1/16", networks=("10.7.0.0/16",))
    assert not [line for line in link_lines(act, EMPTY, [], ipv6=True) if line.startswith("route")]


def test_machine_without_ipv6_gets_none() -> None:
    act = link("10.7.0.1", "fd07::1", networks=("10.7.0.0/16", "fd07::/64"))
    assert not [line for line in link_lines(act, EMPTY, [], ipv6=False) if "fd07" in line]
