"""Which node of a profile is meant, and whether it may be used."""

from __future__ import annotations

from collections.abc import Mapping

from pharos.caravel.errors import NodeRefusedError, NoSuchNodeError
from pharos.caravel.profiles.pins import Standing
from pharos.wire.ids import NodeId
from pharos.wire.profile import AMNEZIAWG, Profile, ProfileNode


def choose_node(
    profile: Profile, standings: Mapping[NodeId, Standing], wanted: str | None, *, protocol: str = AMNEZIAWG
) -> ProfileNode:
    """Return the node with that id or name; None takes the first that is known, one with ``protocol`` if there is one.

    Raises: NoSuchNodeError — there is none. NodeRefusedError — it is there, and not to be trusted.
    """
    if wanted is None:
        # One that no tunnel leads to is better than none to say so.
        nodes = sorted(profile.nodes, key=lambda node: not (node.amneziawg if protocol == AMNEZIAWG else node.reality))
        known = [node for node in nodes if standings[node.id] is Standing.KNOWN]
        if known or not profile.nodes:
            return known[0] if known else find_node(profile, None)
        others = ", ".join(f"{node.name} ({standings[node.id].value})" for node in profile.nodes)
        raise NoSuchNodeError(f"no node of the profile is known for a day; name one of them yourself: {others}")
    node = find_node(profile, wanted)
    if standings[node.id] is Standing.CHANGED:
        raise NodeRefusedError(
            f"node {node.name} has other keys than this device knows; ask its owner, then:"
            f" caravel profiles --confirm {node.name}"
        )
    if standings[node.id] is Standing.UNSIGNED:
        raise NodeRefusedError(f"node {node.name} is not signed by the fleet lock; its owner has to: helm lock sign")
    if standings[node.id] is Standing.NOT_ALLOWED:
        raise NodeRefusedError(f"node {node.name} is new, and this device's organisation takes no new ones by itself")
    if standings[node.id] is Standing.DENIED:
        raise NodeRefusedError(f"node {node.name} was put out of the fleet; sync for a profile without it")
    return node


def find_node(profile: Profile, wanted: str | None) -> ProfileNode:
    """Return the node with that id or name; None takes the first.

    Raises: NoSuchNodeError.
    """
    found = [node for node in profile.nodes if wanted is None or wanted in (node.id, node.name)]
    if not found:
        known = ", ".join(node.name for node in profile.nodes) or "none"
        raise NoSuchNodeError(f"the profile has no node {wanted!r}; it has: {known}")
    return found[0]


def resolvers_of(profile: Profile) -> tuple[str, ...]:
    """Return whom to ask for names in the tunnel.

    A node takes questions to itself whomever they are meant for (docs/guide/network.md); where none are named, those to
    its own address do.
    """
    if profile.resolvers:
        return profile.resolvers
    return profile.nodes[0].addresses if profile.nodes else ()
