"""The fleet lock as helm keeps it: its public key, and which nodes it has signed. The key itself helm never sees."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pharos.helm.errors import ConflictError, InvalidRequestError, NotFoundError
from pharos.helm.model.nodes import Node, NodeState
from pharos.helm.store.changes import Act, record_change
from pharos.helm.store.database import Database
from pharos.helm.store.fleet import get_fleet, next_revision
from pharos.helm.store.locks import get_lock_key, put_lock_signature, set_lock_key
from pharos.helm.store.nodes import NODES, list_nodes
from pharos.helm.store.records import find_record
from pharos.wire.errors import LockError
from pharos.wire.ids import FleetId, NodeId
from pharos.wire.seal.lock import KEY_LENGTH, verify_node_lock

Signatures = Mapping[NodeId, bytes]


def lock_status(db: Database) -> dict[str, Any]:
    """Return the lock's key, and each node with what there is to sign of it."""
    key, fleet = get_lock_key(db), get_fleet(db).id
    return {
        "fleet": fleet,
        "key": None if key is None else key.hex(),
        "nodes": [
            {
                "id": node.id,
                "name": node.name,
                "address": node.address,
                "awg_key": node.awg_key.hex(),
                "derive_key": node.derive_key.hex(),
                "signed": key is not None and _is_signed(node, fleet, key),
            }
            for node in list_nodes(db)
            if node.state is not NodeState.REVOKED
        ],
    }


def begin_lock(db: Database, act: Act, key: bytes, signatures: Signatures) -> dict[str, Any]:
    """Lock the fleet: devices refuse every node that is not among the signed ones from their next sync on.

    Raises: ConflictError — there is a lock already. InvalidRequestError — the key or a signature does not fit.
    NotFoundError — there is no such node.
    """
    if get_lock_key(db) is not None:
        raise ConflictError("the fleet has a lock already; its devices obey no other")
    if len(key) != KEY_LENGTH:
        raise InvalidRequestError(f"the key of a lock has {KEY_LENGTH} octets")
    set_lock_key(db, key)
    record_change(db, act, "lock", "made", subject=get_fleet(db).id, version=1, body=None, detail=key.hex())
    sign_nodes(db, act, signatures)
    next_revision(db)
    return lock_status(db)


def sign_nodes(db: Database, act: Act, signatures: Signatures) -> dict[str, Any]:
    """Keep the lock's signatures of nodes.

    Raises: ConflictError — there is no lock. NotFoundError — there is no such node. InvalidRequestError — a signature
    is not the lock's, or not of the node's keys as they are now.
    """
    key, fleet = get_lock_key(db), get_fleet(db).id
    if key is None:
        raise ConflictError("the fleet has no lock; run: helm lock init")
    for node_id, signature in sorted(signatures.items()):
        node = find_record(db, NODES, node_id)
        if node is None:
            raise NotFoundError(f"there is no node {node_id!r}")
        try:
            _verify(node, fleet, key, signature)
        except LockError as error:
            raise InvalidRequestError(f"{node.name}: {error}") from error
        put_lock_signature(db, node_id, signature)
        record_change(db, act, "lock", "signed", subject=node_id, version=1, body=None, detail=node.name)
    if signatures:
        next_revision(db)
    return lock_status(db)


def _is_signed(node: Node, fleet: FleetId, key: bytes) -> bool:
    try:
        _verify(node, fleet, key, node.lock_signature or b"")
    except LockError:
        return False
    return True


def _verify(node: Node, fleet: FleetId, key: bytes, signature: bytes) -> None:
    verify_node_lock(
        signature, lock_key=key, fleet=fleet, node=node.id, awg_key=node.awg_key, derive_key=node.derive_key
    )
