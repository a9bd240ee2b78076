"""Which nodes this device knows, and by which keys, whatever helm says: pure (security.md §2d).

A helm in an enemy's hands can sign profiles, and so hand out nodes of its own. So the nodes of the first profile are
known; one that appears later is new for a day, in which it is not chosen by itself; and a known node with other keys is
refused, unless the old keys say that the new ones follow, or the user does. Where there is a fleet lock, a node that it
has not signed is refused; its signature lifts the wait, once the lock itself has been known for a day.
"""

from __future__ import annotations

import base64
import enum
from collections.abc import Mapping
from typing import Any, Final, Self

import attrs

from pharos.wire.errors import LockError
from pharos.wire.ids import FleetId, NodeId
from pharos.wire.profile import Profile, ProfileNode
from pharos.wire.seal.lock import verify_node_lock
from pharos.wire.seal.successor import NodeKeys, verify_successor

WAIT: Final = 24 * 3600 * 1_000_000
"""Microseconds: an owner who reads what helm reports has a day to see a node that nobody added."""
MAX_PINS: Final = 10_000
"""Nodes that are remembered, gone ones included: six times as many as fit into a profile."""
ALWAYS: Final = 0
"""Instead of the time at which something was first seen: it was there from the beginning, or the user confirmed it."""


class Standing(enum.Enum):
    """What this device makes of a node of its profile."""

    KNOWN = "known"
    NEW = "new"
    """Seen for less than a day: it is used if the user names it, and not chosen otherwise."""
    CHANGED = "changed"
    """It has other keys than it had, and nobody who may says so: refused."""
    UNSIGNED = "unsigned"
    """There is a fleet lock, and it has not signed this: refused."""

    DENIED = "denied"
    """The fleet's deny list has it: refused."""
    NOT_ALLOWED = "not-allowed"
    """It is new, and the organisation that manages this device takes no new ones: refused."""

    @property
    def refused(self) -> bool:
        """Whether it is not even used when it is named."""
        return self not in (Standing.KNOWN, Standing.NEW)


@attrs.frozen(kw_only=True)
class Pin:
    """A node as it was seen."""

    keys: NodeKeys
    seen_at: int
    """Microseconds since 1970, of this device's clock; `ALWAYS`."""


@attrs.frozen(kw_only=True)
class Pins:
    """All that is remembered."""

    nodes: Mapping[NodeId, Pin] = attrs.field(factory=dict)
    lock_key: bytes = b""
    """Of the fleet lock that this device has seen, whatever profiles say now; empty: none yet."""
    lock_seen_at: int = ALWAYS

    def after(self, profile: Profile, *, now: int, first: bool) -> Self:
        """Return what is remembered once a profile has come. ``first`` is that of the enrolment.

        A known node whose keys changed keeps its pin, unless the old keys have signed the new.
        """
        nodes = dict(self.nodes)
        for node in profile.nodes:
            keys, pin = keys_of(node), nodes.get(node.id)
            if keys is None:
                continue
            if pin is None:
                nodes[node.id] = Pin(keys=keys, seen_at=ALWAYS if first else now)
            elif pin.keys != keys and _follows(profile.fleet, node, pin.keys, keys):
                nodes[node.id] = attrs.evolve(pin, keys=keys)
        lock_key, lock_seen_at = self.lock_key, self.lock_seen_at
        if not lock_key and profile.lock_key:
            lock_key, lock_seen_at = profile.lock_key, ALWAYS if first else now
        return attrs.evolve(self, nodes=_bounded(nodes, profile), lock_key=lock_key, lock_seen_at=lock_seen_at)

    def confirmed(self, node: ProfileNode) -> Self:
        """Return what is remembered once the user has said that a node is as it should be."""
        keys = keys_of(node)
        if keys is None:
            return self
        return attrs.evolve(self, nodes={**self.nodes, node.id: Pin(keys=keys, seen_at=ALWAYS)})

    def standing(self, fleet: FleetId, node: ProfileNode, *, now: int, wait: int | None = WAIT) -> Standing:
        """Return what to make of a node of the profile that these pins have seen.

        ``wait`` is how long one is new, in microseconds; None: for ever, and then it is not even used when it is named.
        """
        pin, keys = self.nodes.get(node.id), keys_of(node)
        if pin is None or keys is None:
            return Standing.NEW if wait is not None else Standing.NOT_ALLOWED
        if pin.keys != keys:
            return Standing.CHANGED
        signed = self._is_signed(fleet, node, keys)
        if self.lock_key and not signed:
            return Standing.UNSIGNED
        # A lock that came later than the enrolment could be an enemy's: it waits as nodes do.
        if _is_settled(pin.seen_at, now, wait) or (signed and _is_settled(self.lock_seen_at, now, WAIT)):
            return Standing.KNOWN
        return Standing.NEW if wait is not None else Standing.NOT_ALLOWED

    def _is_signed(self, fleet: FleetId, node: ProfileNode, keys: NodeKeys) -> bool:
        if not self.lock_key:
            return False
        try:
            verify_node_lock(
                node.lock_signature,
                lock_key=self.lock_key,
                fleet=fleet,
                node=node.id,
                awg_key=keys.awg,
                derive_key=keys.derive,
            )
        except LockError:
            return False
        return True

    def as_json(self) -> dict[str, Any]:
        """Return them for a state file."""
        return {
            "lock_key": _encode(self.lock_key),
            "lock_seen_at": self.lock_seen_at,
            "nodes": {
                node_id: [_encode(pin.keys.awg), _encode(pin.keys.derive), pin.seen_at]
                for node_id, pin in self.nodes.items()
            },
        }

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Self:
        """Read them.

        Raises: KeyError, TypeError, ValueError — they are none.
        """
        return cls(
            nodes={
                NodeId(node_id): Pin(keys=NodeKeys(awg=_decode(awg), derive=_decode(derive)), seen_at=int(seen_at))
                for node_id, (awg, derive, seen_at) in body["nodes"].items()
            },
            lock_key=_decode(body["lock_key"]),
            lock_seen_at=int(body["lock_seen_at"]),
        )


def keys_of(node: ProfileNode) -> NodeKeys | None:
    """Return a node's keys; None where it offers no way in that this version knows."""
    return NodeKeys(awg=node.awg_key, derive=node.derive_key) if node.awg_key else None


def _is_settled(seen_at: int, now: int, wait: int | None) -> bool:
    return seen_at == ALWAYS or (wait is not None and now - seen_at >= wait)


def _follows(fleet: FleetId, node: ProfileNode, before: NodeKeys, after: NodeKeys) -> bool:
    try:
        verify_successor(node.key_proof, fleet=fleet, node=node.id, before=before, after=after)
    except LockError:
        return False
    return True


def _bounded(nodes: dict[NodeId, Pin], profile: Profile) -> dict[NodeId, Pin]:
    """Forget the latest of those that are gone, where there are too many: helm must not fill this disk.

    The earliest stay, so that no number of strangers makes this device forget whom it knew before them.
    """
    if len(nodes) <= MAX_PINS:
        return nodes
    present = {node.id for node in profile.nodes}
    gone = sorted(((pin.seen_at, node_id) for node_id, pin in nodes.items() if node_id not in present), reverse=True)
    forgotten = {node_id for _, node_id in gone[: len(nodes) - MAX_PINS]}
    return {node_id: pin for node_id, pin in nodes.items() if node_id not in forgotten}


def _encode(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _decode(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
