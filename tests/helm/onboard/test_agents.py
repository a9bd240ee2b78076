"""Adopting a machine is one transaction: certificate, record, revision and outbox, or nothing."""

from __future__ import annotations

import attrs
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from pharos.helm.ca.authority import Authority
from pharos.helm.errors import ConflictError, InvalidRequestError
from pharos.helm.model.nodes import NodeState
from pharos.helm.onboard import agents as module
from pharos.helm.onboard.agents import NewNode, NewRelay, adopt_node, adopt_relay, check_address, check_name
from pharos.helm.store.database import Database, transact
from pharos.helm.store.fleet import get_fleet
from pharos.helm.store.nodes import list_nodes
from pharos.helm.store.outbox import Entry, entries_after
from pharos.helm.store.relays import list_relays
from pharos.wire.agent import AgentGrant, AgentRequest
from pharos.wire.pki.csr import make_csr, verify_csr
from pharos.wire.pki.keys import certificate_from_der, generate_key
from pharos.wire.pki.roles import Role
from pharos.wire.pki.verify import authorize_peer
from pharos.wire.seal.ticket import BeaconAddress
from tests.support.helm import (
    adopt_sample_node,
    adopt_sample_relay,
    fleet_in_memory,
    new_node,
    new_relay,
    node_request,
    now,
    relay_request,
    sample_act,
)
from tests.support.strategies import quick


def entries(db: Database) -> list[Entry]:
    """What was said of nodes and relays; that their certificates are told of as well has a test of its own."""
    return [entry for entry in entries_after(db, 0) if entry.noun in ("node", "relay")]


def test_node_gets_a_record_a_certificate_of_its_key_and_an_entry() -> None:
    request = node_request()
    with fleet_in_memory() as (db, authority):
        before = get_fleet(db).revision
        node, grant = adopt_sample_node(db, authority, request=request, tags=("eu", "fast"))
        assert list_nodes(db) == [node]
        assert (node.state, node.tags, node.version) == (NodeState.ACTIVE, ("eu", "fast"), 1)
        assert (node.awg_key, node.derive_key) == (request.awg_key, request.derive_key)
        identity = authorize_peer(
            grant.certificate, trust=authority.trust, roles={Role.NODE}, peer_id=node.id, now=now()
        )
        assert identity.id == node.id
        assert certificate_from_der(grant.certificate).public_key() == verify_csr(request.csr)
        (entry,) = entries(db)
        assert (entry.kind, entry.subject, entry.actor, entry.detail) == (
            "node_added",
            node.id,
            "operator",
            "amsterdam",
        )
        assert get_fleet(db).revision == before + 1


def test_relay_gets_the_same_and_the_device_ca() -> None:
    with fleet_in_memory() as (db, authority):
        relay, grant = adopt_sample_relay(db, authority)
        assert list_relays(db) == [relay]
        authorize_peer(grant.certificate, trust=authority.trust, roles={Role.RELAY}, peer_id=relay.id, now=now())
        assert grant.device_ca is not None
        assert [entry.kind for entry in entries(db)] == ["relay_added"]


def test_every_node_has_parameters_of_its_own() -> None:
    with fleet_in_memory() as (db, authority):
        first, _ = adopt_sample_node(db, authority, "a")
        second, _ = adopt_sample_node(db, authority, "b")
        assert first.awg_parameters != second.awg_parameters
        assert first.id < second.id, "ids made later sort later"


def test_entry_and_record_are_one_transaction(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_args: object, **_kwargs: object) -> None:
        raise ZeroDivisionError

    with fleet_in_memory() as (db, authority):
        before = get_fleet(db)
        told = entries_after(db, 0)
        monkeypatch.setattr(module, "next_revision", fail)
        for adopt in (adopt_sample_node, adopt_sample_relay):
            with pytest.raises(ZeroDivisionError):
                transact(db, adopt, authority)
        assert (list_nodes(db), list_relays(db), entries_after(db, 0)) == ([], [], told)
        assert get_fleet(db) == before


def with_key_of(taken: AgentRequest, field: str) -> AgentRequest:
    return attrs.evolve(node_request(), **{field: getattr(taken, field)})


@pytest.mark.parametrize("field", ["csr", "awg_key", "derive_key"])
def test_node_with_a_key_of_another_node_is_refused(field: str) -> None:
    first = node_request()
    with fleet_in_memory() as (db, authority):
        adopt_sample_node(db, authority, "a", request=first)
        with pytest.raises(ConflictError, match="another node has the same"):
            adopt_sample_node(db, authority, "b", request=with_key_of(first, field))
        assert [node.name for node in list_nodes(db)] == ["a"]


def test_names_are_unique_among_nodes_and_among_relays() -> None:
    with fleet_in_memory() as (db, authority):
        adopt_sample_node(db, authority, "a")
        with pytest.raises(ConflictError, match="another node has the same name"):
            adopt_sample_node(db, authority, "a")
        # A relay beside a node on one machine may bear its name.
        adopt_sample_relay(db, authority, "a")
        with pytest.raises(ConflictError, match="another relay has the same name"):
            adopt_sample_relay(db, authority, "a")


def test_relay_with_the_key_of_another_relay_is_refused() -> None:
    csr = make_csr(generate_key())
    with fleet_in_memory() as (db, authority):
        for name, refused in (("a", False), ("b", True)):
            request = AgentRequest(role=Role.RELAY, csr=csr)
            if refused:
                with pytest.raises(ConflictError):
                    adopt_relay(db, sample_act(), authority, request, new_relay(name))
            else:
                adopt_relay(db, sample_act(), authority, request, new_relay(name))


def test_request_for_the_other_role_is_refused_with_the_right_command() -> None:
    with fleet_in_memory() as (db, authority):
        with pytest.raises(InvalidRequestError, match="helm relays admit"):
            adopt_node(db, sample_act(), authority, relay_request(), new_node())
        with pytest.raises(InvalidRequestError, match="helm nodes admit"):
            adopt_relay(db, sample_act(), authority, node_request(), new_relay())


@pytest.mark.parametrize("name", ["a", "Amsterdam 1", "eu-west_2.b", "x" * 64])
def test_what_people_type_is_a_name(name: str) -> None:
    assert check_name(name) == name


BAD_NAMES = ["", " a", "a ", "a\n", "a\nPostUp = x", "a]b", "[a", "a\0", "../a", "-a", "a/b", "a'b", "x" * 65, "ä"]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_name_that_files_or_terminals_could_misread_is_refused(name: str) -> None:
    with pytest.raises(InvalidRequestError, match="is not a name"):
        check_name(name)
    for refused in (refuse_node(name=name), refuse_relay(name=name)):
        assert "is not a name" in refused


@pytest.mark.parametrize("tag", ["", " a", "a\n", "a b", "Eu", "-a", "a-", "x" * 33, "ä", '"'])
def test_tag_that_no_group_could_name_is_refused(tag: str) -> None:
    assert "lower-case" in refuse_node(tags=("eu", tag))


@pytest.mark.parametrize(
    ("address", "kept"),
    [
        ("a", "a"),
        ("GATE.example", "gate.example"),
        ("xn--mnchen-3ya.example", "xn--mnchen-3ya.example"),
        ("a-b.c-d", "a-b.c-d"),
        ("192.0.2.1", "192.0.2.1"),
        ("2001:DB8:0::1", "2001:db8::1"),
        ("::1", "::1"),
    ],
)
def test_host_is_kept_in_the_one_spelling_that_links_carry(address: str, kept: str) -> None:
    assert check_address(address, 1, 65535) == kept
    with fleet_in_memory() as (db, authority):
        node, _ = adopt_sample_node(db, authority, address=address)
        relay, _ = adopt_relay(db, sample_act(), authority, relay_request(), new_relay(address=address))
        assert (node.address, relay.address) == (kept, kept)
        BeaconAddress(relay=relay.id, host=relay.address, port=relay.ingress_port)


BAD_ADDRESSES = [
    "",
    " ",
    "gate example",
    "gate.example.",
    "gate.example\n",
    "gate\0",
    "gate]:443",
    "[2001:db8::1]",
    "2001:db8::1]",
    "gate:443",
    "192.0.2.1:443",
    "192.0.2.256",
    "192.0.2",
    "192.0.2.1/32",
    "::::",
    "....",
    "a..b",
    ".a",
    "-a",
    "a-.example",
    "fe80::1%eth0",
    "fe80::1%\n",
    "gate\nPostUp = x",
    "münchen.example",
    "x" * 64 + ".example",
    "a." * 127 + "aa",
]


@pytest.mark.parametrize("address", BAD_ADDRESSES)
def test_anything_else_is_refused(address: str) -> None:
    with pytest.raises(InvalidRequestError, match="neither a host name nor an IP address"):
        check_address(address)
    assert "neither" in refuse_node(address=address)
    assert "neither" in refuse_relay(address=address)


@pytest.mark.parametrize("port", [0, -1, 65536, 2**40])
def test_port_that_is_none_is_refused(port: int) -> None:
    for refused in (
        refuse_node(control_port=port),
        refuse_node(awg_port=port),
        refuse_relay(ingress_port=port),
        refuse_relay(tunnel_port=port),
    ):
        assert f"{port} is not a port" in refused


def test_relay_needs_two_different_ports() -> None:
    assert "differ" in refuse_relay(ingress_port=443, tunnel_port=443)


@quick
@given(st.text(max_size=20))
def test_no_control_character_ever_gets_in(text: str) -> None:
    for check in (check_name, check_address):
        try:
            text = check(text)
        except InvalidRequestError:
            continue
        assert text.isascii()
        assert text.isprintable()
        assert not set(text) & set("[]'\"\\/%#;=")


def refuse_node(**changes: object) -> str:
    return _refused(adopt_node, node_request(), new_node(**changes))


def refuse_relay(**changes: object) -> str:
    return _refused(adopt_relay, relay_request(), new_relay(**changes))


def _refused(adopt: object, request: AgentRequest, wanted: NewNode | NewRelay) -> str:
    with fleet_in_memory() as (db, authority):
        with pytest.raises(InvalidRequestError) as caught:
            adopt(db, sample_act(), authority, request, wanted)  # type: ignore[operator]
        assert (list_nodes(db), list_relays(db), entries(db)) == ([], [], [])
    return str(caught.value)


def test_request_chooses_nothing_in_its_certificate() -> None:
    """Whatever names a CSR asks for, the certificate says what helm decided."""
    key = generate_key()
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "controller")])
    )
    names = x509.SubjectAlternativeName([x509.DNSName("evil.example")])
    csr = builder.add_extension(names, critical=True).sign(key, hashes.SHA256()).public_bytes(Encoding.DER)
    with fleet_in_memory() as (db, authority):
        relay, grant = adopt_named(db, authority, csr)
        certificate = certificate_from_der(grant.certificate)
        assert certificate.subject == x509.Name([])
        assert b"evil" not in grant.certificate
        assert relay.id.encode() in grant.certificate


def adopt_named(db: Database, authority: Authority, csr: bytes) -> tuple[object, AgentGrant]:
    request = AgentRequest(role=Role.RELAY, csr=csr)
    return adopt_relay(db, sample_act(), authority, request, new_relay())
