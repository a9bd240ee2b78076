"""In the midst of a rotation two certificates of one authority are believed, and each leaf is judged by its own."""

import ssl

import attrs
import pytest
from cryptography import x509

from pharos.wire.errors import LocalProtocolError, PeerRejectedError
from pharos.wire.pki.keys import certificate_to_der as der
from pharos.wire.pki.roles import CONTROL, INGRESS, Authority, ListenerPolicy, Role
from pharos.wire.pki.tls import client_context, enrolment_context, presented_chain, server_context
from pharos.wire.pki.trust import Trust, verify_trust
from pharos.wire.pki.verify import authorize_peer
from tests.support.pki import SampleFleet, believing_both, home_fleet, utc_now
from tests.support.tls import shake_hands

OLD = home_fleet()
NEW = OLD.rotated(Authority.FLEET).rotated(Authority.DEVICE)
BOTH = believing_both(OLD, NEW)

BELIEFS = {"old": (OLD.trust, {"old"}), "both": (BOTH, {"old", "new"}), "new": (NEW.trust, {"new"})}
GENERATIONS = {"old": OLD, "new": NEW}


def is_believed(leaf: x509.Certificate, trust: Trust) -> bool:
    try:
        authorize_peer(der(leaf), trust=trust, roles=set(Role), peer_id=None, now=utc_now())
    except PeerRejectedError:
        return False
    return True


@pytest.mark.parametrize("belief", BELIEFS)
@pytest.mark.parametrize("role", Role)
def test_leaf_is_judged_by_the_one_that_signed_it(belief: str, role: Role) -> None:
    trust, believed = BELIEFS[belief]
    assert {
        name for name, fleet in GENERATIONS.items() if is_believed(fleet.member(role).certificate, trust)
    } == believed


def shakes(server: SampleFleet, listener: Trust, client: SampleFleet, dialler: Trust, policy: ListenerPolicy) -> bool:
    """Tell whether TLS alone lets a client of one generation reach a server of another."""
    role = Role.NODE if policy is CONTROL else Role.RELAY
    showing = Role.CONTROLLER if policy is CONTROL else Role.DEVICE
    try:
        near, _ = shake_hands(
            server_context(server.member(role), trust=listener, policy=policy),
            client_context(trust=dialler, credentials=client.member(showing)),
            server_hostname=OLD.identity(role).dns_name,
        )
    except ssl.SSLError:
        return False
    if policy is INGRESS:
        _, intermediate, root = presented_chain(near)
        assert (intermediate, root) == (der(server.trust.fleet_ca), der(OLD.trust.root))
    return True


@pytest.mark.parametrize("policy", [CONTROL, INGRESS], ids=lambda policy: policy.name)
def test_both_ends_of_tls_believe_the_same_generations(policy: ListenerPolicy) -> None:
    for trust, believed in BELIEFS.values():
        passed = {
            (mine, theirs)
            for mine, client in GENERATIONS.items()
            for theirs, server in GENERATIONS.items()
            if shakes(server, trust, client, trust, policy)
        }
        assert passed == {(mine, theirs) for mine in believed for theirs in believed}


@pytest.mark.parametrize("generation", GENERATIONS)
def test_stranger_is_shown_the_authority_that_signed_the_relay(generation: str) -> None:
    fleet = GENERATIONS[generation]
    ingress = server_context(fleet.member(Role.RELAY), trust=BOTH, policy=INGRESS)
    stranger = enrolment_context(root_hash=OLD.root_hash, relay_id="one", now=utc_now())
    near, _ = shake_hands(ingress, stranger, server_hostname=OLD.identity(Role.RELAY).dns_name)
    assert presented_chain(near)[1] == der(fleet.trust.fleet_ca)


def test_leaf_that_names_the_other_generation_is_refused() -> None:
    """Whoever has a stolen old key can write what it likes into the leaf, but the old key signed it."""
    identity = OLD.identity(Role.CONTROLLER)
    named = x509.AuthorityKeyIdentifier.from_issuer_public_key(NEW.fleet_ca_key.public_key())
    forged = OLD.forge(identity, change=[(named, False)]).certificate
    assert not is_believed(forged, BOTH)
    assert not is_believed(forged, NEW.trust)
    nameless = OLD.forge(identity, drop=[x509.AuthorityKeyIdentifier]).certificate
    assert not is_believed(nameless, BOTH)


def test_trust_is_established_with_its_successors() -> None:
    assert BOTH.next_fleet_ca is not None
    assert BOTH.next_device_ca is not None

    def established(**change: bytes | None) -> Trust:
        given: dict[str, bytes | None] = {
            "device_ca": der(OLD.trust.anchor(Authority.DEVICE)),
            "next_fleet_ca": der(NEW.trust.fleet_ca),
            "next_device_ca": der(NEW.trust.anchor(Authority.DEVICE)),
        }
        return verify_trust(
            root=der(OLD.trust.root),
            fleet_ca=der(OLD.trust.fleet_ca),
            root_hash=OLD.root_hash,
            now=utc_now(),
            **(given | change),
        )

    assert established() == BOTH
    assert established(next_device_ca=None) == attrs.evolve(BOTH, next_device_ca=None)
    bad = {
        "next_fleet_ca": (OLD.trust.fleet_ca, NEW.trust.anchor(Authority.DEVICE), OLD.trust.root),
        "next_device_ca": (OLD.trust.anchor(Authority.DEVICE), NEW.trust.fleet_ca),
    }
    for name, certificates in bad.items():
        for certificate in certificates:
            with pytest.raises(PeerRejectedError):
                pytest.fail(f"{name} {certificate}: {established(**{name: der(certificate)})}")


def test_anchors_are_the_current_and_its_successor() -> None:
    assert BOTH.anchor(Authority.FLEET) == OLD.trust.fleet_ca
    assert BOTH.anchors(Authority.FLEET) == (OLD.trust.fleet_ca, NEW.trust.fleet_ca)
    assert NEW.trust.anchors(Authority.DEVICE) == (NEW.trust.anchor(Authority.DEVICE),)
    # A successor alone is of no use to one who was given no Device CA.
    lone = Trust(root=OLD.trust.root, fleet_ca=OLD.trust.fleet_ca, next_device_ca=BOTH.next_device_ca)
    with pytest.raises(LocalProtocolError):
        lone.anchors(Authority.DEVICE)
