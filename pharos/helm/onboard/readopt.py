"""A node or relay that belongs to the fleet and lost its way back: its certificate ended, or its keys are gone.

    asked ──▶ compared ──▶ certified ──▶ carried ──▶ back
                 └───────▶ refused

A pure machine says what comes next, whoever carries the documents: the operator's hands today, SSH as well once helm
can do that. The CSR path below takes it from `asked` to `certified` in one transaction.
"""

from __future__ import annotations

import enum
from typing import Any, Final

import attrs

from pharos.helm.ca.authority import Authority
from pharos.helm.errors import ConflictError, InvalidRequestError
from pharos.helm.model.nodes import Node, NodeState
from pharos.helm.model.relays import Relay
from pharos.helm.store.certificates import keep_certificate, require_new_key
from pharos.helm.store.changes import Act
from pharos.helm.store.database import Database
from pharos.helm.store.fleet import next_revision
from pharos.helm.store.nodes import NODES
from pharos.helm.store.realitykeys import forget_reality_keys
from pharos.helm.store.records import Noun, change_record, check_version, get_record
from pharos.helm.store.relays import RELAYS
from pharos.helm.store.times import moment
from pharos.helm.trust.renewals import due
from pharos.wire.agent import AgentGrant, AgentRequest
from pharos.wire.errors import LocalProtocolError, LockError
from pharos.wire.ids import NodeId
from pharos.wire.pki.csr import verify_csr
from pharos.wire.pki.keys import certificate_from_der, certificate_to_der
from pharos.wire.pki.profile import spki_hash
from pharos.wire.pki.roles import Role
from pharos.wire.seal.successor import NodeKeys, verify_successor


class State(enum.Enum):
    """How far it has come."""

    ASKED = "asked"
    COMPARED = "compared"
    CERTIFIED = "certified"
    CARRIED = "carried"
    BACK = "back"
    REFUSED = "refused"


class Input(enum.Enum):
    """What is learnt on the way."""

    SAME_KEYS = "the request has the keys of the record"
    NEW_KEYS_ALLOWED = "it has others, and the operator expects that"
    NEW_KEYS = "it has others, and nobody said so"
    CERTIFICATE = "the certificate is recorded"
    INSTALLED = "the machine took the grant"
    LINKED = "its link is up"


class Action(enum.Enum):
    """What to do next."""

    CERTIFY = "certify the request"
    CARRY = "carry the grant to the machine"
    AWAIT_LINK = "wait for its link"
    FINISH = "nothing more"
    REFUSE = "refuse, and say what would help"


TABLE: Final[dict[tuple[State, Input], tuple[Action, State]]] = {
    (State.ASKED, Input.SAME_KEYS): (Action.CERTIFY, State.COMPARED),
    (State.ASKED, Input.NEW_KEYS_ALLOWED): (Action.CERTIFY, State.COMPARED),
    (State.ASKED, Input.NEW_KEYS): (Action.REFUSE, State.REFUSED),
    (State.COMPARED, Input.CERTIFICATE): (Action.CARRY, State.CERTIFIED),
    (State.CERTIFIED, Input.INSTALLED): (Action.AWAIT_LINK, State.CARRIED),
    # Whoever carries by hand tells nobody; the link that is up says it for them.
    (State.CERTIFIED, Input.LINKED): (Action.FINISH, State.BACK),
    (State.CARRIED, Input.LINKED): (Action.FINISH, State.BACK),
}


@attrs.define
class Readoption:
    """One machine on its way back."""

    state: State = State.ASKED

    def feed(self, given: Input) -> Action:
        """Return what to do.

        Raises: LocalProtocolError — that has no place in this state.
        """
        if (self.state, given) not in TABLE:
            raise LocalProtocolError(f"{given.value!r} has no place where it is {self.state.value}")
        action, self.state = TABLE[self.state, given]
        return action


@attrs.frozen(kw_only=True)
class Readopted:
    """What the operator gets."""

    record: Node | Relay
    grant: AgentGrant
    keys_changed: bool
    """Devices will not take the node for the one they know unless its old keys said so, or their owners do."""
    proven: bool
    """The old keys said so."""


def readopt(
    db: Database,
    act: Act,
    authority: Authority,
    role: Role,
    member_id: str,
    version: int,
    request: AgentRequest,
    *,
    new_keys: bool = False,
) -> Readopted:
    """Certify a machine that is known, anew. The same request again gets the same grant, for that may have been lost.

    Raises: InvalidRequestError — another role's request, or a proof that proves nothing. ConflictError — it is revoked,
    a key is another's, or the keys are not those of the record. StaleVersionError, NotFoundError.
    """
    noun: Noun[Any] = NODES if role is Role.NODE else RELAYS
    record: Node | Relay = get_record(db, noun, member_id)
    check_version(noun, record, version)
    if request.role is not role:
        raise InvalidRequestError(f"that is the request of a {request.role.value}, and {record.name} is a {role.value}")
    if isinstance(record, Relay) and record.aboard:
        raise ConflictError(f"{record.name} is in helm's own process, which gives it its certificates")
    if record.state is NodeState.REVOKED:
        raise ConflictError(f"{record.name} is revoked, for ever; bring the machine in as a new {role.value}")
    machine = Readoption()
    changed = isinstance(record, Node) and (request.awg_key, request.derive_key) != (record.awg_key, record.derive_key)
    if machine.feed(_compared(changed, new_keys)) is Action.REFUSE:
        raise ConflictError(
            f"the request has other tunnel keys than {record.name}: it is another machine, or lost its state; if so,"
            " say --new-keys"
        )
    values = _new_keys(record, request, authority) if isinstance(record, Node) and changed else {}
    spki = spki_hash(verify_csr(request.csr))
    newest = certificate_from_der(record.certificate)
    if values or spki != record.spki or due(newest, moment(act.at)) or not authority.issued(newest, role):
        require_new_key(db, spki, member_id)
        newest = authority.certify_agent(request, member_id, operator=act.actor, now=moment(act.at))
        keep_certificate(db, act, newest, role, member_id)
        values |= {"spki": spki, "certificate": certificate_to_der(newest)}
        if changed:
            # It derives others of its new derive key.
            forget_reality_keys(db, NodeId(member_id))
        record = change_record(db, noun, member_id, version, values, act, verb="readopted", detail=record.name)
        next_revision(db)
    machine.feed(Input.CERTIFICATE)
    return Readopted(
        record=record,
        grant=authority.grant(newest, role),
        keys_changed=changed,
        proven=changed and request.key_proof is not None,
    )


def _compared(changed: bool, allowed: bool) -> Input:
    if not changed:
        return Input.SAME_KEYS
    return Input.NEW_KEYS_ALLOWED if allowed else Input.NEW_KEYS


def _new_keys(node: Node, request: AgentRequest, authority: Authority) -> dict[str, Any]:
    assert request.awg_key is not None, "a node's request has one"
    assert request.derive_key is not None, "a node's request has one"
    before = NodeKeys(awg=node.awg_key, derive=node.derive_key)
    after = NodeKeys(awg=request.awg_key, derive=request.derive_key)
    if request.key_proof is not None:
        try:
            verify_successor(request.key_proof, fleet=authority.trust.fleet, node=node.id, before=before, after=after)
        except LockError as error:
            raise InvalidRequestError(str(error)) from error
    # What the fleet lock signed were the old ones.
    return {
        "awg_key": after.awg,
        "derive_key": after.derive,
        "key_proof": request.key_proof,
        "lock_signature": None,
    }
