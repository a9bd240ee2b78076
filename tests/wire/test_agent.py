"""A machine joins by keys of its own: its grant must be for them, for its role, and of one fleet."""

from __future__ import annotations

import contextlib
import datetime
import json
import stat
from pathlib import Path

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pharos.wire import agent
from pharos.wire.agent import MAX_DOCUMENT, AgentGrant, AgentKeys, AgentRequest, grant_of
from pharos.wire.errors import AgentError, StateFileError
from pharos.wire.grant import from_text
from pharos.wire.noise.keys import KeyPair
from pharos.wire.pki.csr import make_csr, verify_csr
from pharos.wire.pki.keys import certificate_to_der, generate_key
from pharos.wire.pki.roles import Role
from tests.support.agents import grant_for, joined
from tests.support.pki import home_fleet, other_fleet, utc_now
from tests.support.strategies import junk_json, quick
from tests.support.trust import Signer

AGENTS = [Role.NODE, Role.RELAY]


@pytest.mark.parametrize("role", AGENTS)
def test_request_and_grant_travel_as_text_and_make_a_member(tmp_path: Path, role: Role) -> None:
    keys = AgentKeys(tmp_path, role)
    assert not keys.exists
    request = AgentRequest.parse(keys.make_request().render())
    assert request.role is role
    grant = AgentGrant.parse(grant_for(request, name="amsterdam").render())
    membership = keys.install(grant, now=utc_now())
    assert membership.identity == home_fleet().identity(role, "amsterdam")
    assert membership.credentials.certificate.public_key() == membership.credentials.key.public_key()
    # After a restart the same member comes up from disk.
    again = AgentKeys(tmp_path, role).membership(now=utc_now())
    assert (again.identity, again.trust) == (membership.identity, membership.trust)
    assert again.facts()["id"] == "amsterdam"


def test_relay_learns_the_device_ca_and_a_node_does_not(tmp_path: Path) -> None:
    for role, known in ((Role.NODE, None), (Role.RELAY, home_fleet().trust.device_ca)):
        (tmp_path / role.value).mkdir()
        assert joined(tmp_path / role.value, role).membership(now=utc_now()).trust.device_ca == known


def test_asking_twice_asks_for_the_same_machine(tmp_path: Path) -> None:
    first, second = AgentKeys(tmp_path, Role.NODE).make_request(), AgentKeys(tmp_path, Role.NODE).make_request()
    assert verify_csr(first.csr) == verify_csr(second.csr)
    assert attrs.evolve(first, csr=b"") == attrs.evolve(second, csr=b"")


def test_request_carries_the_public_halves_of_the_keys_on_disk(tmp_path: Path) -> None:
    keys = AgentKeys(tmp_path, Role.NODE)
    request = keys.make_request()
    assert request.awg_key == KeyPair.from_private_bytes(keys.awg_key).public
    assert request.derive_key == keys.derive_key.public


def test_no_private_key_leaves_the_private_file(tmp_path: Path) -> None:
    keys = joined(tmp_path)
    path = tmp_path / "identity.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    body = json.loads(path.read_text())["body"]
    told = keys.make_request().render() + repr(keys.membership(now=utc_now())) + repr(keys.derive_key)
    for name in ("tls_key", "awg_key", "derive_key"):
        assert body[name] not in told


@pytest.mark.parametrize("role", AGENTS)
def test_grant_for_another_machines_key_is_refused(tmp_path: Path, role: Role) -> None:
    keys = AgentKeys(tmp_path, role)
    stranger = attrs.evolve(keys.make_request(), csr=make_csr(generate_key()))
    with pytest.raises(AgentError, match="another machine's key"):
        keys.install(grant_for(stranger), now=utc_now())
    with pytest.raises(AgentError, match="not in a fleet yet"):
        keys.membership(now=utc_now())


@pytest.mark.parametrize("wrong", [Role.RELAY, Role.CONTROLLER, Role.DEVICE, Role.ADMIN])
def test_grant_of_another_role_is_refused(tmp_path: Path, wrong: Role) -> None:
    keys = AgentKeys(tmp_path, Role.NODE)
    request = keys.make_request()
    with pytest.raises(AgentError, match="does not verify"):
        keys.install(grant_for(request, role=wrong), now=utc_now())


def test_role_check_is_what_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Red proof: with every role admitted, a relay's grant would make a node."""
    strict = agent.authorize_peer
    monkeypatch.setattr(agent, "authorize_peer", lambda leaf, **rest: strict(leaf, **rest | {"roles": set(Role)}))
    keys = AgentKeys(tmp_path, Role.NODE)
    request = keys.make_request()
    assert keys.install(grant_for(request, role=Role.RELAY), now=utc_now()).identity.role is Role.RELAY


def test_grant_mixed_from_two_fleets_is_refused(tmp_path: Path) -> None:
    keys = AgentKeys(tmp_path, Role.NODE)
    home, other = grant_for(keys.make_request()), grant_for(keys.make_request(), fleet=other_fleet())
    for name in ("certificate", "root", "fleet_ca"):
        with pytest.raises(AgentError, match="does not verify"):
            keys.install(attrs.evolve(home, **{name: getattr(other, name)}), now=utc_now())


def test_refused_grant_leaves_the_one_that_is_kept(tmp_path: Path) -> None:
    keys = joined(tmp_path)
    before = (tmp_path / "identity.json").read_bytes()
    with pytest.raises(AgentError):
        keys.install(grant_for(keys.make_request(), role=Role.RELAY), now=utc_now())
    assert (tmp_path / "identity.json").read_bytes() == before


def test_newer_grant_replaces_the_one_that_is_kept(tmp_path: Path) -> None:
    keys = joined(tmp_path)
    keys.install(grant_for(keys.make_request(), name="two"), now=utc_now())
    assert AgentKeys(tmp_path, Role.NODE).membership(now=utc_now()).identity.id == "two"


@pytest.mark.parametrize("days", [-1, 366])
def test_grant_outside_its_time_is_refused_at_the_door_and_holds_at_the_start(tmp_path: Path, days: int) -> None:
    then = utc_now() + datetime.timedelta(days=days)
    keys = AgentKeys(tmp_path, Role.NODE)
    grant = grant_for(keys.make_request())
    with pytest.raises(AgentError, match="does not verify"):
        keys.install(grant, now=then)
    keys.install(grant, now=utc_now())
    assert keys.membership(now=then).identity == keys.membership(now=utc_now()).identity


def test_grant_before_any_request_is_refused(tmp_path: Path) -> None:
    request = AgentRequest(role=Role.NODE, csr=make_csr(generate_key()))
    with pytest.raises(AgentError, match="no request yet"):
        AgentKeys(tmp_path, Role.NODE).install(grant_for(request), now=utc_now())
    assert list(tmp_path.iterdir()) == []


def test_damaged_identity_is_refused_with_the_way_out_and_left_alone(tmp_path: Path) -> None:
    joined(tmp_path)
    path = tmp_path / "identity.json"
    damaged = path.read_bytes().replace(b'"tls_key": "M', b'"tls_key": "N')
    path.write_bytes(damaged)
    with pytest.raises(StateFileError, match=r"identity\.json is corrupt.*restore it from a copy"):
        AgentKeys(tmp_path, Role.NODE)
    assert path.read_bytes() == damaged


def test_identity_of_another_role_is_refused(tmp_path: Path) -> None:
    joined(tmp_path, Role.RELAY)
    with pytest.raises(StateFileError, match="pharos/relay-identity/v1"):
        AgentKeys(tmp_path, Role.NODE)


def test_relay_has_no_tunnel_keys(tmp_path: Path) -> None:
    keys = joined(tmp_path, Role.RELAY)
    with pytest.raises(StateFileError, match="awg_key"):
        _ = keys.awg_key


def node_request() -> dict[str, object]:
    key = generate_key()
    request = AgentRequest(role=Role.NODE, csr=make_csr(key), awg_key=bytes(32), derive_key=bytes(32))
    body: dict[str, object] = json.loads(request.render())
    return body


@pytest.mark.parametrize(
    "change",
    [
        {"format": "pharos/agent-request/v2"},
        {"role": "device"},
        {"role": "controller"},
        {"role": ["node"]},
        {"role": "relay"},
        {"awg_key": None},
        {"derive_key": "AAAA"},
        {"awg_key": "not base64!"},
        {"csr": "AAAA"},
        {"csr": None},
        {"csr": 5},
        {"more": 1},
    ],
)
def test_request_that_does_not_fit_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(AgentError):
        AgentRequest.parse(json.dumps(node_request() | change))


def test_request_without_proof_of_possession_is_refused() -> None:
    csr = bytearray(make_csr(generate_key()))
    csr[-1] ^= 1
    request = AgentRequest(role=Role.RELAY, csr=bytes(csr))
    with pytest.raises(AgentError, match="make it again"):
        AgentRequest.parse(request.render())


@pytest.mark.parametrize("text", ["", "[]", "{", "null", "[" * 50_000, "\x00", "{}"])
def test_text_that_is_no_document_is_refused(text: str) -> None:
    for kind in (AgentRequest, AgentGrant):
        with pytest.raises(AgentError, match="not a document of the format"):
            kind.parse(text)


def test_endless_document_is_refused_unread() -> None:
    for kind in (AgentRequest, AgentGrant):
        with pytest.raises(AgentError, match="too many"):
            kind.parse(" " * (MAX_DOCUMENT + 1))


@quick
@given(st.dictionaries(st.sampled_from(["certificate", "root", "fleet_ca", "device_ca", "more"]), junk_json))
def test_junk_grant_is_an_agent_error_or_a_grant(change: dict[str, object]) -> None:
    good = AgentGrant(certificate=b"a", root=b"b", fleet_ca=b"c", device_ca=None)
    with contextlib.suppress(AgentError):
        AgentGrant.parse(json.dumps(json.loads(good.render()) | change))


def test_certificates_with_flipped_bytes_are_agent_errors(tmp_path: Path) -> None:
    keys = AgentKeys(tmp_path, Role.NODE)
    grant = grant_for(keys.make_request())
    for name in ("certificate", "root", "fleet_ca"):
        good = getattr(grant, name)
        # Steps of a prime meet every field of the structure sooner or later, and some 80 tries stay quick.
        for position in range(0, len(good), 19):
            bad = bytearray(good)
            bad[position] ^= 0x41
            with pytest.raises(AgentError):
                keys.install(attrs.evolve(grant, **{name: bytes(bad)}), now=utc_now())


def test_grant_shows_public_certificates_only() -> None:
    fleet = home_fleet()
    grant = grant_of(fleet.member(Role.RELAY).certificate, trust=fleet.trust, role=Role.RELAY)
    assert fleet.trust.device_ca is not None
    assert grant.device_ca == certificate_to_der(fleet.trust.device_ca)
    assert AgentGrant.parse(grant.render()) == grant


def test_grant_may_carry_the_manifest_and_one_of_an_earlier_helm_does_not(tmp_path: Path) -> None:
    keys, helm = AgentKeys(tmp_path, Role.NODE), Signer()
    plain = grant_for(keys.make_request())
    assert "manifest" not in plain.render()
    assert AgentGrant.parse(plain.render()) == plain
    grant = attrs.evolve(plain, manifest=helm.manifest())
    assert AgentGrant.parse(grant.render()) == grant
    keys.install(grant, now=utc_now())
    assert AgentKeys(tmp_path, Role.NODE).granted_manifest == grant.manifest


@pytest.mark.parametrize("manifest", [b"junk", Signer(fleet=other_fleet()).manifest()], ids=["junk", "another fleet's"])
def test_grant_with_a_manifest_that_does_not_verify_is_refused(tmp_path: Path, manifest: bytes) -> None:
    keys = AgentKeys(tmp_path, Role.NODE)
    with pytest.raises(AgentError, match="does not verify"):
        keys.install(attrs.evolve(grant_for(keys.make_request()), manifest=manifest), now=utc_now())


def test_renewal_keeps_a_grant_that_was_installed_beside_the_daemon(tmp_path: Path) -> None:
    daemon = joined(tmp_path)
    AgentKeys(tmp_path, Role.NODE).install(grant_for(daemon.make_request(), name="two"), now=utc_now())
    daemon.renew()
    assert AgentKeys(tmp_path, Role.NODE).membership(now=utc_now()).identity.id == "two"


def test_machine_without_a_fleet_renews_nothing(tmp_path: Path) -> None:
    keys = AgentKeys(tmp_path, Role.NODE)
    keys.make_request()
    with pytest.raises(AgentError, match="not in a fleet yet"):
        keys.renew()


def test_fresh_key_stays_in_the_private_file(tmp_path: Path) -> None:
    keys = joined(tmp_path)
    csr = keys.renew()
    body = json.loads((tmp_path / "identity.json").read_text())["body"]
    assert from_text(body["next_tls_key"]) not in csr
    assert stat.S_IMODE((tmp_path / "identity.json").stat().st_mode) == 0o600
