"""What a restored helm learns from a node before it tells it anything, and what people decide about it afterwards.

A backup is old: since it was made devices were revoked, others enrolled, and rows of the audit written. The nodes know.
Revocations come back by themselves and never end by a restore; peers that the record does not know are served on until
somebody adopts or refuses them; an audit that went on elsewhere is told.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import attrs

from pharos.helm.accounts.devices import move_device
from pharos.helm.alerts.acts import raise_alert
from pharos.helm.audit.checkpoints import signing_keys
from pharos.helm.backup.decide import pair_of
from pharos.helm.backup.fence import raise_epoch
from pharos.helm.ca.authority import Authority
from pharos.helm.errors import ConflictError
from pharos.helm.fleet.nodes import move_node
from pharos.helm.fleet.relays import move_relay
from pharos.helm.model.adoptions import Adoption, AdoptionState, Inventory
from pharos.helm.model.alerts import Severity
from pharos.helm.model.devices import DeviceAct, DeviceState
from pharos.helm.model.nodes import NodeAct, NodeState
from pharos.helm.store.adoptions import ADOPTIONS, adoptions_at, is_recorded, must_be_read, note_read
from pharos.helm.store.audit import audit_head
from pharos.helm.store.changes import Act
from pharos.helm.store.database import Database
from pharos.helm.store.denials import add_denials, deny_list
from pharos.helm.store.devices import DEVICES
from pharos.helm.store.fleet import next_revision
from pharos.helm.store.ids import fresh_id
from pharos.helm.store.nodes import NODES
from pharos.helm.store.pairs import FIRST_GENERATION, Pair, pairs_of_node, put_pairs
from pharos.helm.store.records import add_record, change_record, find_record
from pharos.helm.store.relays import RELAYS
from pharos.helm.trust.witness import FORKED, is_ours
from pharos.wire.desired import Peer, check_distinct
from pharos.wire.errors import DenyListError, RemoteProtocolError
from pharos.wire.ids import FleetId, NodeId
from pharos.wire.pki.denylist import DenyList
from pharos.wire.pki.roles import Identity, Role
from pharos.wire.seal.checkpoint import verify_checkpoint
from pharos.wire.seal.denylist import verify_deny_list

# A fleet has 10,000 devices; a node that lists more strangers fills the record with them.
MAX_WAITING: Final = 10_000
UNREADABLE: Final = "inventory_unreadable"


@attrs.frozen(kw_only=True)
class Taken:
    """What an inventory told."""

    epoch: int
    """Of the fleet, larger than any that the node obeyed."""
    revoked: int
    """Members of the record that were revoked after the backup."""
    waiting: int
    """Peers that wait for somebody's word."""
    forked: bool
    """The audit went on, after the backup, with rows that are lost."""


def take_inventory(db: Database, authority: Authority, node_id: NodeId, inventory: Inventory, *, at: int) -> Taken:
    """Take over what a node has, in the caller's transaction; from then on the node may be told what to do.

    ``at`` is in microseconds since 1970. Whatever was taken before is not taken again.

    Raises: ConflictError, RemoteProtocolError — the node tells what cannot be; it is not marked as read.
    """
    act = Act(actor="helm", at=at, via="helm")
    check_distinct(inventory.peers)
    theirs = _deny_list_of(db, act, authority, node_id, inventory.deny_list)
    entries = () if theirs is None else theirs.entries
    if must_be_read(db, node_id):
        seen = max(inventory.applied.epoch, 0 if theirs is None else theirs.epoch)
        raise_epoch(db, seen, at=at)
    if add_denials(db, entries, at=at):
        next_revision(db)
    revoked = sum(_revoke(db, act, entry.member) for entry in entries if entry.member is not None)
    forked = _compare_audit(db, act, authority, node_id, inventory.checkpoint)
    waiting = _hold(db, act, authority.trust.fleet, node_id, inventory.peers)
    note_read(db, node_id)
    epoch: int = db.execute("SELECT epoch FROM fleet").fetchone()[0]
    return Taken(epoch=epoch, revoked=revoked, waiting=waiting, forked=forked)


def _deny_list_of(db: Database, act: Act, authority: Authority, node_id: NodeId, blob: bytes) -> DenyList | None:
    if not blob:
        return None
    try:
        return verify_deny_list(blob, fleet=authority.trust.fleet, signing_keys=signing_keys(authority))
    except DenyListError as error:
        # Revocations are believed on the fleet's own word only; other nodes have the same list.
        _alert_unreadable(db, act, node_id, str(error))
        return None


def _revoke(db: Database, act: Act, member: Identity) -> bool:
    """Let the record say what the deny list says; return whether it did not."""
    if member.role is Role.DEVICE:
        device = find_record(db, DEVICES, member.id)
        if device is not None and device.state is not DeviceState.REVOKED:
            move_device(db, act, device.id, device.version, DeviceAct.REVOKE)
            return True
    elif member.role is Role.NODE:
        node = find_record(db, NODES, member.id)
        if node is not None and node.state is not NodeState.REVOKED:
            move_node(db, act, node.id, node.version, NodeAct.REVOKE)
            return True
    elif member.role is Role.RELAY:
        relay = find_record(db, RELAYS, member.id)
        if relay is not None and relay.state is not NodeState.REVOKED:
            move_relay(db, act, relay.id, relay.version, NodeAct.REVOKE)
            return True
    return False


def _compare_audit(db: Database, act: Act, authority: Authority, node_id: NodeId, blob: bytes) -> bool:
    """Return whether a witness was shown an audit that this record's is not the continuation of."""
    if not blob:
        return False
    try:
        kept = verify_checkpoint(blob, fleet=authority.trust.fleet, signing_keys=signing_keys(authority))
    except RemoteProtocolError as error:
        _alert_unreadable(db, act, node_id, str(error))
        return False
    if is_ours(db, kept):
        return False
    head = audit_head(db).sequence
    text = (
        f"node {node_id} was shown an audit of {kept.size} rows that this record, of {head} rows now, does not hold:"
        " what was done after the backup was made is lost"
    )
    evidence: dict[str, str | int | float] = {
        "size": kept.size,
        "head": kept.head.hex(),
        "at": kept.at,
        "member": node_id,
    }
    raise_alert(db, act, FORKED, Severity.WARNING, text, evidence=evidence)
    return True


def _hold(db: Database, act: Act, fleet: FleetId, node_id: NodeId, peers: Iterable[Peer]) -> int:
    denied, known = deny_list(db), adoptions_at(db, node_id)
    pairs = pairs_of_node(db, node_id)
    waiting = 0
    for peer in peers:
        _bring_up(db, node_id, peer, pairs.get(peer.device_id))
        outcast = denied.denies_tunnel_key(peer.awg_key) or denied.denies_member(Role.DEVICE, peer.device_id)
        if outcast or is_recorded(db, peer):
            continue
        adoption = known.get(peer.device_id)
        if adoption is not None and adoption.state is AdoptionState.REFUSED:
            continue
        waiting += 1
        if waiting > MAX_WAITING:
            raise ConflictError(
                f"node {node_id} lists more than {MAX_WAITING} devices that nobody knows; adopt it anew"
            )
        if adoption is None or adoption.state is AdoptionState.ADOPTED:
            new = Adoption(id=fresh_id(), node_id=node_id, device_id=peer.device_id, peer=peer.as_json())
            add_record(db, ADOPTIONS, new, act, verb="found", detail=f"{peer.device_id} at {node_id}")
        else:
            change_record(db, ADOPTIONS, adoption.id, adoption.version, {"peer": peer.as_json()}, act)
    if waiting:
        next_revision(db, profiles=False)
    return waiting


def _bring_up(db: Database, node_id: NodeId, peer: Peer, pair: Pair | None) -> None:
    """Take over the generation that a device of the record has acknowledged since the backup."""
    reached = FIRST_GENERATION if pair is None else pair.acknowledged
    if peer.generation > reached and find_record(db, DEVICES, peer.device_id) is not None:
        put_pairs(db, [pair_of(node_id, peer)])


def _alert_unreadable(db: Database, act: Act, node_id: NodeId, why: str) -> None:
    text = f"what node {node_id} kept for this fleet cannot be believed: {why}"
    raise_alert(db, act, UNREADABLE, Severity.WARNING, text, noun="node", subject=node_id)
