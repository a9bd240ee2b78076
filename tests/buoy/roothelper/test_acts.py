"""What may be asked of root is typed, and nothing outside the types can be made."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address, ip_interface, ip_network
from typing import get_args

import pytest

from pharos.buoy.roothelper.acts import (
    ANSWERS,
    MAX_SOCKETS,
    Act,
    Answer,
    DumpAwg,
    Interface,
    KillSockets,
    RemoveLink,
    SetLink,
    SocketAddress,
    SocketPair,
    SyncAwg,
    SyncPeer,
    Unit,
    UnitAct,
    UnitVerb,
)

KEY = bytes(range(32))
HERE, THERE = SocketAddress(ip_address("192.0.2.1"), 443), SocketAddress(ip_address("198.51.100.7"), 50000)


def set_link(**changes: object) -> SetLink:
    return SetLink(**{"interface": Interface.AWG0, "mtu": 1420} | changes)  # type: ignore[arg-type]


def sync(**changes: object) -> SyncAwg:
    return SyncAwg(**{"interface": Interface.AWG0, "private_key": KEY, "port": 443} | changes)  # type: ignore[arg-type]


def test_every_act_has_an_answer() -> None:
    assert set(ANSWERS) == set(get_args(Act))
    assert set(ANSWERS.values()) == set(get_args(Answer))


def test_units_are_the_engines_and_never_the_agent_or_the_machine() -> None:
    awg = {f"pharos-awg@awg{number}.service" for number in range(10)}
    assert {unit.value for unit in Unit} == awg | {"pharos-reality.service", "pharos-xray.service"}
    assert {verb.value for verb in UnitVerb} == {"start", "stop", "restart"}
    assert Unit.awg(Interface.AWG3) is Unit.AWG3


@pytest.mark.parametrize(
    "make",
    [
        lambda: UnitAct("ssh.service", UnitVerb.STOP),  # type: ignore[arg-type]
        lambda: UnitAct(Unit.AWG0, "mask"),  # type: ignore[arg-type]
        lambda: RemoveLink("eth0"),  # type: ignore[arg-type]
        lambda: DumpAwg("awg0"),  # type: ignore[arg-type]
        lambda: SocketAddress("192.0.2.1", 443),  # type: ignore[arg-type]
        lambda: SocketAddress(ip_address("192.0.2.1"), 0),
        lambda: SocketAddress(ip_address("192.0.2.1"), 65536),
        lambda: SocketAddress(ip_address("192.0.2.1"), 443.0),  # type: ignore[arg-type]
        lambda: SocketAddress(ip_address("fe80::1%eth0; reboot"), 443),
        lambda: SocketPair(HERE, SocketAddress(ip_address("::1"), 443)),
        lambda: KillSockets([SocketPair(HERE, THERE)]),  # type: ignore[arg-type]
        lambda: KillSockets((HERE,)),  # type: ignore[arg-type]
        lambda: KillSockets((SocketPair(HERE, THERE),) * (MAX_SOCKETS + 1)),
        lambda: set_link(interface="awg0"),
        lambda: set_link(mtu=575),
        lambda: set_link(mtu=1420.0),
        lambda: set_link(create="dummy"),
        lambda: set_link(addresses=("10.7.0.1/24",)),
        lambda: set_link(addresses=(ip_interface("fd07::1%a b/64"),)),
        lambda: set_link(networks=(ip_interface("10.7.0.1/24"),)),
        lambda: sync(private_key=KEY[1:]),
        lambda: sync(private_key=bytearray(KEY)),
        lambda: sync(port=0),
        lambda: sync(parameters={}),
        lambda: sync(peers=(KEY,)),
        lambda: SyncPeer(public_key=KEY.hex()),  # type: ignore[arg-type]
        lambda: SyncPeer(public_key=KEY, networks=(ip_network("10.7.0.2"),) * 17),
    ],
)
def test_what_does_not_fit_its_type_is_not_made(make: Callable[[], object]) -> None:
    with pytest.raises((TypeError, ValueError)):
        make()


@pytest.mark.parametrize(
    "network",
    ["0.0.0.0/0", "0.0.0.0/1", "8.8.8.8/32", "169.254.169.254/32", "127.0.0.0/8", "::/0", "2000::/3", "fe80::/64"],
)
def test_traffic_of_the_machine_itself_cannot_be_routed_into_the_tunnel(network: str) -> None:
    with pytest.raises(ValueError, match="neither private nor shared nor unique local"):
        set_link(networks=(ip_network(network),))
    with pytest.raises(ValueError, match="neither private nor shared nor unique local"):
        set_link(addresses=(ip_interface(network),))


def test_devices_networks_may_be_routed_into_the_tunnel() -> None:
    networks = tuple(map(ip_network, ("10.0.0.0/8", "172.20.0.0/16", "192.168.7.0/24", "100.64.0.0/10", "fd07::/48")))
    assert set_link(networks=networks).networks == networks


def test_secrets_do_not_print() -> None:
    act = sync(peers=(SyncPeer(public_key=bytes(32), preshared_key=KEY),))
    assert repr(KEY)[2:-1] not in repr(act)
    assert KEY.hex() not in repr(act)
    with pytest.raises(ValueError, match="private_key must be 32 bytes") as refused:
        sync(private_key=KEY + b"x")
    assert KEY.hex() not in str(refused.value)
