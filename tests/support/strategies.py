"""Hypothesis strategies for the values that travel: keys, peers, parameters, pushes."""

import hashlib
import ipaddress
import random

import attrs
from hypothesis import settings
from hypothesis import strategies as st

from pharos.wire.awg.generate import generate
from pharos.wire.awg.params import PLAIN, ObfuscationParameters
from pharos.wire.desired import Fence, Peer, Policy, PreviousEndpoint, Push, QuotaLease
from pharos.wire.ids import DeviceId
from pharos.wire.reality import params as reality
from pharos.wire.reports import RealityKey, RealityReport

quick = settings(max_examples=50, deadline=None)
"""For every property of the suite that all of `make test` runs: a shared, noisy machine must not decide on it."""

keys = st.binary(min_size=32, max_size=32)
labels = st.from_regex(r"[a-z0-9](?:[a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True)
fences = st.builds(Fence, *[st.integers(0, 2**63)] * 3)

junk_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=8), children, max_size=3),
    max_leaves=8,
)
"""Anything that JSON can say, NaN and the infinities of Python's dialect included."""


def parameters_of(seed: int) -> ObfuscationParameters:
    """Return good parameters, the same for the same seed; seed 0 is plain WireGuard."""
    return generate(random.Random(seed).randbytes) if seed else PLAIN


parameters = st.integers(0, 50).map(parameters_of)


def reality_of(seed: int, *, after: int = 0) -> reality.RealityParameters:
    """Return good parameters of REALITY, the same for the same seed."""
    return reality.generate(random.Random(seed).randbytes, target=f"site-{seed}.example:443", after=after)


realities = st.builds(reality_of, st.integers(0, 50), after=st.integers(0, 2**32 - 2))
reality_keys = st.builds(
    RealityKey,
    generation=st.integers(1, 2**32 - 1),
    public_key=keys,
    proof=st.binary(min_size=64, max_size=64),
)
reality_reports = st.builds(
    RealityReport,
    parameters=st.none() | realities,
    keys=st.lists(reality_keys, max_size=3, unique_by=lambda key: key.generation).map(tuple),
    port=st.integers(0, 65535),
)


def peer_of(number: int, *, key: int = 0, generation: int = 1) -> Peer:
    """Return device ``number``; another ``key`` is the same device with another AmneziaWG key."""
    return Peer(
        device_id=DeviceId(f"device-{number}"),
        awg_key=hashlib.sha256(b"awg %d %d" % (number, key)).digest(),
        derive_key=hashlib.sha256(b"derive %d" % number).digest(),
        generation=generation,
        addresses=(
            f"{ipaddress.IPv4Address(0x0A560002 + number)}/32",
            f"{ipaddress.IPv6Address((0xFD << 120) + 2 + number)}/128",
        ),
    )


counts = st.integers(0, 2**63 - 1)
quotas = st.none() | st.builds(QuotaLease, id=counts, octets=counts, throttle=st.just(0) | counts)
protocols = st.lists(labels, max_size=3, unique=True).map(lambda names: tuple(sorted(names)))
plain_peers = st.builds(peer_of, st.integers(0, 2000), key=st.integers(0, 3), generation=st.integers(1, 2**32 - 1))
peers = st.builds(attrs.evolve, plain_peers, expires_at=counts, quota=quotas, rate_limit=counts, protocols=protocols)
peer_lists = st.lists(peers, max_size=6, unique_by=lambda peer: peer.device_id)

node_addresses = st.lists(st.ip_addresses().map(str), max_size=3).map(tuple)

policies = st.builds(
    Policy,
    peer_to_peer=st.booleans(),
    internet=st.booleans(),
    closed=st.lists(st.ip_addresses().map(lambda address: str(ipaddress.ip_network(address))), max_size=3).map(tuple),
    resolvers=node_addresses,
)
previous_endpoints = st.lists(
    st.builds(
        lambda port, old, until: PreviousEndpoint(port=port, awg=old[0], reality=old[1], until=until),
        st.integers(1, 65535),
        st.tuples(parameters, st.none() | realities) | st.tuples(st.none(), realities),
        st.integers(1, 2**63 - 1),
    ),
    max_size=2,
).map(tuple)

pushes = st.builds(
    Push,
    fence=fences,
    snapshot=st.booleans(),
    upsert=peer_lists.map(tuple),
    remove=st.lists(labels.map(DeviceId), max_size=4).map(tuple),
    awg=st.none() | parameters,
    reality=st.none() | realities,
    addresses=node_addresses,
    policy=st.none() | policies,
    previous=st.none() | previous_endpoints,
    deny_list=st.binary(max_size=9),
    manifest=st.binary(max_size=9),
    checkpoint=st.binary(max_size=9),
)
