"""The plan that makes a node what the record says: pure, from what is desired and what was observed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs

from pharos.wire.awg.params import ObfuscationParameters
from pharos.wire.desired import Fence, Peer, PeerSet, Policy, PreviousEndpoint, Push
from pharos.wire.ids import DeviceId
from pharos.wire.reality.params import RealityParameters

# A peer with two networks takes some 200 bytes; 2,000 of them stay well under the message cap of 1 MiB.
PEERS_PER_PUSH: Final = 2000
# A deny list may take 960 KiB of a message of 1 MiB: then it goes alone, and first.
_BESIDE: Final = 32 * 1024


@attrs.frozen(kw_only=True)
class AddPeer:
    """The node does not know this device, or knows something else of it."""

    peer: Peer


@attrs.frozen(kw_only=True)
class RemovePeer:
    """The node serves a device that the record does not."""

    device_id: DeviceId


@attrs.frozen(kw_only=True)
class SetParameters:
    """The node's obfuscation differs from the record."""

    parameters: ObfuscationParameters


@attrs.frozen(kw_only=True)
class SetReality:
    """The node's REALITY differs from the record."""

    parameters: RealityParameters


@attrs.frozen(kw_only=True)
class SetPrevious:
    """The parameters that it still serves beside them differ."""

    previous: tuple[PreviousEndpoint, ...]


@attrs.frozen(kw_only=True)
class SetAddresses:
    """The node's own addresses inside the tunnel differ from the record."""

    addresses: tuple[str, ...]


@attrs.frozen(kw_only=True)
class SetPolicy:
    """The node's network policy differs from the record."""

    policy: Policy


@attrs.frozen(kw_only=True)
class SetDenyList:
    """The node has an older deny list, or none."""

    blob: bytes


@attrs.frozen(kw_only=True)
class SetManifest:
    """The node has an older trust manifest, or none."""

    blob: bytes


Change = (
    SetManifest
    | SetDenyList
    | AddPeer
    | RemovePeer
    | SetParameters
    | SetReality
    | SetPrevious
    | SetAddresses
    | SetPolicy
)


@attrs.frozen(kw_only=True)
class DesiredTrust:
    """Whom every node of the fleet shall believe, and whom not."""

    manifest_version: int = 0
    manifest: bytes = attrs.field(default=b"", repr=False)
    deny_order: tuple[int, int] = (0, 0)
    """(epoch, version); zeros for none."""
    deny_list: bytes = attrs.field(default=b"", repr=False)


NO_TRUST: Final = DesiredTrust()


@attrs.frozen(kw_only=True)
class DesiredNode:
    """What the record says a node shall be."""

    revision: int
    awg: ObfuscationParameters
    reality: RealityParameters | None = None
    """None: it keeps what it has."""
    addresses: tuple[str, ...]
    peers: Mapping[DeviceId, Peer]
    policy: Policy = attrs.field(factory=Policy)
    previous: tuple[PreviousEndpoint, ...] = ()


def for_earlier(desired: DesiredNode) -> DesiredNode:
    """Return what a node of an earlier version shall be: it would cut whom it shall slow down, and so is told less."""
    peers = PeerSet.of(desired.peers)
    return desired if peers.unthrottled is peers else attrs.evolve(desired, peers=peers.unthrottled)


@attrs.frozen(kw_only=True)
class ObservedNode:
    """What a node said it is."""

    applied: Fence
    awg: ObfuscationParameters | None
    knows_reality: bool = False
    """Whether it is of a version that can be told of REALITY."""
    reality: RealityParameters | None = None
    addresses: tuple[str, ...]
    peers: Mapping[DeviceId, bytes | Peer]
    """What the node holds of each device: the digest that it reports, or the peer as it acknowledged it."""
    policy: Policy = attrs.field(factory=Policy)
    previous: tuple[PreviousEndpoint, ...] = ()
    manifest_version: int = 0
    deny_order: tuple[int, int] = (0, 0)


def reconcile(desired: DesiredNode, observed: ObservedNode, trust: DesiredTrust = NO_TRUST) -> list[Change]:
    """Return what has to change at the node: trust first, then parameters, removals before additions.

    A removal goes first, for a revoked device must not wait, and its address may pass to a new one.
    """
    changes: list[Change] = []
    if observed.manifest_version < trust.manifest_version:
        changes.append(SetManifest(blob=trust.manifest))
    if observed.deny_order < trust.deny_order:
        changes.append(SetDenyList(blob=trust.deny_list))
    if observed.awg != desired.awg:
        changes.append(SetParameters(parameters=desired.awg))
    if observed.knows_reality and desired.reality is not None and observed.reality != desired.reality:
        changes.append(SetReality(parameters=desired.reality))
    if observed.previous != (previous := _previous_for(desired, observed)):
        changes.append(SetPrevious(previous=previous))
    if observed.addresses != desired.addresses:
        changes.append(SetAddresses(addresses=desired.addresses))
    if observed.policy != desired.policy:
        changes.append(SetPolicy(policy=desired.policy))
    if observed.peers is not desired.peers:
        gone = observed.peers.keys() - desired.peers.keys()
        changes += [RemovePeer(device_id=device_id) for device_id in sorted(gone)]
        held = observed.peers
        different = (item for item in desired.peers.items() if not _is_held(held.get(item[0]), item[1]))
        changes += [AddPeer(peer=peer) for _, peer in sorted(different)]
    return changes


def _previous_for(desired: DesiredNode, observed: ObservedNode) -> tuple[PreviousEndpoint, ...]:
    """Return what this node can serve of the replaced parameters."""
    if observed.knows_reality or not desired.previous:
        return desired.previous
    left = (endpoint.without_reality() for endpoint in desired.previous)
    return tuple(endpoint for endpoint in left if endpoint is not None)


def _is_held(held: bytes | Peer | None, peer: Peer) -> bool:
    return held is peer or (held.digest if isinstance(held, Peer) else held) == peer.digest


def plan(
    desired: DesiredNode, observed: ObservedNode, trust: DesiredTrust = NO_TRUST, *, epoch: int, term: int
) -> list[Push]:
    """Return the pushes that carry out ``reconcile``: one, or several where one message would be too large.

    A node that has never been told anything gets a snapshot first. An empty change set is pushed too where the node
    obeyed another helm, or this one before it was started, so that it refuses whatever that may still say. For a
    revision that changes nothing there is nothing to be said.
    """
    changes = reconcile(desired, observed, trust)
    fence = Fence(epoch, term, desired.revision)
    fresh = observed.applied == Fence()
    if not changes and (observed.applied.epoch, observed.applied.term) == (epoch, term):
        return []
    upsert: list[Peer] = []
    remove: list[DeviceId] = []
    first = Push(fence=fence, snapshot=fresh)
    for change in changes:
        match change:
            case SetManifest(blob=blob):
                first = attrs.evolve(first, manifest=blob)
            case SetDenyList(blob=blob):
                first = attrs.evolve(first, deny_list=blob)
            case SetParameters(parameters=parameters):
                first = attrs.evolve(first, awg=parameters)
            case SetReality(parameters=reality):
                first = attrs.evolve(first, reality=reality)
            case SetPrevious(previous=previous):
                first = attrs.evolve(first, previous=previous)
            case SetAddresses(addresses=addresses):
                first = attrs.evolve(first, addresses=addresses)
            case SetPolicy(policy=policy):
                first = attrs.evolve(first, policy=policy)
            case RemovePeer(device_id=device_id):
                remove.append(device_id)
            case AddPeer(peer=peer):
                upsert.append(peer)
    taken = 0 if len(first.deny_list) > _BESIDE else PEERS_PER_PUSH
    parts = [upsert[:taken], *(upsert[at : at + PEERS_PER_PUSH] for at in range(taken, len(upsert), PEERS_PER_PUSH))]
    pushes = [attrs.evolve(first, upsert=tuple(parts[0]), remove=tuple(remove))]
    pushes += [Push(fence=fence, snapshot=False, upsert=tuple(part)) for part in parts[1:]]
    return pushes


def observed_after(
    observed: ObservedNode, desired: DesiredNode, applied: Fence, trust: DesiredTrust = NO_TRUST
) -> ObservedNode:
    """Return what the node is once it has acknowledged the plan: no status call is needed for the next one."""
    return attrs.evolve(
        observed,
        applied=applied,
        awg=desired.awg,
        reality=(desired.reality or observed.reality) if observed.knows_reality else None,
        addresses=desired.addresses,
        # One mapping for all nodes that have the same peers, and none for each of a thousand links.
        peers=desired.peers,
        policy=desired.policy,
        previous=_previous_for(desired, observed),
        manifest_version=max(observed.manifest_version, trust.manifest_version),
        deny_order=max(observed.deny_order, trust.deny_order),
    )
