"""Who the beacon aboard is: a relay of the record like any other, whose key lies beside helm's own.

What an operator sets for it is in helm's file, and is brought into the record when helm starts. What an admin did to it
meanwhile stands: helm undoes only what helm did.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import trio

from pharos.helm.ca.authority import Authority
from pharos.helm.ca.vault import Vault
from pharos.helm.errors import NotInitialisedError
from pharos.helm.model.aboard import AboardPlan
from pharos.helm.model.nodes import NodeState
from pharos.helm.model.relays import NO_TUNNEL, TUNNELLED, Relay
from pharos.helm.store.certificates import keep_certificate
from pharos.helm.store.changes import Act
from pharos.helm.store.database import Database, Store
from pharos.helm.store.fleet import get_secret, next_revision, put_secret
from pharos.helm.store.ids import fresh_id
from pharos.helm.store.records import add_record, change_record, find_record
from pharos.helm.store.relays import RELAYS, list_relays
from pharos.helm.store.times import moment
from pharos.wire.agent import AgentKeys
from pharos.wire.grant import AgentRequest
from pharos.wire.ids import RelayId
from pharos.wire.pki.csr import verify_csr
from pharos.wire.pki.keys import certificate_from_der, certificate_to_der
from pharos.wire.pki.profile import spki_hash
from pharos.wire.pki.roles import Role

DOCUMENT: Final = "beacon_aboard"
"""Of the secrets table."""
_VERSION: Final = 1
NAME: Final = "helm"
"""What it is called, as long as no other relay is."""
VIA: Final = "config"

T = TypeVar("T")


class SecretDocument:
    """The keys and the grant of the beacon aboard: a secret of the record, wrapped by the vault."""

    def __init__(self, vault: Vault, run: Callable[[Callable[[Database], Any]], Any]) -> None:
        """``run`` gives a function the database, in a transaction."""
        self._vault = vault
        self._run = run

    def load(self) -> dict[str, Any] | None:
        """Return what was saved last. Raises: StateFileError — it does not open."""
        return self._run(lambda db: load_secret(db, self._vault))  # type: ignore[no-any-return]

    def save(self, body: dict[str, Any]) -> None:
        """Replace it."""
        self._run(lambda db: save_secret(db, self._vault, body))


def load_secret(db: Database, vault: Vault) -> dict[str, Any] | None:
    """Raises: StateFileError — it is of another vault."""
    try:
        version, wrapped = get_secret(db, DOCUMENT)
    except NotInitialisedError:
        return None
    body: dict[str, Any] = json.loads(vault.unwrap(DOCUMENT, version, wrapped))
    return body


def save_secret(db: Database, vault: Vault, body: dict[str, Any]) -> None:
    """Write it in place of what was there."""
    put_secret(db, DOCUMENT, _VERSION, vault.wrap(DOCUMENT, _VERSION, json.dumps(body).encode()))


def open_keys(store: Store, vault: Vault) -> AgentKeys:
    """Return the keys of the beacon aboard; from a thread of Trio's, as all that they do.

    Raises: StateFileError.
    """
    document = SecretDocument(vault, lambda act: trio.from_thread.run(store.run, act))
    return AgentKeys(Path(), Role.RELAY, document=document)


def settle_aboard(
    db: Database, authority: Authority, vault: Vault, plan: AboardPlan | None, *, at: int
) -> RelayId | None:
    """Bring what is wanted of the beacon aboard into the record, and return its id; None where there is to be none.

    Raises: StateFileError — its key does not open.
    """
    act = Act(actor="helm", at=at, via=VIA)
    body = load_secret(db, vault)
    relay = None if body is None else find_record(db, RELAYS, body["relay"])
    if plan is None:
        if body is not None and relay is not None and relay.state in TUNNELLED:
            _move(db, act, vault, body, relay, NodeState.DISABLED)
        return None
    if body is None or relay is None or relay.state is NodeState.REVOKED:
        return _embark(db, act, authority, vault, plan)
    if certificate_from_der(relay.certificate).not_valid_after_utc <= moment(at):
        relay = _certify(db, act, authority, vault, body, relay)
        body = load_secret(db, vault) or body
    address, port = plan.address
    if (relay.address, relay.ingress_port) != (address, port):
        values = {"address": address, "ingress_port": port}
        relay = change_record(db, RELAYS, relay.id, relay.version, values, act)
        next_revision(db)
    if relay.state.value == body["settled"]:
        _move(db, act, vault, body, relay, _state(plan))
    return relay.id


def _embark(db: Database, act: Act, authority: Authority, vault: Vault, plan: AboardPlan) -> RelayId:
    """Make keys, have them certified, and write the relay."""
    relay_id = RelayId(fresh_id())
    request, keys = _fresh_keys(db, vault)
    certificate = authority.certify_agent(request, relay_id, operator=act.actor, now=moment(act.at))
    keys.install(authority.grant(certificate, Role.RELAY), now=moment(act.at))
    address, port = plan.address
    relay = Relay(
        id=relay_id,
        name=_free_name(db),
        address=address,
        ingress_port=port,
        tunnel_port=NO_TUNNEL,
        note="in helm's own process",
        state=_state(plan),
        spki=spki_hash(verify_csr(request.csr)),
        certificate=certificate_to_der(certificate),
    )
    add_record(db, RELAYS, relay, act, detail=relay.name)
    keep_certificate(db, act, certificate, Role.RELAY, relay_id)
    _remember(db, vault, relay=relay_id, settled=relay.state.value)
    next_revision(db)
    return relay_id


def _certify(db: Database, act: Act, authority: Authority, vault: Vault, body: dict[str, Any], relay: Relay) -> Relay:
    """Give the relay another key and certificate, for helm was away until the old one had ended."""
    request, keys = _fresh_keys(db, vault)
    certificate = authority.certify_agent(request, relay.id, operator=act.actor, now=moment(act.at))
    keys.install(authority.grant(certificate, Role.RELAY), now=moment(act.at))
    keep_certificate(db, act, certificate, Role.RELAY, relay.id)
    _remember(db, vault, relay=relay.id, settled=body["settled"])
    values = {"spki": spki_hash(verify_csr(request.csr)), "certificate": certificate_to_der(certificate)}
    return change_record(db, RELAYS, relay.id, relay.version, values, act, verb="renewed", detail=relay.name)


def _fresh_keys(db: Database, vault: Vault) -> tuple[AgentRequest, AgentKeys]:
    document = _Fresh(SecretDocument(vault, lambda do: do(db)))
    keys = AgentKeys(Path(), Role.RELAY, document=document)
    return keys.make_request(), keys


class _Fresh:
    """A document in which nothing was before."""

    def __init__(self, document: SecretDocument) -> None:
        self._document = document

    def load(self) -> dict[str, Any] | None:
        return None

    def save(self, body: dict[str, Any]) -> None:
        self._document.save(body)


def _move(db: Database, act: Act, vault: Vault, body: dict[str, Any], relay: Relay, state: NodeState) -> None:
    if relay.state is not state:
        change_record(db, RELAYS, relay.id, relay.version, {"state": state}, act, detail=relay.name)
        next_revision(db)
    if body["settled"] != state.value:
        save_secret(db, vault, body | {"settled": state.value})


def _remember(db: Database, vault: Vault, *, relay: str, settled: str) -> None:
    """Keep beside the keys whose they are, and in which state helm left the relay."""
    body = load_secret(db, vault)
    assert body is not None, "the keys were just written"
    save_secret(db, vault, body | {"relay": relay, "settled": settled})


def _state(plan: AboardPlan) -> NodeState:
    # One that is draining takes whoever comes, and no ticket and no profile names it.
    return NodeState.ACTIVE if plan.listed else NodeState.DRAINING


def _free_name(db: Database) -> str:
    taken = {relay.name for relay in list_relays(db)}
    numbered = (f"{NAME}-{number}" for number in range(2, len(taken) + 3))
    return next(name for name in (NAME, *numbered) if name not in taken)
