"""A machine that lost its way back gets another certificate, and no other machine gets its place."""

from __future__ import annotations

import itertools
import json
import secrets
from pathlib import Path

import attrs
import pytest

from pharos.helm.ca.authority import Authority
from pharos.helm.cli import main
from pharos.helm.errors import ConflictError, InvalidRequestError
from pharos.helm.fleet.nodes import move_node
from pharos.helm.model.nodes import Node, NodeAct
from pharos.helm.onboard.readopt import TABLE, Action, Input, Readopted, Readoption, State, readopt
from pharos.helm.store.certificates import certificates_of
from pharos.helm.store.database import Database
from pharos.helm.store.nodes import NODES
from pharos.helm.store.records import get_record
from pharos.wire.agent import AgentRequest
from pharos.wire.console import Exit
from pharos.wire.errors import LocalProtocolError
from pharos.wire.noise.keys import KeyPair
from pharos.wire.pki.csr import make_csr
from pharos.wire.pki.keys import certificate_from_der, generate_key
from pharos.wire.pki.roles import Role
from pharos.wire.pki.verify import authorize_peer
from pharos.wire.seal.successor import NodeKeys, prove_successor
from pharos.wire.seal.xeddsa import RANDOM_LENGTH
from tests.support.commands import invoke, invoke_json
from tests.support.helm import adopt_sample_node, fleet_in_memory, node_request, now, relay_request, sample_act


def again(db: Database, authority: Authority, node: Node, request: AgentRequest, **options: bool) -> Readopted:
    version = get_record(db, NODES, node.id).version
    return readopt(db, sample_act(), authority, Role.NODE, node.id, version, request, **options)


@attrs.frozen
class Machine:
    """A node's own keys."""

    awg: KeyPair = attrs.field(factory=KeyPair.generate)
    derive: KeyPair = attrs.field(factory=KeyPair.generate)

    @property
    def public(self) -> NodeKeys:
        return NodeKeys(awg=self.awg.public, derive=self.derive.public)

    def request(self, proof: bytes | None = None) -> AgentRequest:
        return AgentRequest(
            role=Role.NODE,
            csr=make_csr(generate_key()),
            awg_key=self.awg.public,
            derive_key=self.derive.public,
            key_proof=proof,
        )


def test_node_with_its_own_keys_gets_a_certificate_for_its_new_tls_key() -> None:
    with fleet_in_memory() as (db, authority):
        machine = Machine()
        node, first = adopt_sample_node(db, authority, request=machine.request())
        request = machine.request()
        done = again(db, authority, node, request)
        assert (done.record.id, done.keys_changed) == (node.id, False)
        authorize_peer(done.grant.certificate, trust=authority.trust, roles={Role.NODE}, peer_id=node.id, now=now())
        assert done.grant.certificate != first.certificate
        assert done.grant.manifest == authority.manifest
        assert [c.state.value for c in certificates_of(db, node.id)].count("active") == 1
        # The grant was lost on the way: the same request gets the same again, and nothing is written.
        repeated = again(db, authority, node, request)
        assert (repeated.grant, repeated.record) == (done.grant, done.record)


def test_node_with_its_own_tls_key_gets_another_certificate_once_the_old_is_due(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with fleet_in_memory() as (db, authority):
        request = node_request()
        node, first = adopt_sample_node(db, authority, request=request)
        assert again(db, authority, node, request).grant.certificate == first.certificate
        monkeypatch.setattr("pharos.helm.onboard.readopt.due", lambda *_: True)
        second = again(db, authority, node, request).grant.certificate
        key = certificate_from_der(first.certificate).public_key()
        assert certificate_from_der(second).public_key() == key
        assert second != first.certificate


def test_other_tunnel_keys_are_another_machine_until_somebody_says_so() -> None:
    with fleet_in_memory() as (db, authority):
        node, _ = adopt_sample_node(db, authority)
        other = node_request()
        with pytest.raises(ConflictError, match="--new-keys"):
            again(db, authority, node, other)
        assert get_record(db, NODES, node.id) == node
        done = again(db, authority, node, other, new_keys=True)
        assert (done.keys_changed, done.proven) == (True, False)
        assert isinstance(done.record, Node)
        assert (done.record.awg_key, done.record.key_proof) == (other.awg_key, None)


def test_new_tunnel_keys_that_the_old_ones_signed_need_no_word_from_devices() -> None:
    with fleet_in_memory() as (db, authority):
        old, new = Machine(), Machine()
        node, _ = adopt_sample_node(db, authority, request=old.request())
        proof = prove_successor(
            old.derive,
            fleet=authority.trust.fleet,
            node=node.id,
            before=old.public,
            after=new.public,
            random=secrets.token_bytes(RANDOM_LENGTH),
        )
        with pytest.raises(InvalidRequestError):
            again(db, authority, node, new.request(bytes(64)), new_keys=True)
        request = AgentRequest.parse(new.request(proof).render())
        done = again(db, authority, node, request, new_keys=True)
        assert done.proven
        assert isinstance(done.record, Node)
        assert done.record.key_proof == proof


def test_revoked_node_another_role_and_the_key_of_another_are_refused() -> None:
    with fleet_in_memory() as (db, authority):
        machine, request = Machine(), node_request()
        node, _ = adopt_sample_node(db, authority, request=machine.request())
        adopt_sample_node(db, authority, "berlin", request=request)
        with pytest.raises(InvalidRequestError, match="relay"):
            again(db, authority, node, relay_request())
        with pytest.raises(ConflictError, match="another member"):
            again(db, authority, node, attrs.evolve(machine.request(), csr=request.csr))
        version = get_record(db, NODES, node.id).version
        move_node(db, sample_act(), node.id, version, NodeAct.REVOKE)
        with pytest.raises(ConflictError, match="for ever"):
            again(db, authority, node, machine.request())


def test_machine_answers_every_input_in_every_state_by_its_table() -> None:
    for state, given in itertools.product(State, Input):
        machine = Readoption(state)
        if (state, given) in TABLE:
            assert (machine.feed(given), machine.state) == TABLE[state, given]
        else:
            with pytest.raises(LocalProtocolError):
                machine.feed(given)
            assert machine.state is state
    machine = Readoption()
    steps = [machine.feed(given) for given in (Input.SAME_KEYS, Input.CERTIFICATE, Input.INSTALLED, Input.LINKED)]
    assert steps == [Action.CERTIFY, Action.CARRY, Action.AWAIT_LINK, Action.FINISH]


def test_command_prints_the_grant_and_says_what_devices_will_do(tmp_path: Path) -> None:
    state = tmp_path / "s"
    invoke(main, "init", "--yes", "--state", state)
    at = ("--state", state, "--request", "-")
    old, new = Machine(), Machine()
    more = ("--address", "127.0.0.1", "--name", "amsterdam")
    first = invoke_json(main, "nodes", "admit", *at, *more, stdin=old.request().render())["grant"]
    done = invoke(main, "nodes", "readopt", "amsterdam", *at, stdin=old.request().render())
    assert done.exit_code == 0
    assert json.loads(done.stdout)["certificate"] != json.loads(first)["certificate"]
    refused = invoke(main, "nodes", "readopt", "amsterdam", *at, stdin=new.request().render())
    assert refused.exit_code == Exit.CONFLICT
    allowed = invoke(main, "nodes", "readopt", "amsterdam", *at, "--new-keys", stdin=new.request().render())
    assert "each device will ask" in allowed.stderr
    csr = relay_request()
    ports = ("--address", "127.0.0.1", "--name", "gate")
    invoke_json(main, "relays", "admit", *at, *ports, stdin=csr.render())
    assert invoke(main, "relays", "readopt", "gate", *at, stdin=relay_request().render()).exit_code == 0
