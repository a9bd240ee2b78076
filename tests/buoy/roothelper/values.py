"""Acts of every kind, at random."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_interface, ip_network

from hypothesis import strategies as st

from pharos.buoy.roothelper.acts import (
    Act,
    ApplyNetwork,
    DumpAwg,
    Interface,
    KillSockets,
    LinkKind,
    RemoveLink,
    RemoveNetwork,
    SetLink,
    SocketAddress,
    SocketPair,
    SyncAwg,
    SyncPeer,
    Unit,
    UnitAct,
    UnitVerb,
)
from pharos.buoy.roothelper.checks import IPInterface, IPNetwork
from pharos.wire.awg.params import PLAIN, ObfuscationParameters
from pharos.wire.desired import Policy
from pharos.wire.netpolicy import NetworkPlan

KEYS = st.binary(min_size=32, max_size=32)
PORTS = st.integers(1, 65535)
OBFUSCATED = ObfuscationParameters(jc=4, jmin=40, jmax=70, s1=30, s2=60, h1=11, h2=12, h3=13, h4="14-20", i1="<b 0x01>")


def _network(address: int, bits: int) -> IPNetwork:
    return ip_network(((10 << 24) + address % 2**24, bits), strict=False)


def _network6(address: int, bits: int) -> IPNetwork:
    return ip_network(((0xFD << 120) + address, bits), strict=False)


NETWORKS = st.one_of(
    st.builds(_network, st.integers(0, 2**24 - 1), st.integers(8, 32)),
    st.builds(_network6, st.integers(0, 2**120 - 1), st.integers(8, 128)),
)


def _address(network: IPNetwork) -> IPInterface:
    return ip_interface((int(network.network_address), network.prefixlen))


def _pair(addresses: st.SearchStrategy[IPv4Address | IPv6Address]) -> st.SearchStrategy[SocketPair]:
    ends = st.builds(SocketAddress, addresses, PORTS)
    return st.builds(SocketPair, ends, ends)


PAIRS = st.one_of(
    _pair(st.ip_addresses(v=4)),
    _pair(st.ip_addresses(v=6)),
)
PEERS = st.builds(SyncPeer, public_key=KEYS, preshared_key=KEYS, networks=st.lists(NETWORKS, max_size=3).map(tuple))
PLANS = st.builds(
    NetworkPlan,
    interfaces=st.just(("awg0",)),
    networks=st.lists(NETWORKS.map(str), max_size=3, unique=True).map(tuple),
    policy=st.builds(Policy, peer_to_peer=st.booleans(), closed=st.just(("10.0.0.0/8",))),
    egress=st.sampled_from(((), ("eth0",))),
    transit=st.booleans(),
)
ACTS: st.SearchStrategy[Act] = st.one_of(
    st.builds(ApplyNetwork, PLANS),
    st.just(RemoveNetwork()),
    st.builds(UnitAct, st.sampled_from(Unit), st.sampled_from(UnitVerb)),
    st.builds(KillSockets, st.lists(PAIRS, max_size=3).map(tuple)),
    st.builds(
        SetLink,
        interface=st.sampled_from(Interface),
        addresses=st.lists(NETWORKS.map(_address), max_size=3).map(tuple),
        networks=st.lists(NETWORKS, max_size=3).map(tuple),
        mtu=st.integers(576, 65535),
        create=st.none() | st.sampled_from(LinkKind),
    ),
    st.builds(RemoveLink, st.sampled_from(Interface)),
    st.builds(
        SyncAwg,
        interface=st.sampled_from(Interface),
        private_key=KEYS,
        port=PORTS,
        parameters=st.sampled_from((PLAIN, OBFUSCATED)),
        peers=st.lists(PEERS, max_size=3).map(tuple),
    ),
    st.builds(DumpAwg, st.sampled_from(Interface)),
)
