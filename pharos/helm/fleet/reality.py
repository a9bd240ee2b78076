"""REALITY's parameters of a node: its first, the next, and another target by an operator's word."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from pharos.helm.errors import ConflictError, InvalidRequestError
from pharos.helm.model.nodes import Node, NodeState
from pharos.helm.model.reality import Target, follows, turn_of
from pharos.helm.store.changes import Act
from pharos.helm.store.database import Database
from pharos.helm.store.fleet import next_revision
from pharos.helm.store.nodes import NODES, list_nodes
from pharos.helm.store.records import change_record, check_version, get_record
from pharos.helm.store.settings import setting
from pharos.wire.errors import ParameterError
from pharos.wire.reality.params import RealityParameters, generate
from pharos.wire.world import random_bytes


def first_reality(db: Database) -> RealityParameters:
    """Return the parameters of a node that joins: the target whose turn it is."""
    count: int = db.execute("SELECT COUNT(*) FROM nodes").fetchone()[0]
    return _of(turn_of(setting(db, "reality.targets"), count))


def next_reality(db: Database, node: Node) -> RealityParameters:
    """Return the parameters that follow a node's: the next target of the list, a fresh short id, another key."""
    now = node.reality
    if now is None:
        return first_reality(db)
    target = follows(setting(db, "reality.targets"), Target(place=now.target, server_names=now.server_names))
    return _of(target, after=now.generation)


def change_target(
    db: Database, act: Act, node_id: str, version: int, target: str, server_names: Sequence[str] = ()
) -> Node:
    """Put a node's REALITY before another site, at once and under the same key.

    A device that has not heard of it asks for a name that the node answers for no more: it comes in by another way.

    Raises: InvalidRequestError — it is no target. ConflictError — the node is revoked. StaleVersionError,
    NotFoundError.
    """
    node = get_record(db, NODES, node_id)
    check_version(NODES, node, version)
    if node.state is NodeState.REVOKED:
        raise ConflictError("a node that is revoked cannot be changed")
    try:
        wanted = Target.of(target, server_names)
    except ParameterError as error:
        raise InvalidRequestError(str(error)) from error
    now = node.reality or first_reality(db)
    reality = attrs.evolve(now, target=wanted.place, server_names=wanted.server_names)
    detail = f"{node.name} before {wanted.place}"
    changed = change_record(db, NODES, node_id, version, {"reality": reality}, act, detail=detail)
    if changed != node:
        next_revision(db)
    return changed


def add_missing(db: Database, act: Act) -> int:
    """Give parameters to the nodes of an earlier version's record; return how many there were."""
    found = [node for node in list_nodes(db) if node.reality is None and node.state is not NodeState.REVOKED]
    targets = setting(db, "reality.targets") if found else []
    for number, node in enumerate(found):
        reality = _of(turn_of(targets, number))
        change_record(db, NODES, node.id, node.version, {"reality": reality}, act, detail=node.name)
    if found:
        # No profile names them before the nodes have said which keys they derived.
        next_revision(db, profiles=False)
    return len(found)


def _of(target: Target, *, after: int = 0) -> RealityParameters:
    return generate(random_bytes, target=target.place, server_names=target.server_names, after=after)
