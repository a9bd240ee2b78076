"""Profiles as octets, for many devices: what they have in common is rendered once for each access set."""

from __future__ import annotations

import attrs

from pharos.helm.model.devices import Device
from pharos.helm.model.nodes import Node
from pharos.helm.profiles.access import AccessSet
from pharos.helm.profiles.build import nodes_shown, peer_networks, profile_node, profile_relays
from pharos.helm.profiles.record import FleetRecord
from pharos.helm.store.pairs import Pair
from pharos.wire.ids import NodeId
from pharos.wire.profile import render_common, render_node, render_own


@attrs.define(eq=False)
class Renderer:
    """Renders any device's profile by one reading of the record."""

    record: FleetRecord
    _commons: dict[AccessSet, bytes] = attrs.field(factory=dict, init=False)
    _nodes: dict[tuple[NodeId, tuple[str, ...]], bytes] = attrs.field(factory=dict, init=False)

    def render(self, device: Device) -> bytes:
        """Return the profile of a device, as `render_profile` would."""
        access, pairs = self.record.rules.of(device.user_id), self.record.pairs.get(device.id)
        if pairs:
            # It has generations of its own.
            common = self._common(access, dict(pairs))
        else:
            known = self._commons.get(access)
            if known is None:
                known = self._commons[access] = self._common(access, {})
            common = known
        return render_own(device.id, peer_networks(device)) + common

    def _common(self, access: AccessSet, pairs: dict[NodeId, Pair]) -> bytes:
        record = self.record
        return render_common(
            record.fleet.id,
            [self._node(node, protocols, pairs.get(node.id)) for node, protocols in nodes_shown(record, access)],
            profile_relays(record.relays),
            resolvers=record.policy.resolvers,
            lock_key=record.lock_key,
        )

    def _node(self, node: Node, protocols: tuple[str, ...], pair: Pair | None) -> bytes:
        if pair is not None:
            return render_node(profile_node(self.record, node, protocols, pair))
        known = self._nodes.get((node.id, protocols))
        if known is None:
            known = render_node(profile_node(self.record, node, protocols))
            self._nodes[node.id, protocols] = known
        return known
