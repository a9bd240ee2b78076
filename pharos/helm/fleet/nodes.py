"""Acts on nodes that an admin asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from pharos.helm.accounts.users import check_note, check_tags
from pharos.helm.errors import ConflictError, InvalidRequestError
from pharos.helm.fleet.places import PLACE, check_place
from pharos.helm.model.nodes import LINKED, PUSHED, TRANSITIONS, Node, NodeAct, NodeState
from pharos.helm.onboard.agents import WAY, check_address, check_name, check_way
from pharos.helm.store.certificates import revoke_certificates
from pharos.helm.store.changes import Act
from pharos.helm.store.database import Database
from pharos.helm.store.fleet import next_revision
from pharos.helm.store.nodes import NODES
from pharos.helm.store.records import change_record, check_version, get_record, remove_record, touch_record
from pharos.wire.pki.roles import Role

# A profile lists them all, and a device that cannot get through tries them in turn.
MAX_SPARE_PORTS: Final = 8


def change_node(db: Database, act: Act, node_id: str, version: int, values: Mapping[str, Any]) -> Node:
    """Change what an operator says of a node; its keys and its state are changed otherwise.

    Raises: InvalidRequestError — a value does not fit. ConflictError — the name is taken, or the node is revoked.
    StaleVersionError, NotFoundError.
    """
    node = get_record(db, NODES, node_id)
    check_version(NODES, node, version)
    if node.state is NodeState.REVOKED:
        raise ConflictError("a node that is revoked cannot be changed")
    changed = change_record(db, NODES, node_id, version, _checked(values, node), act)
    if changed != node:
        next_revision(db)
    return changed


def move_node(db: Database, act: Act, node_id: str, version: int, verb: NodeAct) -> Node:
    """Drain, resume, disable, enable or revoke a node; its peers and the devices' profiles follow.

    Raises: ConflictError — its state does not allow it. StaleVersionError, NotFoundError.
    """
    node = get_record(db, NODES, node_id)
    check_version(NODES, node, version)
    state = TRANSITIONS.get((node.state, verb))
    if state is None:
        raise ConflictError(f"a node that is {node.state.value} cannot be {verb.past}")
    moved = change_record(db, NODES, node_id, version, {"state": state}, act, verb=verb.past, detail=node.name)
    if state is NodeState.REVOKED:
        revoke_certificates(db, act, Role.NODE, node_id, tunnel_key=node.awg_key)
    next_revision(db)
    return moved


def push_node(db: Database, act: Act, node_id: str, version: int) -> Node:
    """Have a node's link begin anew: helm dials it at once, reads what it holds, and pushes what it lacks.

    Raises: ConflictError — helm keeps no link to it. StaleVersionError, NotFoundError.
    """
    node = get_record(db, NODES, node_id)
    check_version(NODES, node, version)
    if node.state not in LINKED:
        raise ConflictError(f"{node.name} is {node.state.value}: helm keeps no link to it")
    return touch_record(db, NODES, node_id, act, verb=PUSHED, detail=node.name)


def remove_node(db: Database, act: Act, node_id: str, version: int) -> None:
    """Remove a node that is revoked; what is known of its certificates stays.

    Raises: ConflictError — it is not revoked. StaleVersionError, NotFoundError.
    """
    node = get_record(db, NODES, node_id)
    check_version(NODES, node, version)
    if node.state is not NodeState.REVOKED:
        raise ConflictError(f"{node.name} is {node.state.value}; revoke it first")
    remove_record(db, NODES, node_id, version, act, detail=node.name)
    next_revision(db)


def check_spare_ports(ports: Sequence[int], port: int) -> tuple[int, ...]:
    """Return the spare ports of a node.

    Raises: InvalidRequestError — one is no port, stands twice, or is the node's first; or there are too many.
    """
    if len(ports) > MAX_SPARE_PORTS or len({port, *ports}) != len(ports) + 1 or not all(0 < p < 65536 for p in ports):
        raise InvalidRequestError(f"spare ports are up to {MAX_SPARE_PORTS} other UDP ports than {port}, none twice")
    return tuple(ports)


def _checked(values: Mapping[str, Any], node: Node) -> dict[str, Any]:
    checked = dict(values)
    if "name" in checked:
        check_name(checked["name"])
    if "note" in checked:
        check_note(checked["note"])
    check_place(*(checked.get(name, getattr(node, name)) for name in PLACE))
    check_way(*(checked.get(name, getattr(node, name)) for name in WAY))
    if "tags" in checked:
        checked["tags"] = check_tags(checked["tags"])
    if "spare_ports" in checked:
        checked["spare_ports"] = check_spare_ports(checked["spare_ports"], checked.get("awg_port", node.awg_port))
    ports = (checked.get(name, getattr(node, name)) for name in ("control_port", "awg_port"))
    address = check_address(checked.get("address", node.address), *ports)
    if "address" in checked:
        checked["address"] = address
    return checked
