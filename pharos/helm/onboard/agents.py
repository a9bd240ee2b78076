"""Adopt a node or relay: its request becomes a certificate, a record and a grant, in one transaction."""

from __future__ import annotations

import ipaddress
import re
from typing import Final, TypeVar

import attrs

from pharos.helm.accounts.users import check_note, check_tags
from pharos.helm.ca.authority import Authority
from pharos.helm.errors import InvalidRequestError
from pharos.helm.fleet.places import PLACE, check_place
from pharos.helm.fleet.reality import first_reality
from pharos.helm.model.nodes import Node, NodeState
from pharos.helm.model.relays import Relay
from pharos.helm.onboard.remote import Destination
from pharos.helm.store.certificates import keep_certificate
from pharos.helm.store.changes import Act
from pharos.helm.store.database import Database
from pharos.helm.store.fleet import next_revision
from pharos.helm.store.ids import fresh_id
from pharos.helm.store.nodes import NODES, find_node_by_key
from pharos.helm.store.records import Noun, add_record, change_record
from pharos.helm.store.relays import RELAYS, find_relay_by_key
from pharos.helm.store.times import moment
from pharos.wire.agent import AgentGrant, AgentRequest
from pharos.wire.awg.generate import generate
from pharos.wire.ids import NodeId, RelayId
from pharos.wire.pki.csr import verify_csr
from pharos.wire.pki.keys import certificate_from_der, certificate_to_der
from pharos.wire.pki.profile import spki_hash
from pharos.wire.pki.roles import Role
from pharos.wire.seal.ticket import BeaconAddress
from pharos.wire.world import random_bytes

WAY: Final = ("ssh_destination", "ssh_host_key")
# As ssh-keygen -l prints it: 32 octets are 43 letters of base64.
_HOST_KEY: Final = re.compile(r"SHA256:[A-Za-z0-9+/]{43}")
M = TypeVar("M", Node, Relay)
# What a person types and a file name can hold; control characters and quotes never get in.
_NAME: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9 ._-]{0,62}[A-Za-z0-9])?")


@attrs.frozen(kw_only=True)
class NewNode:
    """What the operator says of a node."""

    name: str
    address: str
    control_port: int
    awg_port: int
    tags: tuple[str, ...] = ()
    note: str = ""
    place: str = ""
    latitude: float | None = None
    longitude: float | None = None
    ssh_destination: str = ""
    ssh_host_key: str = ""


@attrs.frozen(kw_only=True)
class NewRelay:
    """What the operator says of a relay."""

    name: str
    address: str
    ingress_port: int
    tunnel_port: int
    note: str = ""
    place: str = ""
    latitude: float | None = None
    longitude: float | None = None
    ssh_destination: str = ""
    ssh_host_key: str = ""


def adopt_node(
    db: Database, act: Act, authority: Authority, request: AgentRequest, wanted: NewNode
) -> tuple[Node, AgentGrant]:
    """Certify a node and record it. The same request again gets the same grant, for the first may have been lost.

    Raises: InvalidRequestError — not a node's request, or a value does not fit. ConflictError — name or key is taken.
    """
    if request.role is not Role.NODE or request.awg_key is None or request.derive_key is None:
        raise InvalidRequestError("that is the request of a relay; use: helm relays admit")
    check_name(wanted.name)
    check_note(wanted.note)
    check_place(wanted.place, wanted.latitude, wanted.longitude)
    check_way(wanted.ssh_destination, wanted.ssh_host_key)
    address = check_address(wanted.address, wanted.control_port, wanted.awg_port)
    wanted = attrs.evolve(wanted, address=address, tags=check_tags(wanted.tags))
    spki = spki_hash(verify_csr(request.csr))
    known = find_node_by_key(db, spki)
    if known is not None and _same(known, wanted) and known.awg_key == request.awg_key:
        return _remember(db, act, NODES, known, wanted), authority.grant(
            certificate_from_der(known.certificate), Role.NODE
        )
    node_id = NodeId(fresh_id())
    certificate = authority.certify_agent(request, node_id, operator=act.actor, now=moment(act.at))
    node = Node(
        id=node_id,
        **attrs.asdict(wanted, recurse=False),
        awg_key=request.awg_key,
        derive_key=request.derive_key,
        awg_parameters=generate(random_bytes),
        reality=first_reality(db),
        spki=spki,
        certificate=certificate_to_der(certificate),
    )
    added = add_record(db, NODES, node, act, detail=node.name)
    keep_certificate(db, act, certificate, Role.NODE, node_id)
    next_revision(db)
    return added, authority.grant(certificate, Role.NODE)


def adopt_relay(
    db: Database, act: Act, authority: Authority, request: AgentRequest, wanted: NewRelay
) -> tuple[Relay, AgentGrant]:
    """Certify a relay and record it. The same request again gets the same grant, for the first may have been lost.

    Raises: InvalidRequestError — not a relay's request, or a value does not fit. ConflictError — name or key is taken.
    """
    if request.role is not Role.RELAY:
        raise InvalidRequestError("that is the request of a node; use: helm nodes admit")
    check_name(wanted.name)
    check_note(wanted.note)
    check_place(wanted.place, wanted.latitude, wanted.longitude)
    check_way(wanted.ssh_destination, wanted.ssh_host_key)
    address = check_relay_address(wanted.address, ingress_port=wanted.ingress_port, tunnel_port=wanted.tunnel_port)
    wanted = attrs.evolve(wanted, address=address)
    spki = spki_hash(verify_csr(request.csr))
    known = find_relay_by_key(db, spki)
    if known is not None and _same(known, wanted):
        return _remember(db, act, RELAYS, known, wanted), authority.grant(
            certificate_from_der(known.certificate), Role.RELAY
        )
    relay_id = RelayId(fresh_id())
    certificate = authority.certify_agent(request, relay_id, operator=act.actor, now=moment(act.at))
    relay = Relay(
        id=relay_id, **attrs.asdict(wanted, recurse=False), spki=spki, certificate=certificate_to_der(certificate)
    )
    added = add_record(db, RELAYS, relay, act, detail=relay.name)
    keep_certificate(db, act, certificate, Role.RELAY, relay_id)
    next_revision(db)
    return added, authority.grant(certificate, Role.RELAY)


def _same(record: Node | Relay, wanted: NewNode | NewRelay) -> bool:
    return record.state is NodeState.ACTIVE and all(
        getattr(record, field.name) == getattr(wanted, field.name)
        for field in attrs.fields(type(wanted))
        if field.name not in (*WAY, *PLACE)
    )


def _remember(db: Database, act: Act, noun: Noun[M], record: M, wanted: NewNode | NewRelay) -> M:
    """Who comes again may have come another way, or say where it stands; what nobody says now stays as it is known."""
    named = (*(WAY if wanted.ssh_destination else ()), *(PLACE if wanted.place or wanted.latitude is not None else ()))
    said = {name: getattr(wanted, name) for name in named}
    return change_record(db, noun, record.id, record.version, said, act)


def check_way(destination: str, host_key: str) -> None:
    """Check how a machine is reached by SSH; both empty: it is not.

    Raises: InvalidRequestError.
    """
    if destination:
        Destination.parse(destination)
    if host_key and not _HOST_KEY.fullmatch(host_key):
        raise InvalidRequestError(f"{host_key!r} is not a host key's fingerprint, SHA256:…")


def check_name(name: str) -> str:
    """Return ``name`` if people and files can carry it.

    Raises: InvalidRequestError.
    """
    if not _NAME.fullmatch(name):
        raise InvalidRequestError(
            f"{name!r} is not a name: letters, digits and inner spaces, dots, hyphens or underscores, at most 64"
        )
    return name


def check_address(address: str, *ports: int) -> str:
    """Return a host in the one spelling that links carry: lower case, an IPv6 address as RFC 5952 has it.

    Raises: InvalidRequestError — it is no host, or one of ``ports`` is none.
    """
    try:
        host = str(ipaddress.ip_address(address))
    except ValueError:
        host = address.lower()
    try:
        # A relay's address goes into tickets, so theirs is the rule.
        BeaconAddress(relay=RelayId("any"), host=host, port=1)
    except ValueError as error:
        raise InvalidRequestError(f"{address!r} is neither a host name nor an IP address") from error
    for port in ports:
        if not 0 < port < 65536:
            raise InvalidRequestError(f"{port} is not a port (1 to 65535)")
    return host


def check_relay_address(address: str, *, ingress_port: int, tunnel_port: int) -> str:
    """Return a relay's host as ``check_address`` does, with its ports checked.

    Raises: InvalidRequestError.
    """
    host = check_address(address, ingress_port, tunnel_port)
    if ingress_port == tunnel_port:
        raise InvalidRequestError("a relay's ingress and tunnel port have to differ, for both are TCP")
    return host
