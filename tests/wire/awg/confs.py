"""Hypothesis strategies for whole configurations of a tunnel."""

import ipaddress
import random

from hypothesis import strategies as st

from pharos.wire.awg.conf import Hook, HookTime, InterfaceSection, PeerSection, TunnelConf
from pharos.wire.awg.generate import generate
from pharos.wire.awg.params import Generation, ObfuscationParameters
from pharos.wire.awg.ranges import Range
from tests.support.strategies import keys


def parameters_of(seed: int, generation: Generation) -> ObfuscationParameters:
    return generate(random.Random(seed).randbytes, generation)


all_parameters = st.builds(parameters_of, st.integers(0, 1000), st.sampled_from(list(Generation)))
v4_networks = st.builds(
    lambda packed, prefix: ipaddress.IPv4Network((packed, prefix), strict=False),
    st.integers(0, 2**32 - 1),
    st.integers(0, 32),
)
v6_networks = st.builds(
    lambda packed, prefix: ipaddress.IPv6Network((packed, prefix), strict=False),
    st.integers(0, 2**128 - 1),
    st.integers(0, 128),
)
interfaces = st.one_of(
    st.builds(
        lambda packed, prefix: ipaddress.IPv4Interface((packed, prefix)), st.integers(0, 2**32 - 1), st.integers(0, 32)
    ),
    st.builds(
        lambda packed, prefix: ipaddress.IPv6Interface((packed, prefix)),
        st.integers(0, 2**128 - 1),
        st.integers(0, 128),
    ),
)
names = st.from_regex(r"[a-z]([a-z0-9-]{0,8}[a-z0-9])?(\.[a-z]{2,5}){0,2}", fullmatch=True)
hosts = st.one_of(st.ip_addresses().map(str), names, st.just("fe80::1%eth0.7"))
ports = st.integers(1, 65535)
resolvers = st.one_of(st.ip_addresses().map(str), names)
keepalives = st.none() | st.tuples(st.integers(1, 65535), st.integers(1, 65535)).map(
    lambda ends: Range(min(ends), max(ends))
)
commands = st.text(
    st.characters(exclude_characters="#", exclude_categories=["C", "Z"]) | st.just(" "), min_size=1, max_size=20
)
hooks = st.builds(Hook, st.sampled_from(HookTime), commands.map(lambda text: f"a{text}z"))

interface_sections = st.builds(
    InterfaceSection,
    private_key=keys | st.just(b""),
    listen_port=st.none() | st.integers(0, 65535),
    fwmark=st.integers(0, 2**32 - 1),
    addresses=st.lists(interfaces, max_size=3).map(tuple),
    dns=st.lists(resolvers, max_size=3).map(tuple),
    mtu=st.none() | st.integers(68, 65535),
    table=st.sampled_from(["auto", "off", "main", "51820"]),
    save_config=st.booleans(),
    parameters=all_parameters,
)
peer_sections = st.builds(
    PeerSection,
    public_key=keys,
    preshared_key=keys,
    allowed_ips=st.lists(v4_networks | v6_networks, max_size=3).map(tuple),
    endpoint=st.none() | st.tuples(hosts, ports),
    persistent_keepalive=keepalives,
    advanced_security=st.none() | st.booleans(),
)
confs = st.builds(
    TunnelConf,
    interface=interface_sections,
    peers=st.lists(peer_sections, max_size=3, unique_by=lambda peer: peer.public_key).map(tuple),
)
