"""Network plans: one with something of everything in it, and any that there may be."""

from __future__ import annotations

import ipaddress
import json
from typing import Final

from hypothesis import strategies as st

from pharos.wire.desired import Policy
from pharos.wire.netpolicy import MAX_CONFINED, MAX_EGRESS, MAX_TARGETS, TUNNELS, NetworkPlan, Target
from pharos.wire.netrules import nft_document

PLAN: Final = NetworkPlan(
    interfaces=("awg0", "awg1"),
    networks=("10.7.0.0/16", "fd07::/64"),
    addresses=("10.7.0.1", "fd07::1"),
    policy=Policy(
        closed=("198.51.100.0/24", "2001:db8:5::/48"), resolvers=("192.0.2.53", "192.0.2.54", "2001:db8::53")
    ),
    egress=("eth0", "eth1"),
    allowed=("10.20.0.0/16", "fd20::/48"),
    transit=False,
    confined=(991, 992),
    allowed_users=("10.30.0.0/16", "fd30::/48"),
    machine_resolvers=("127.0.0.53", "10.0.0.2", "fd00::2"),
    targets=(Target(address="127.0.0.1", port=8443), Target(address="fd00::3", port=443), Target(address="", port=443)),
)

addresses = st.ip_addresses().map(str)
networks = st.builds(
    lambda address, length: str(ipaddress.ip_network((address, length % (address.max_prefixlen + 1)), strict=False)),
    st.ip_addresses(),
    st.integers(1, 128),
)
ports = st.integers(1, 65535)
policies = st.builds(
    Policy,
    peer_to_peer=st.booleans(),
    internet=st.booleans(),
    closed=st.lists(networks, max_size=5, unique=True).map(tuple),
    resolvers=st.lists(addresses, max_size=4, unique=True).map(tuple),
)
plans = st.builds(
    NetworkPlan,
    interfaces=st.lists(st.sampled_from(TUNNELS), min_size=1, unique=True).map(tuple),
    networks=st.lists(networks.filter(lambda text: not text.endswith("/0")), max_size=8, unique=True).map(tuple),
    addresses=st.lists(addresses, max_size=3, unique=True).map(tuple),
    policy=policies,
    own_resolvers=st.lists(addresses, max_size=3, unique=True).map(tuple),
    egress=st.lists(st.from_regex(r"e[a-z0-9_.-]{0,14}", fullmatch=True), max_size=MAX_EGRESS, unique=True).map(tuple),
    allowed=st.lists(networks, max_size=4, unique=True).map(tuple),
    node_ports=st.lists(ports, max_size=4, unique=True).map(tuple),
    transit=st.booleans(),
    confined=st.lists(st.integers(1, 2**32 - 2), max_size=MAX_CONFINED, unique=True).map(tuple),
    allowed_users=st.lists(networks, max_size=4, unique=True).map(tuple),
    machine_resolvers=st.lists(addresses, max_size=3, unique=True).map(tuple),
    targets=st.lists(
        st.builds(Target, address=st.one_of(st.just(""), addresses), port=ports), max_size=MAX_TARGETS, unique=True
    ).map(tuple),
)


def render_document() -> str:
    """Return the table of `PLAN`, a command of nft a line."""
    return "".join(f"{json.dumps(command)}\n" for command in nft_document(PLAN)["nftables"])
