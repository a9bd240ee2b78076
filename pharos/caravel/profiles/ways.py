"""Which ways in to a node this device believes: a REALITY key only with the node's own word for it (security.md §2d).

A helm in an enemy's hands knows no private key of a node, but it writes the profile. With a REALITY key of its own in
it, it could stand between a device and a node that the device knows. And there is a floor under which this device does
not go by itself, whatever a profile says: what looks like plain WireGuard is not dialled.
"""

from __future__ import annotations

import logging
from typing import Final

import attrs

from pharos.wire.awg.params import PLAIN
from pharos.wire.errors import LockError
from pharos.wire.ids import FleetId
from pharos.wire.profile import AMNEZIAWG, VLESS_REALITY, ProfileNode, RealityAccess
from pharos.wire.seal.realitykey import verify_reality_key

log = logging.getLogger(__name__)

TOO_PLAIN: Final = "its parameters hide nothing, and whoever watches would see WireGuard"


@attrs.frozen(kw_only=True)
class Examined:
    """A node, and what was found out about its ways in."""

    node: ProfileNode
    """Without those that are not believed."""
    refused: tuple[str, ...] = ()
    """Which those are, and why."""


def examine(fleet: FleetId, node: ProfileNode) -> Examined:
    """Check every REALITY key of a node against the derive key by which this device knows it; 0.2 ms a key.

    A way in by AmneziaWG whose parameters hide nothing is below the floor.
    """
    found: dict[tuple[bytes, bytes, int], str] = {}
    refused: list[str] = []
    access = []
    for way in node.access:
        if isinstance(way, RealityAccess):
            key = (way.public_key, way.proof, way.generation)
            if key not in found:
                found[key] = _fault_of(fleet, node, way)
            if found[key]:
                refused.append(f"{VLESS_REALITY} {way.host}:{way.port}: {found[key]}")
                continue
        elif way.parameters == PLAIN:
            refused.append(f"{AMNEZIAWG} {way.host}:{way.port}: {TOO_PLAIN}")
            continue
        access.append(way)
    for text in refused:
        log.warning("a way in to node %s is not used: %s", node.name, text)
    return Examined(node=attrs.evolve(node, access=tuple(access)), refused=tuple(refused))


def _fault_of(fleet: FleetId, node: ProfileNode, way: RealityAccess) -> str:
    try:
        verify_reality_key(
            way.public_key,
            way.proof,
            derive_key=node.derive_key,
            fleet=fleet,
            node=node.id,
            generation=way.generation,
        )
    except LockError as error:
        return str(error)
    return ""
