"""The plan that makes a node what the record says: pure, from what is desired and what was observed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs

from pharos.wire.awg.params import ObfuscationParameters
from pharos.wire.desired import Fence, Peer, Push
from pharos.wire.ids import DeviceId

# A peer with two networks takes some 150 bytes; 2,000 of them stay well under the message cap of 1 MiB.
PEERS_PER_PUSH: Final = 2000


@attrs.frozen(kw_only=True)
class AddPeer:
    """The node does not know this device, or knows another key of it."""

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
class SetAddresses:
    """The node's own addresses inside the tunnel differ from the record."""

    addresses: tuple[str, ...]


Change = AddPeer | RemovePeer | SetParameters | SetAddresses


@attrs.frozen(kw_only=True)
class DesiredNode:
    """What the record says a node shall be."""

    revision: int
    awg: ObfuscationParameters
    addresses: tuple[str, ...]
    peers: Mapping[DeviceId, Peer]


@attrs.frozen(kw_only=True)
class ObservedNode:
    """What a node said it is."""

    applied: Fence
    awg: ObfuscationParameters | None
    addresses: tuple[str, ...]
    peers: Mapping[DeviceId, bytes | Peer]
    """By device: the AmneziaWG key that the node reported, or the peer as helm pushed it."""


def reconcile(desired: DesiredNode, observed: ObservedNode) -> list[Change]:
    """Return what has to change at the node, parameters first, removals before additions.

    A removal goes first, for a revoked device must not wait, and its address may pass to a new one.
    """
    changes: list[Change] = []
    if observed.awg != desired.awg:
        changes.append(SetParameters(parameters=desired.awg))
    if observed.addresses != desired.addresses:
        changes.append(SetAddresses(addresses=desired.addresses))
    changes += [RemovePeer(device_id=device_id) for device_id in sorted(observed.peers.keys() - desired.peers.keys())]
    for device_id, peer in sorted(desired.peers.items()):
        seen = observed.peers.get(device_id)
        if seen != (peer.awg_key if isinstance(seen, bytes) else peer):
            changes.append(AddPeer(peer=peer))
    return changes


def plan(desired: DesiredNode, observed: ObservedNode, *, epoch: int, term: int) -> list[Push]:
    """Return the pushes that carry out ``reconcile``: one, or several where one message would be too large.

    A node that has never been told anything gets a snapshot first. An empty change set is pushed too where the node's
    fence is behind, so that it refuses whatever an older helm may still say.
    """
    changes = reconcile(desired, observed)
    fence = Fence(epoch, term, desired.revision)
    fresh = observed.applied == Fence()
    if not changes and observed.applied == fence:
        return []
    upsert = [change.peer for change in changes if isinstance(change, AddPeer)]
    remove = tuple(change.device_id for change in changes if isinstance(change, RemovePeer))
    parameters = next((change.parameters for change in changes if isinstance(change, SetParameters)), None)
    addresses: tuple[str, ...] = next((c.addresses for c in changes if isinstance(c, SetAddresses)), ())
    first = Push(
        fence=fence,
        snapshot=fresh,
        upsert=tuple(upsert[:PEERS_PER_PUSH]),
        remove=remove,
        awg=parameters,
        addresses=addresses,
    )
    rest = [
        Push(fence=fence, snapshot=False, upsert=tuple(upsert[start : start + PEERS_PER_PUSH]))
        for start in range(PEERS_PER_PUSH, len(upsert), PEERS_PER_PUSH)
    ]
    return [first, *rest]


def observed_after(observed: ObservedNode, desired: DesiredNode, applied: Fence) -> ObservedNode:
    """Return what the node is once it has acknowledged the plan: no status call is needed for the next one."""
    return attrs.evolve(
        observed, applied=applied, awg=desired.awg, addresses=desired.addresses, peers=dict(desired.peers)
    )
