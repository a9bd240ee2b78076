import datetime

import attrs
import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from pharos.wire.errors import LocalProtocolError, PeerRejectedError
from pharos.wire.pki.keys import certificate_to_der as der
from pharos.wire.pki.keys import generate_key
from pharos.wire.pki.profile import leaf_template, spki_hash
from pharos.wire.pki.roles import CONTROL, INGRESS, TUNNEL, WEB, Authority, Identity, ListenerPolicy, Role
from pharos.wire.pki.trust import Trust
from pharos.wire.pki.verify import admit_peer, authorize_peer
from tests.support.pki import home_fleet, make_fleet, other_fleet, sign_certificate, utc_now

HOME = home_fleet()
NOW = utc_now()
SECOND = datetime.timedelta(seconds=1)


def authorize(leaf: x509.Certificate, *, now: datetime.datetime = NOW, trust: Trust = HOME.trust) -> Identity:
    """Ask nothing but that the leaf is somebody of the fleet."""
    return authorize_peer(der(leaf), trust=trust, roles=frozenset(Role), peer_id=None, now=now)


@pytest.mark.parametrize("role", Role)
def test_member_proves_its_role_and_id(role: Role) -> None:
    leaf = der(HOME.member(role, "one").certificate)
    identity = authorize_peer(leaf, trust=HOME.trust, roles={role}, peer_id="one", now=NOW)
    assert identity == HOME.identity(role, "one")


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("wanted", Role)
def test_one_role_is_no_other(role: Role, wanted: Role) -> None:
    leaf = der(HOME.member(role).certificate)
    if role is wanted:
        assert authorize_peer(leaf, trust=HOME.trust, roles={wanted}, peer_id=None, now=NOW).role is role
    else:
        with pytest.raises(PeerRejectedError, match="no business"):
            authorize_peer(leaf, trust=HOME.trust, roles={wanted}, peer_id=None, now=NOW)


ADMITTED = {
    "control": {Role.CONTROLLER},
    "tunnel": {Role.CONTROLLER},
    "ingress": {Role.DEVICE, Role.ADMIN, None},
    "web": {Role.ADMIN},
}


def admitted(policy: ListenerPolicy) -> set[Role | None]:
    """Who passes `admit_peer` alone, with no TLS before it."""
    passed: set[Role | None] = set()
    for role in (*Role, None):
        leaf = None if role is None else der(HOME.member(role).certificate)
        try:
            identity = admit_peer(policy, leaf, trust=HOME.trust, now=NOW)
        except PeerRejectedError:
            continue
        assert identity == (None if role is None else HOME.identity(role))
        passed.add(role)
    return passed


@pytest.mark.parametrize("policy", [CONTROL, TUNNEL, INGRESS, WEB], ids=lambda policy: policy.name)
def test_policy_admits_its_roles_only(policy: ListenerPolicy) -> None:
    assert admitted(policy) == ADMITTED[policy.name]
    weakened = attrs.evolve(policy, roles=frozenset(Role), anonymous=True)
    assert admitted(weakened) == {*Role, None}


def test_node_is_not_another_node() -> None:
    leaf = der(HOME.member(Role.NODE, "a").certificate)
    with pytest.raises(PeerRejectedError, match="is not b"):
        authorize_peer(leaf, trust=HOME.trust, roles={Role.NODE}, peer_id="b", now=NOW)
    assert authorize_peer(leaf, trust=HOME.trust, roles={Role.NODE}, peer_id=None, now=NOW).id == "a"


@pytest.mark.parametrize("role", Role)
def test_member_of_another_fleet_is_refused(role: Role) -> None:
    leaf = other_fleet().member(role).certificate
    with pytest.raises(PeerRejectedError, match="another fleet"):
        authorize(leaf)
    # The names of this fleet, in a certificate of the other fleet's authority.
    claim = other_fleet().forge(HOME.identity(role)).certificate
    with pytest.raises(PeerRejectedError, match="does not verify"):
        authorize(claim)


@pytest.mark.parametrize("role", Role)
def test_authority_cannot_vouch_for_the_roles_of_the_other(role: Role) -> None:
    wrong = Authority.DEVICE if role.authority is Authority.FLEET else Authority.FLEET
    leaf = HOME.forge(HOME.identity(role), authority=wrong).certificate
    with pytest.raises(PeerRejectedError, match="does not verify"):
        authorize(leaf)


def test_device_ca_vouches_for_no_server_even_as_an_anchor() -> None:
    """Weakened: the Device CA stands where the Fleet CA should. Its own usage still refuses a node, not a client."""
    weakened = Trust(root=HOME.trust.root, fleet_ca=HOME.trust.anchor(Authority.DEVICE))
    node = HOME.forge(HOME.identity(Role.NODE), authority=Authority.DEVICE).certificate
    with pytest.raises(PeerRejectedError, match="does not verify"):
        authorize(node, trust=weakened)
    controller = HOME.forge(HOME.identity(Role.CONTROLLER), authority=Authority.DEVICE).certificate
    assert authorize(controller, trust=weakened).role is Role.CONTROLLER


def test_root_vouches_for_no_leaf() -> None:
    identity, key = HOME.identity(Role.CONTROLLER), generate_key()
    leaf = sign_certificate(
        subject=x509.Name([]),
        public_key=key.public_key(),
        template=leaf_template(identity, key.public_key(), ca=HOME.trust.root),
        issuer=HOME.trust.root.subject,
        issuer_key=HOME.root_key,
    )
    with pytest.raises(PeerRejectedError, match="does not verify"):
        authorize(leaf)


def test_leaf_vouches_for_no_leaf() -> None:
    signer = HOME.member(Role.NODE)
    for subject in (signer.certificate.subject, HOME.trust.fleet_ca.subject):
        key = generate_key()
        leaf = sign_certificate(
            subject=x509.Name([]),
            public_key=key.public_key(),
            template=leaf_template(HOME.identity(Role.NODE, "b"), key.public_key(), ca=signer.certificate),
            issuer=subject,
            issuer_key=signer.key,
        )
        with pytest.raises(PeerRejectedError, match="does not verify"):
            authorize(leaf)


def test_authorities_are_nobody() -> None:
    for certificate in (HOME.trust.root, HOME.trust.fleet_ca, HOME.trust.anchor(Authority.DEVICE)):
        with pytest.raises(PeerRejectedError, match="exactly one fleet member"):
            authorize(certificate)


@pytest.mark.parametrize("role", Role)
def test_validity_is_to_the_second(role: Role) -> None:
    leaf = HOME.member(role).certificate
    first, last = leaf.not_valid_before_utc, leaf.not_valid_after_utc
    assert authorize(leaf, now=first) == authorize(leaf, now=last) == HOME.identity(role)
    for now in (first - SECOND, last + SECOND):
        with pytest.raises(PeerRejectedError, match="does not verify"):
            authorize(leaf, now=now)


def test_time_zone_is_respected() -> None:
    leaf = HOME.member(Role.NODE).certificate
    last = leaf.not_valid_after_utc
    west = datetime.timezone(datetime.timedelta(hours=-8))
    assert authorize(leaf, now=last.astimezone(west)) == HOME.identity(Role.NODE)
    with pytest.raises(PeerRejectedError):
        authorize(leaf, now=(last + SECOND).astimezone(west))
    with pytest.raises(LocalProtocolError, match="time zone"):
        authorize(leaf, now=last.replace(tzinfo=None))


def test_expired_authority_vouches_for_nobody() -> None:
    fleet = make_fleet(now=NOW - datetime.timedelta(days=1825 - 30))
    # `issue` would end the leaf with its authority; this one lives for a year from now.
    leaf = fleet.forge(fleet.identity(Role.NODE)).certificate
    end = fleet.trust.fleet_ca.not_valid_after_utc
    assert leaf.not_valid_after_utc > end + SECOND
    assert authorize(leaf, trust=fleet.trust, now=end) == fleet.identity(Role.NODE)
    with pytest.raises(PeerRejectedError, match="does not verify"):
        authorize(leaf, trust=fleet.trust, now=end + SECOND)


def test_denied_member_and_denied_key_are_refused() -> None:
    member = HOME.member(Role.DEVICE, "lost")
    key_hash = spki_hash(member.key.public_key())
    leaf = der(member.certificate)
    lists = {
        HOME.deny_list(): True,
        HOME.deny_list(HOME.identity(Role.DEVICE, "lost")): False,
        HOME.deny_list(HOME.identity(Role.ADMIN, "lost"), HOME.identity(Role.DEVICE)): True,
        HOME.deny_list(keys=[key_hash]): False,
        HOME.deny_list(keys=[bytes(32)]): True,
    }
    for deny, welcome in lists.items():
        if welcome:
            assert admit_peer(INGRESS, leaf, trust=HOME.trust, now=NOW, deny=deny)
        else:
            with pytest.raises(PeerRejectedError, match="revoked"):
                admit_peer(INGRESS, leaf, trust=HOME.trust, now=NOW, deny=deny)


def test_deny_list_is_asked_about_proven_members_only() -> None:
    class Unasked:
        def denies(self, identity: Identity, spki_hash: bytes) -> bool:
            raise AssertionError((identity, spki_hash))

    forged = other_fleet().forge(HOME.identity(Role.DEVICE)).certificate
    with pytest.raises(PeerRejectedError, match="does not verify"):
        admit_peer(INGRESS, der(forged), trust=HOME.trust, now=NOW, deny=Unasked())


LEAF = der(HOME.member(Role.NODE).certificate)


@given(at=st.integers(0, len(LEAF) - 1), byte=st.integers(0, 255))
def test_no_changed_byte_is_authorized(at: int, byte: int) -> None:
    damaged = LEAF[:at] + bytes([byte]) + LEAF[at + 1 :]
    if damaged == LEAF:
        return
    with pytest.raises(PeerRejectedError):
        authorize_peer(damaged, trust=HOME.trust, roles=frozenset(Role), peer_id=None, now=NOW)
