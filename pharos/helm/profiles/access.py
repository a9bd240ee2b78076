"""Who may use which nodes, and how: groups, members, nodes and devices in, a set of nodes for each device out; pure.

A group grants node tags times protocols to its members. Without any group everybody may use everything; as soon as
there is one, a device may use what the groups of its user grant together, and nothing besides.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Final

import attrs

from pharos.helm.model.nodes import Node
from pharos.helm.model.users import Group, Protocol
from pharos.wire.ids import NodeId

EVERY_PROTOCOL: Final = frozenset(protocol.value for protocol in Protocol)


@attrs.frozen(eq=False)
class AccessSet:
    """What one combination of groups opens; devices with the same groups share one object, and compare by it."""

    nodes: Mapping[NodeId, tuple[str, ...]]
    """Names of the protocols at each node that may be used, sorted; empty: all of them."""


@attrs.frozen(kw_only=True)
class AccessRules:
    """What the record says of access, for as many devices as there are."""

    groups: tuple[Group, ...]
    memberships: Mapping[str, Collection[str]]
    """Ids of groups by the id of a user who is listed in them."""
    offered: frozenset[str] = EVERY_PROTOCOL
    """Names of the protocols that the fleet offers at all."""
    nodes: tuple[Node, ...]
    _known: dict[frozenset[str], AccessSet] = attrs.field(factory=dict, init=False, repr=False, eq=False)
    _of_user: dict[str | None, AccessSet] = attrs.field(factory=dict, init=False, repr=False, eq=False)

    def of(self, user_id: str | None) -> AccessSet:
        """Return what a user's devices may use; None is a device of nobody in particular, who is in what is for all."""
        known = self._of_user.get(user_id)
        if known is None:
            known = self._of_user[user_id] = self._of_groups(user_id)
        return known

    def _of_groups(self, user_id: str | None) -> AccessSet:
        listed = frozenset(self.memberships.get(user_id, ()) if user_id is not None else ())
        key = frozenset(group.id for group in self.groups if group.everybody or group.id in listed)
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = grant([g for g in self.groups if g.id in key], self)
        return known


def grant(groups: Iterable[Group], rules: AccessRules) -> AccessSet:
    """Return what these of the groups grant together: at each node the protocols of any of them."""
    granted: dict[NodeId, tuple[str, ...]] = {}
    own = list(groups)
    for node in rules.nodes:
        if rules.groups:
            open_here = [group for group in own if not group.node_tags or set(group.node_tags) & set(node.tags)]
            protocols = frozenset(protocol.value for group in open_here for protocol in group.protocols)
        else:
            protocols = EVERY_PROTOCOL
        usable = protocols & rules.offered
        if usable:
            granted[node.id] = () if usable == EVERY_PROTOCOL else tuple(sorted(usable))
    return AccessSet(granted)
