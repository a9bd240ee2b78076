"""What people decide about peers that a restored record does not know: they are devices again, or are off."""

from __future__ import annotations

import hashlib
import ipaddress
from typing import Final

from pharos.helm.accounts.tickets import check_device_name
from pharos.helm.errors import ConflictError
from pharos.helm.model.adoptions import Adoption, AdoptionState
from pharos.helm.model.devices import Device
from pharos.helm.store.adoptions import ADOPTIONS, adoptions_of
from pharos.helm.store.changes import Act
from pharos.helm.store.database import Database
from pharos.helm.store.denials import add_denials
from pharos.helm.store.devices import add_device
from pharos.helm.store.fleet import get_fleet, next_revision
from pharos.helm.store.pairs import FIRST_GENERATION, Pair, put_pairs
from pharos.helm.store.records import change_record, check_version, get_record
from pharos.wire.desired import Peer
from pharos.wire.ids import NodeId
from pharos.wire.pki.denylist import DenyEntry, tunnel_key_hash
from pharos.wire.pki.profile import LEAF_LIFETIME
from pharos.wire.pki.roles import Identity, Role

NOTE: Final = "adopted after a restore: its tunnel works, and it cannot sync until it enrols anew with another ticket"
_SECOND: Final = 1_000_000


def adopt_peer(db: Database, act: Act, adoption_id: str, version: int, *, name: str | None = None) -> Adoption:
    """Make an unknown peer a device of the record, at every node that serves it with the same keys.

    The record learns the two keys of its tunnel. Its sealing and Noise keys nobody but the device has: it goes on by
    the profile that it holds, and enrols anew, with a new ticket, to get another.

    Raises: ConflictError — it is decided already, or has a key or an address of another device. StaleVersionError,
    NotFoundError. InvalidRequestError — the name does not fit.
    """
    adoption = _waiting(db, adoption_id, version)
    peer = adoption.as_peer()
    address4, address6 = _addresses(peer)
    device = Device(
        id=peer.device_id,
        name=check_device_name(name or f"adopted {peer.device_id[-12:]}"),
        note=NOTE,
        sealing_key=_nobodys_key("sealing", peer),
        derive_key=peer.derive_key,
        noise_key=_nobodys_key("noise", peer),
        awg_key=peer.awg_key,
        address4=address4,
        address6=address6,
        expires_at=peer.expires_at or None,
    )
    add_device(db, device, act)
    for other in adoptions_of(db, peer.device_id):
        if other.state is AdoptionState.WAITING:
            same = other.as_peer().awg_key == peer.awg_key and other.as_peer().derive_key == peer.derive_key
            _decide(db, act, other, AdoptionState.ADOPTED if same else AdoptionState.REFUSED)
            if same and (served := other.as_peer()).generation > FIRST_GENERATION:
                put_pairs(db, [pair_of(other.node_id, served)])
    next_revision(db, profiles=False)
    return get_record(db, ADOPTIONS, adoption_id)


def refuse_peer(db: Database, act: Act, adoption_id: str, version: int) -> Adoption:
    """Take an unknown peer off every node, and deny its certificate and its tunnel key.

    Raises: ConflictError — it is decided already, or the deny list is full. StaleVersionError, NotFoundError.
    """
    adoption = _waiting(db, adoption_id, version)
    fleet = get_fleet(db).id
    # Its certificate is not on record; whatever it is, it ends within the life of one that is made now.
    until = act.at // _SECOND + int(LEAF_LIFETIME.total_seconds())
    for other in adoptions_of(db, adoption.device_id):
        if other.state is AdoptionState.WAITING:
            entry = DenyEntry(
                member=Identity(fleet=fleet, role=Role.DEVICE, id=other.device_id),
                tunnel_key_hash=tunnel_key_hash(other.as_peer().awg_key),
                not_after=until,
            )
            add_denials(db, (entry,), at=act.at)
            _decide(db, act, other, AdoptionState.REFUSED)
    next_revision(db)
    return get_record(db, ADOPTIONS, adoption_id)


def pair_of(node_id: NodeId, peer: Peer) -> Pair:
    """Return a device and a node that use the generation in which the node serves it."""
    return Pair(device_id=peer.device_id, node_id=node_id, generation=peer.generation, acknowledged=peer.generation)


def _waiting(db: Database, adoption_id: str, version: int) -> Adoption:
    adoption = get_record(db, ADOPTIONS, adoption_id)
    check_version(ADOPTIONS, adoption, version)
    if adoption.state is not AdoptionState.WAITING:
        raise ConflictError(f"this peer is {adoption.state.value} already")
    return adoption


def _decide(db: Database, act: Act, adoption: Adoption, state: AdoptionState) -> None:
    detail = f"{adoption.device_id} at {adoption.node_id}"
    change_record(db, ADOPTIONS, adoption.id, adoption.version, {"state": state}, act, verb=state.value, detail=detail)


def _addresses(peer: Peer) -> tuple[str, str]:
    """Raises: ConflictError — it does not have the two addresses of a device."""
    found = [ipaddress.ip_network(network) for network in peer.addresses]
    single = {network.version: str(network.network_address) for network in found if network.num_addresses == 1}
    if len(found) != 2 or single.keys() != {4, 6}:
        raise ConflictError(f"it has the networks {', '.join(peer.addresses)}, not the two addresses of a device")
    return single[4], single[6]


def _nobodys_key(use: str, peer: Peer) -> bytes:
    """Return a public key to which nobody has the private one: the column wants one, and nothing may open by it."""
    return hashlib.sha256(f"pharos/adopted/{use}/v1\0{peer.device_id}".encode()).digest()
