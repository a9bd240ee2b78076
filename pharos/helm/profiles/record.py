"""All of the record that profiles and peers are made of, read at one moment."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import attrs

from pharos.helm.model.fleet import Fleet
from pharos.helm.model.nodes import Node, NodeState
from pharos.helm.model.relays import Relay
from pharos.helm.profiles.access import AccessRules
from pharos.helm.profiles.policy import read_policy
from pharos.helm.store.database import Database
from pharos.helm.store.fleet import get_fleet
from pharos.helm.store.locks import get_lock_key
from pharos.helm.store.nodes import list_nodes
from pharos.helm.store.pairs import Pair, moved_pairs, pairs_of_device
from pharos.helm.store.realitykeys import ServedReality, served_reality
from pharos.helm.store.reissues import previous_endpoints
from pharos.helm.store.relays import list_relays
from pharos.helm.store.settings import setting
from pharos.helm.store.users import list_groups, list_memberships
from pharos.wire.desired import Policy, PreviousEndpoint
from pharos.wire.ids import DeviceId, NodeId


@attrs.frozen(kw_only=True)
class FleetRecord:
    """What devices have in common."""

    fleet: Fleet
    nodes: tuple[Node, ...]
    relays: tuple[Relay, ...] = ()
    rules: AccessRules
    policy: Policy = attrs.field(factory=Policy)
    previous: Mapping[NodeId, tuple[PreviousEndpoint, ...]] = attrs.field(factory=dict)
    """What nodes still serve of old parameters."""
    reality: Mapping[NodeId, ServedReality] = attrs.field(factory=dict)
    """Of the nodes that serve REALITY."""
    lock_key: bytes = b""
    """Ed25519 public key of the fleet lock; empty: there is none."""
    pairs: Mapping[DeviceId, Mapping[NodeId, Pair]] = attrs.field(factory=dict)
    """Those that are not in their first generation, or are to leave it."""


def read_record(db: Database) -> FleetRecord:
    """Read it for all devices."""
    pairs: dict[DeviceId, dict[NodeId, Pair]] = defaultdict(dict)
    for pair in moved_pairs(db):
        pairs[pair.device_id][pair.node_id] = pair
    return FleetRecord(**_common(db), pairs=pairs)


def read_record_for(db: Database, device_id: DeviceId) -> FleetRecord:
    """Read it for one device only."""
    return FleetRecord(**_common(db), pairs={device_id: pairs_of_device(db, device_id)})


def read_common(db: Database) -> FleetRecord:
    """Read it without the generations of any device: enough to tell which nodes are in profiles."""
    return FleetRecord(**_common(db))


def _common(db: Database) -> dict[str, Any]:
    nodes = tuple(list_nodes(db))
    return {
        "fleet": get_fleet(db),
        "nodes": nodes,
        "relays": tuple(list_relays(db)),
        "rules": AccessRules(
            groups=tuple(list_groups(db)),
            memberships=list_memberships(db),
            offered=frozenset(setting(db, "protocols")),
            nodes=tuple(node for node in nodes if node.state is not NodeState.REVOKED),
        ),
        "policy": read_policy(db),
        "previous": previous_endpoints(db),
        "reality": served_reality(db),
        "lock_key": get_lock_key(db) or b"",
    }
