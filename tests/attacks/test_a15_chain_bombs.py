"""Row 15. Position: any peer. Wants: our processor and memory, by chains and certificates; or a key that it can break.

Countermeasure: of what a peer presents only the leaf is judged, against a configured intermediate; at most 16 KiB, and
P-256, P-384 or Ed25519 in one form. TLS itself takes 100 KiB of certificates at most.
"""

import ssl
import time
from collections.abc import Iterable

import attrs
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes

from pharos.wire.errors import PeerRejectedError
from pharos.wire.pki.keys import certificate_to_der as der
from pharos.wire.pki.keys import generate_key, generate_root_key
from pharos.wire.pki.profile import encode_spki, intermediate_template, spki_hash
from pharos.wire.pki.roles import CONTROL, INGRESS, Authority, Role
from pharos.wire.pki.secretfd import load_key_pair
from pharos.wire.pki.tls import Credentials, client_context, enrolment_context, server_context
from pharos.wire.pki.trust import MAX_CERTIFICATE, load_certificate
from tests.support.pki import SampleFleet, sign_certificate, utc_now
from tests.support.tls import shake_hands
from tests.wire.pki import test_verify as verify
from tests.wire.pki.test_matrix import HOME, LISTENERS, admit_everybody, gets_in, running

LISTENER = next(listener for listener in LISTENERS if listener.name == "buoy-control")
HELM = HOME.identity(Role.CONTROLLER)
FLEET_CA, ROOT = HOME.trust.fleet_ca, HOME.trust.root


def dialler(credentials: Credentials, *chain: x509.Certificate) -> ssl.SSLContext:
    """A peer that presents more than its leaf."""
    context = client_context(trust=HOME.trust)
    load_key_pair(context, (credentials.certificate, *chain), credentials.key)
    return context


def authorities(count: int, key: ec.EllipticCurvePrivateKey) -> list[x509.Certificate]:
    """Authorities that sign each other, all under the name of our Fleet CA."""
    template = ((x509.BasicConstraints(ca=True, path_length=None), True),)
    name = FLEET_CA.subject
    return [
        sign_certificate(subject=name, public_key=key.public_key(), template=template, issuer=name, issuer_key=key)
        for _ in range(count)
    ]


def make_evil() -> SampleFleet:
    """A Fleet CA that is like ours in all but the signature under it."""
    key = generate_key()
    fleet_ca = sign_certificate(
        subject=FLEET_CA.subject,
        public_key=key.public_key(),
        template=intermediate_template(Authority.FLEET, key.public_key(), root=ROOT),
        issuer=ROOT.subject,
        issuer_key=generate_root_key(),
    )
    return attrs.evolve(HOME, fleet_ca_key=key, trust=attrs.evolve(HOME.trust, fleet_ca=fleet_ca))


EVIL = make_evil()
BOMB = [EVIL.trust.fleet_ca, *authorities(99, EVIL.fleet_ca_key)]


# --- chains


async def test_a15_what_stands_beside_the_leaf_changes_nothing() -> None:
    genuine, forged = HOME.member(Role.CONTROLLER), EVIL.member(Role.CONTROLLER)
    device_ca = HOME.trust.anchor(Authority.DEVICE)
    chains: list[Iterable[x509.Certificate]] = [(), (FLEET_CA,), (FLEET_CA, FLEET_CA), (ROOT,), (device_ca, ROOT), BOMB]
    async with running(LISTENER) as target:
        for chain in chains:
            assert await gets_in(target, dialler(genuine, *chain))
            assert not await gets_in(target, dialler(forged, *chain))


@pytest.mark.red_inside
async def test_a15_forged_leaf_gets_in_where_the_bomb_is_believed() -> None:
    """Red: an anchor out of the chain that the peer sent."""

    def credulous(_listener: object) -> ssl.SSLContext:
        context = server_context(LISTENER.credentials, trust=HOME.trust, policy=CONTROL)
        context.load_verify_locations(cadata=der(EVIL.trust.fleet_ca))
        return context

    async with running(LISTENER, make_context=credulous, admit=admit_everybody) as weakened:
        assert await gets_in(weakened, dialler(EVIL.member(Role.CONTROLLER), *BOMB))
    async with running(LISTENER, make_context=credulous) as target:
        assert not await gets_in(target, dialler(EVIL.member(Role.CONTROLLER), *BOMB))


def handshake_seconds(client: ssl.SSLContext, *, refused: bool) -> float:
    """CPU time of both ends, the best of several, so that a busy machine does not decide."""
    server = server_context(LISTENER.credentials, trust=HOME.trust, policy=CONTROL)
    best = float("inf")
    for _ in range(5):
        begun = time.thread_time()
        try:
            shake_hands(server, client, server_hostname=LISTENER.hostname)
        except ssl.SSLError:
            assert refused
        else:
            assert not refused
        best = min(best, time.thread_time() - begun)
    return best


def test_a15_bomb_costs_little_more_than_a_handshake() -> None:
    """A hundred certificates are parsed and compared by name; no signature in them is computed. Measured: 10 times."""
    usual = handshake_seconds(dialler(HOME.member(Role.CONTROLLER)), refused=False)
    assert handshake_seconds(dialler(EVIL.member(Role.CONTROLLER), *BOMB), refused=True) < 60 * usual
    assert handshake_seconds(dialler(HOME.member(Role.CONTROLLER), *BOMB), refused=False) < 60 * usual


def test_a15_relay_cannot_bomb_a_stranger() -> None:
    """One who has only a root hash has to read the chain, and takes three certificates of it or none."""
    relay = HOME.member(Role.RELAY)
    server = server_context(relay, trust=HOME.trust, policy=INGRESS)
    load_key_pair(server, (relay.certificate, FLEET_CA, ROOT, *BOMB[:90]), relay.key)
    stranger = enrolment_context(root_hash=HOME.root_hash, relay_id="one", now=utc_now())
    with pytest.raises(PeerRejectedError, match="presents 3 certificates"):
        shake_hands(server, stranger, server_hostname=HOME.identity(Role.RELAY).dns_name)


def test_a15_published_bombs_are_refused() -> None:
    from tests.wire.pki import test_limbo as limbo  # skips this test alone where the vectors are missing

    limbo.test_bombs_are_refused_before_they_are_parsed()
    limbo.test_no_chain_of_limbo_is_taken_from_a_relay()
    limbo.test_nobody_in_limbo_is_a_member()


# --- certificates


def padded(size: int) -> Credentials:
    padding = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), bytes(size))
    return HOME.forge(HELM, change=[(padding, False)])


@pytest.mark.parametrize("size", [MAX_CERTIFICATE, 60_000, 1 << 20], ids=["16 KiB", "60 kB", "1 MiB"])
@pytest.mark.red_inside
async def test_a15_large_certificate_is_refused_unread(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    large = padded(size)
    async with running(LISTENER) as target:
        assert not await gets_in(target, dialler(large))
    with pytest.raises(PeerRejectedError, match="limit"):
        verify.authorize(large.certificate)
    # Red: with no limit it is read, and good.
    monkeypatch.setattr("pharos.wire.pki.trust.MAX_CERTIFICATE", 2 << 20)
    assert verify.authorize(large.certificate) == HELM


def rsa_key(bits: int) -> CertificatePublicKeyTypes:
    return rsa.generate_private_key(65537, bits).public_key()


def curve_key(curve: ec.EllipticCurve) -> CertificatePublicKeyTypes:
    return ec.generate_private_key(curve).public_key()


@pytest.mark.parametrize(
    "key",
    [rsa_key(1024), rsa_key(2048), curve_key(ec.SECP192R1()), curve_key(ec.SECP256K1()), curve_key(ec.SECP521R1())],
    ids=["RSA-1024", "RSA-2048", "P-192", "secp256k1", "P-521"],
)
@pytest.mark.red_inside
def test_a15_key_outside_the_list_is_refused(key: CertificatePublicKeyTypes) -> None:
    weak = HOME.forge(HELM, public_key=key).certificate
    # Red: the signature over it is the Fleet CA's own.
    weak.verify_directly_issued_by(FLEET_CA)
    with pytest.raises(PeerRejectedError, match="key must be"):
        verify.authorize(weak)


@pytest.mark.red_inside
async def test_a15_tls_alone_would_take_a_key_outside_the_list() -> None:
    key = ec.generate_private_key(ec.SECP521R1())
    large_curve = Credentials(certificate=HOME.forge(HELM, public_key=key.public_key()).certificate, key=key)
    async with running(LISTENER, admit=admit_everybody) as weakened:
        assert await gets_in(weakened, dialler(large_curve))
    async with running(LISTENER) as target:
        assert not await gets_in(target, dialler(large_curve))


# --- one key, one form


def respelt(leaf: x509.Certificate, spki: bytes) -> bytes:
    """Put another SubjectPublicKeyInfo into a leaf, and sign it again with the Fleet CA's key."""
    body = contents(leaf.tbs_certificate_bytes).replace(encode_spki(leaf.public_key()), spki)
    tbs = element(0x30, body)
    signature = HOME.fleet_ca_key.sign(tbs, ec.ECDSA(hashes.SHA256()))
    ecdsa_with_sha256 = bytes.fromhex("300a06082a8648ce3d040302")
    return element(0x30, tbs + ecdsa_with_sha256 + element(0x03, b"\0" + signature))


def element(tag: int, content: bytes) -> bytes:
    """DER, X.690 §8.1."""
    if len(content) < 0x80:
        return bytes([tag, len(content)]) + content
    length = len(content).to_bytes(2, "big").lstrip(b"\0")
    return bytes([tag, 0x80 | len(length)]) + length + content


def contents(der_element: bytes) -> bytes:
    first = der_element[1]
    return der_element[2:] if first < 0x80 else der_element[2 + (first & 0x7F) :]


@pytest.mark.red_inside
def test_a15_one_key_has_one_form() -> None:
    """Else a key could be denied in one form and shown in another."""
    leaf = HOME.member(Role.CONTROLLER).certificate
    key = leaf.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    usual = encode_spki(key)
    assert verify.authorize(x509.load_der_x509_certificate(respelt(leaf, usual))) == HELM
    point, short = (
        key.public_bytes(serialization.Encoding.X962, form)
        for form in (serialization.PublicFormat.UncompressedPoint, serialization.PublicFormat.CompressedPoint)
    )
    algorithm = usual[2 : -len(point) - 3]
    assert usual == element(0x30, algorithm + element(0x03, b"\0" + point))
    hybrid = bytes([short[0] + 4]) + point[1:]
    for form in (short, hybrid):
        odd = respelt(leaf, element(0x30, algorithm + element(0x03, b"\0" + form)))
        # Red: to the library it is the same key in a good certificate.
        parsed = x509.load_der_x509_certificate(odd)
        parsed.verify_directly_issued_by(FLEET_CA)
        assert spki_hash(parsed.public_key()) == spki_hash(key)
        with pytest.raises(PeerRejectedError, match="usual form"):
            load_certificate(odd)


def test_a15_other_good_keys_are_taken() -> None:
    for key in (curve_key(ec.SECP384R1()), ed25519.Ed25519PrivateKey.generate().public_key()):
        assert verify.authorize(HOME.forge(HELM, public_key=key).certificate) == HELM
