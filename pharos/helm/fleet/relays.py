"""Acts on relays that an admin asks for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pharos.helm.accounts.users import check_note
from pharos.helm.errors import ConflictError, InvalidRequestError
from pharos.helm.fleet.places import PLACE, check_place
from pharos.helm.model.nodes import TRANSITIONS, NodeAct, NodeState
from pharos.helm.model.relays import Relay
from pharos.helm.onboard.agents import WAY, check_name, check_relay_address, check_way
from pharos.helm.store.certificates import revoke_certificates
from pharos.helm.store.changes import Act
from pharos.helm.store.database import Database
from pharos.helm.store.fleet import next_revision
from pharos.helm.store.records import change_record, check_version, get_record, remove_record
from pharos.helm.store.relays import RELAYS
from pharos.wire.pki.roles import Role


def change_relay(db: Database, act: Act, relay_id: str, version: int, values: Mapping[str, Any]) -> Relay:
    """Change what an operator says of a relay; its key and its state are changed otherwise.

    Raises: InvalidRequestError — a value does not fit. ConflictError — the name is taken, or the relay is revoked.
    StaleVersionError, NotFoundError.
    """
    relay = get_record(db, RELAYS, relay_id)
    check_version(RELAYS, relay, version)
    if relay.state is NodeState.REVOKED:
        raise ConflictError("a relay that is revoked cannot be changed")
    changed = change_record(db, RELAYS, relay_id, version, _checked(values, relay), act)
    if changed != relay:
        next_revision(db)
    return changed


def move_relay(db: Database, act: Act, relay_id: str, version: int, verb: NodeAct) -> Relay:
    """Drain, resume, disable, enable or revoke a relay; its tunnel and the devices' profiles follow.

    Raises: ConflictError — its state does not allow it. StaleVersionError, NotFoundError.
    """
    relay = get_record(db, RELAYS, relay_id)
    check_version(RELAYS, relay, version)
    state = TRANSITIONS.get((relay.state, verb))
    if state is None:
        raise ConflictError(f"a relay that is {relay.state.value} cannot be {verb.past}")
    moved = change_record(db, RELAYS, relay_id, version, {"state": state}, act, verb=verb.past, detail=relay.name)
    if state is NodeState.REVOKED:
        revoke_certificates(db, act, Role.RELAY, relay_id)
    next_revision(db)
    return moved


def remove_relay(db: Database, act: Act, relay_id: str, version: int) -> None:
    """Remove a relay that is revoked; what is known of its certificates stays.

    Raises: ConflictError — it is not revoked. StaleVersionError, NotFoundError.
    """
    relay = get_record(db, RELAYS, relay_id)
    check_version(RELAYS, relay, version)
    if relay.state is not NodeState.REVOKED:
        raise ConflictError(f"{relay.name} is {relay.state.value}; revoke it first")
    remove_record(db, RELAYS, relay_id, version, act, detail=relay.name)
    next_revision(db)


def _checked(values: Mapping[str, Any], relay: Relay) -> dict[str, Any]:
    checked = dict(values)
    if "name" in checked:
        check_name(checked["name"])
    if "note" in checked:
        check_note(checked["note"])
    check_place(*(checked.get(name, getattr(relay, name)) for name in PLACE))
    check_way(*(checked.get(name, getattr(relay, name)) for name in WAY))
    if relay.aboard:
        if checked.keys() & {"address", "ingress_port", "tunnel_port"}:
            raise InvalidRequestError(
                "where helm's own beacon is says helm's file: beacon_host, beacon_port and beacon_address"
            )
        return checked
    address = check_relay_address(
        checked.get("address", relay.address),
        ingress_port=checked.get("ingress_port", relay.ingress_port),
        tunnel_port=checked.get("tunnel_port", relay.tunnel_port),
    )
    if "address" in checked:
        checked["address"] = address
    return checked
