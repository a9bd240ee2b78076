"""Of what a browser makes configuration files for an exported device: public facts only, and digests of them.

The private keys, the PSKs and the VLESS ids are computed where the private keys were made (docs/guide/exported.md), and
never come here. A digest is of what one file says of one node, so that it can be told later whether the file still
holds: it leaves out what no file says, such as the ports that a node keeps for a re-issue.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

import attrs

from pharos.helm.model.devices import Device
from pharos.helm.model.nodes import Node, NodeState
from pharos.helm.model.users import Protocol
from pharos.helm.profiles.build import node_addresses, peer_networks
from pharos.helm.profiles.record import FleetRecord
from pharos.helm.profiles.ways import ways_of
from pharos.helm.store.pairs import FIRST_GENERATION
from pharos.wire.awg.confkeys import PARAMETER_KEYS
from pharos.wire.awg.params import PLAIN, ObfuscationParameters
from pharos.wire.ids import NodeId
from pharos.wire.profile import AmneziaWgAccess, RealityAccess

Json = dict[str, Any]
Digests = dict[tuple[NodeId, str], bytes]
"""SHA-256 of what is said of one way into one node, by the node and the name of the protocol."""

# As the node's own interface has it: what WireGuard leaves of 1,500 octets over IPv6, and S4 octets less.
MTU: Final = 1420
# IPv6's own (RFC 8200 §5).
_LEAST_MTU: Final = 1280
_EVERYWHERE: Final = ["0.0.0.0/0", "::/0"]
# What both ends have to agree on; the rest concerns the end that sends alone (`pharos.wire.awg.params`).
_SHARED: Final = (*("s1", "s2", "s3", "s4", "h1", "h2", "h3", "h4"), "header_protection_key", "random_trailers")


@attrs.frozen(kw_only=True)
class _Shown:
    """A node that an exported device may use, and the ways into it: those of today, the best of each kind first."""

    node: Node
    generation: int
    amneziawg: tuple[AmneziaWgAccess, ...]
    reality: tuple[RealityAccess, ...]


def configuration_of(record: FleetRecord, device: Device, *, pools: tuple[str, ...], revision: int) -> Json:
    """Return what a browser has to know to make the files of a device. ``pools`` are the networks of devices.

    ``revision`` is that of profiles, of which this is told.
    """
    addresses = node_addresses(record.fleet)
    named = record.policy.resolvers
    return {
        "device": device.id,
        "name": device.name,
        "fleet": record.fleet.id,
        "revision": revision,
        "keys": {"derive": device.derive_key.hex(), "awg": device.awg_key.hex()},
        "addresses": list(peer_networks(device)),
        "address4": device.address4,
        "address6": device.address6,
        "resolvers": list(named),
        # A node answers questions for whomever they are meant; its own address is one that no router at home has.
        "dns": list(named or addresses),
        "allowed_ips": _EVERYWHERE if record.policy.internet else [*pools, *map(_host, named)],
        "nodes": [_node(shown) for shown in _shown(record, device, {NodeState.ACTIVE})],
    }


def digests_of(record: FleetRecord, device: Device, *, new: bool = False) -> Digests:
    """Return a digest of each way that files may have been made of; ``new``: of those that are made now.

    A node that is drained or disabled is in no new file, and does not make the old ones worthless.
    """
    digests: Digests = {}
    for shown in _shown(record, device, {NodeState.ACTIVE} if new else set(NodeState) - {NodeState.REVOKED}):
        node = _node(shown)
        common = [device.address4, device.address6, node["awg_key"], node["derive_key"], node["generation"]]
        if shown.amneziawg:
            resolvers, everywhere = list(record.policy.resolvers), record.policy.internet
            said = [*common, node["endpoints"][0], node["parameters"], resolvers, everywhere]
            digests[shown.node.id, Protocol.AMNEZIAWG.value] = _digest(said)
        if node["reality"] is not None:
            said = [*common, {name: value for name, value in node["reality"].items() if name != "spare_ports"}]
            digests[shown.node.id, Protocol.REALITY.value] = _digest(said)
    return digests


def _shown(record: FleetRecord, device: Device, states: Collection[NodeState]) -> Iterator[_Shown]:
    pairs, access = record.pairs.get(device.id, {}), record.rules.of(device.user_id)
    # What is served of yesterday's parameters is in no new file.
    today = attrs.evolve(record, previous={})
    for node in record.nodes:
        ways = ways_of(today, node, access.nodes[node.id]) if node.state in states and node.id in access.nodes else ()
        if not ways:
            continue
        pair = pairs.get(node.id)
        yield _Shown(
            node=node,
            generation=FIRST_GENERATION if pair is None else pair.acknowledged,
            amneziawg=tuple(way for way in ways if isinstance(way, AmneziaWgAccess)),
            reality=tuple(way for way in ways if isinstance(way, RealityAccess)),
        )


def _node(shown: _Shown) -> Json:
    node = shown.node
    parameters = shown.amneziawg[0].parameters if shown.amneziawg else None
    return {
        "id": node.id,
        "name": node.name,
        "generation": shown.generation,
        "awg_key": node.awg_key.hex(),
        "derive_key": node.derive_key.hex(),
        "endpoints": [{"host": way.host.lower(), "port": way.port} for way in shown.amneziawg],
        "parameters": None if parameters is None else parameter_lines(parameters),
        "amneziawg": None if parameters is None else str(parameters.generation),
        "wireguard": parameters is not None and is_wireguard(parameters),
        "mtu": None if parameters is None else max(_LEAST_MTU, MTU - parameters.s4),
        "reality": _reality(shown.reality),
    }


def _reality(ways: tuple[RealityAccess, ...]) -> Json | None:
    if not ways:
        return None
    first, *others = ways
    return {
        "address": first.host.lower(),
        "port": first.port,
        "spare_ports": [way.port for way in others],
        "public_key": first.public_key.hex(),
        "generation": first.generation,
        "short_id": first.short_ids[0] if first.short_ids else "",
        "server_names": list(first.server_names),
        "flow": first.flow,
        "fingerprint": first.fingerprint,
    }


def parameter_lines(parameters: ObfuscationParameters) -> dict[str, str]:
    """Return what is not as in WireGuard, by the keys of a configuration file and in their order."""
    found = ((key, getattr(parameters, key.field)) for key in PARAMETER_KEYS)
    return {key.name: key.write(value) for key, value in found if value != getattr(PLAIN, key.field)}


def is_wireguard(parameters: ObfuscationParameters) -> bool:
    """Tell whether a program that knows nothing but WireGuard reaches who has these: what both have to share is its."""
    return all(getattr(parameters, name) == getattr(PLAIN, name) for name in _SHARED)


def _host(address: str) -> str:
    return f"{address}/{128 if ':' in address else 32}"


def _digest(said: list[Any]) -> bytes:
    return hashlib.sha256(json.dumps(said, separators=(",", ":"), sort_keys=True).encode()).digest()


def are_current(noted: Mapping[tuple[NodeId, str], bytes], now: Mapping[tuple[NodeId, str], bytes]) -> bool:
    """Tell whether every way that was in the files of a device is what it was; others may have come."""
    return all(now.get(way) == digest for way, digest in noted.items())
