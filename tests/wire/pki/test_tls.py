import datetime
import ipaddress
import ssl

import pytest
from cryptography import x509

from pharos.wire.errors import LocalProtocolError, PeerRejectedError
from pharos.wire.pki.keys import certificate_to_der as der
from pharos.wire.pki.roles import CONTROL, INGRESS, TUNNEL, WEB, Authority, ListenerPolicy, Role
from pharos.wire.pki.tls import Credentials, client_context, enrolment_context, presented_chain, server_context
from pharos.wire.pki.trust import Trust
from tests.support.pki import home_fleet, make_web_credentials, other_fleet, utc_now
from tests.support.tls import shake_hands

HOME = home_fleet()
DAY = datetime.timedelta(days=1)


def listener(policy: ListenerPolicy, server: Credentials | None = None) -> ssl.SSLContext:
    role = Role.NODE if policy is CONTROL else Role.RELAY
    credentials = make_web_credentials() if policy is WEB else HOME.member(role)
    return server_context(server or credentials, trust=HOME.trust, policy=policy)


def dialler(role: Role | None = Role.CONTROLLER) -> ssl.SSLContext:
    return client_context(trust=HOME.trust, credentials=None if role is None else HOME.member(role))


def dns_name(role: Role, member: str = "one") -> str:
    name = HOME.identity(role, member).dns_name
    assert name is not None
    return name


NODE, RELAY = dns_name(Role.NODE), dns_name(Role.RELAY)


@pytest.mark.parametrize("policy", [CONTROL, TUNNEL, INGRESS, WEB], ids=lambda policy: policy.name)
def test_listener_context_is_strict(policy: ListenerPolicy) -> None:
    context = listener(policy)
    assert context.minimum_version is ssl.TLSVersion.TLSv1_3
    assert context.num_tickets == 0
    assert context.verify_mode is (ssl.CERT_OPTIONAL if policy is INGRESS else ssl.CERT_REQUIRED)
    assert context.verify_flags & ssl.VERIFY_X509_PARTIAL_CHAIN
    assert context.verify_flags & ssl.VERIFY_X509_STRICT
    assert context.get_ca_certs(binary_form=True) == [der(HOME.trust.anchor(policy.authority))]


def test_dialling_context_is_strict() -> None:
    context = dialler()
    assert context.minimum_version is ssl.TLSVersion.TLSv1_3
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.get_ca_certs(binary_form=True) == [der(HOME.trust.fleet_ca)]


def test_member_without_device_ca_cannot_open_an_ingress() -> None:
    trust = Trust(root=HOME.trust.root, fleet_ca=HOME.trust.fleet_ca)
    server_context(HOME.member(Role.NODE), trust=trust, policy=CONTROL)
    with pytest.raises(LocalProtocolError, match="Device CA"):
        server_context(HOME.member(Role.RELAY), trust=trust, policy=INGRESS)


def test_handshake_shows_each_end_its_peer() -> None:
    controller, node = HOME.member(Role.CONTROLLER), HOME.member(Role.NODE)
    client, server = shake_hands(
        listener(CONTROL, node), client_context(trust=HOME.trust, credentials=controller), server_hostname=NODE
    )
    assert client.getpeercert(binary_form=True) == der(node.certificate)
    assert server.getpeercert(binary_form=True) == der(controller.certificate)
    assert client.version() == "TLSv1.3"
    assert client.selected_alpn_protocol() == server.selected_alpn_protocol() == "h2"


def test_stranger_may_shake_hands_at_the_ingress_only() -> None:
    _, server = shake_hands(listener(INGRESS), dialler(None), server_hostname=RELAY)
    assert server.getpeercert(binary_form=True) is None
    for policy, name in ((CONTROL, NODE), (TUNNEL, RELAY)):
        with pytest.raises(ssl.SSLError, match="PEER_DID_NOT_RETURN_A_CERTIFICATE"):
            shake_hands(listener(policy), dialler(None), server_hostname=name)


def test_older_tls_is_refused() -> None:
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    for policy in (CONTROL, TUNNEL, INGRESS, WEB):
        with pytest.raises(ssl.SSLError, match="PROTOCOL"):
            shake_hands(listener(policy), old)
    weakened = listener(INGRESS)
    weakened.minimum_version = ssl.TLSVersion.TLSv1_2
    assert shake_hands(weakened, old)[0].version() == "TLSv1.2"

    old_server = listener(INGRESS)
    old_server.minimum_version, old_server.maximum_version = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2
    stranger = enrolment_context(root_hash=HOME.root_hash, relay_id="one", now=utc_now())
    for client in (dialler(), stranger):
        with pytest.raises(ssl.SSLError, match="PROTOCOL"):
            shake_hands(old_server, client, server_hostname=RELAY)


@pytest.mark.parametrize(
    ("policy", "offered", "selected"),
    [
        (CONTROL, ["h2"], "h2"),
        (CONTROL, ["http/1.1", "h2"], "h2"),
        (CONTROL, ["http/1.1"], None),
        (INGRESS, ["h2c"], None),
        (WEB, ["http/1.1"], "http/1.1"),
        (WEB, ["http/1.1", "h2"], "h2"),
    ],
)
def test_listener_selects_its_protocols_only(policy: ListenerPolicy, offered: list[str], selected: str | None) -> None:
    client = dialler(Role.ADMIN if policy is WEB else Role.CONTROLLER if policy is CONTROL else None)
    client.set_alpn_protocols(offered)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    _, server = shake_hands(listener(policy), client)
    # The transport refuses whatever is not the protocol it speaks, None included.
    assert server.selected_alpn_protocol() == selected


def test_no_session_can_be_resumed() -> None:
    """A resumed session skips the certificates."""
    context, client = listener(CONTROL), dialler()
    near, _ = shake_hands(context, client, server_hostname=NODE)
    assert near.session is None or not near.session.has_ticket
    again, _ = shake_hands(context, client, server_hostname=NODE, session=near.session)
    assert not again.session_reused

    weakened = listener(CONTROL)
    weakened.num_tickets = 2
    near, _ = shake_hands(weakened, client, server_hostname=NODE)
    assert near.session is not None
    assert near.session.has_ticket
    again, _ = shake_hands(weakened, client, server_hostname=NODE, session=near.session)
    assert again.session_reused


def test_node_is_not_another_node() -> None:
    server = listener(CONTROL, HOME.member(Role.NODE, "a"))
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        shake_hands(server, dialler(), server_hostname=dns_name(Role.NODE, "b"))
    weakened = dialler()
    weakened.check_hostname = False
    near, _ = shake_hands(server, weakened, server_hostname=dns_name(Role.NODE, "b"))
    assert near.getpeercert(binary_form=True) is not None


def names(*values: x509.GeneralName) -> list[tuple[x509.ExtensionType, bool]]:
    return [(x509.SubjectAlternativeName(values), True)]


def test_openssl_refuses_names_outside_the_constraint() -> None:
    uri = x509.UniformResourceIdentifier(HOME.identity(Role.NODE).uri)
    for outside in (x509.DNSName("helm.example"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))):
        node = HOME.forge(HOME.identity(Role.NODE), change=names(uri, outside))
        with pytest.raises(ssl.SSLCertVerificationError, match="subtree violation"):
            shake_hands(listener(CONTROL, node), dialler(), server_hostname=str(outside.value))


def forged_servers() -> dict[str, Credentials]:
    identity = HOME.identity(Role.NODE)
    return {
        "of the device ca": HOME.forge(identity, authority=Authority.DEVICE),
        "of another fleet": other_fleet().forge(identity),
        "without usage of a server": HOME.forge(identity, change=[(x509.ExtendedKeyUsage([Role.DEVICE.usage]), False)]),
        "expired": HOME.member(Role.NODE, now=utc_now() - 366 * DAY),
        "not yet valid": HOME.member(Role.NODE, now=utc_now() + DAY),
        "an authority itself": HOME.forge(identity, change=[(x509.BasicConstraints(ca=True, path_length=0), True)]),
    }


@pytest.mark.parametrize("forgery", forged_servers())
def test_openssl_refuses_a_forged_server(forgery: str) -> None:
    """`authorize_peer` refuses them too (test_verify.py): either half of the check holds alone."""
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(listener(CONTROL, forged_servers()[forgery]), dialler(), server_hostname=NODE)


def test_relays_and_nodes_are_no_tls_clients() -> None:
    for role in (Role.NODE, Role.RELAY):
        with pytest.raises(ssl.SSLError, match="unsuitable certificate purpose"):
            shake_hands(listener(CONTROL), dialler(role), server_hostname=NODE)


def test_credentials_do_not_show_their_key() -> None:
    member = HOME.member(Role.NODE)
    assert "key" not in repr(member).lower()


# --- one who only has the root's hash


def stranger(
    *, root_hash: bytes = HOME.root_hash, relay_id: str = "one", now: datetime.datetime | None = None
) -> ssl.SSLContext:
    return enrolment_context(root_hash=root_hash, relay_id=relay_id, now=now or utc_now())


def test_ingress_presents_its_whole_chain() -> None:
    relay = HOME.member(Role.RELAY)
    near, _ = shake_hands(listener(INGRESS, relay), stranger(), server_hostname=RELAY)
    assert presented_chain(near) == (der(relay.certificate), der(HOME.trust.fleet_ca), der(HOME.trust.root))


def test_enrolled_device_takes_the_long_chain_too() -> None:
    near, _ = shake_hands(listener(INGRESS), dialler(Role.DEVICE), server_hostname=RELAY)
    assert len(presented_chain(near)) == 3


def test_stranger_refuses_in_the_handshake_whoever_is_not_the_relay_of_its_link() -> None:
    other = other_fleet()
    others_ingress = server_context(other.member(Role.RELAY), trust=other.trust, policy=INGRESS)
    forged = HOME.forge(HOME.identity(Role.RELAY), authority=Authority.DEVICE)
    cases = {
        "another fleet's relay": (others_ingress, stranger()),
        "another root hash": (listener(INGRESS), stranger(root_hash=other.root_hash)),
        "another relay": (listener(INGRESS), stranger(relay_id="two")),
        "a node": (listener(INGRESS, HOME.member(Role.NODE)), stranger()),
        "a forged relay": (listener(INGRESS, forged), stranger()),
        "an expired relay": (listener(INGRESS), stranger(now=utc_now() + 400 * DAY)),
    }
    for name, (server, client) in cases.items():
        with pytest.raises(PeerRejectedError):
            pytest.fail(f"{name}: {shake_hands(server, client, server_hostname=RELAY)}")
        weakened = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        weakened.check_hostname, weakened.verify_mode = False, ssl.CERT_NONE
        shake_hands(server, weakened, server_hostname=RELAY)
