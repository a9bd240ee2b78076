"""The one check on every handshake: does this certificate prove the role and the id that we need?

TLS has shown that the peer holds the leaf's key. Here the leaf alone is judged, against our own intermediate and
our own clock; whatever chain the peer sent along is not read. "Chains to the CA" is not authorization.
"""

import datetime
from collections.abc import Collection, Sequence
from typing import Final

from cryptography import x509
from cryptography.x509.verification import (
    Criticality,
    ExtensionPolicy,
    Policy,
    PolicyBuilder,
    Store,
    VerificationError,
)

from pharos.wire.errors import PeerRejectedError
from pharos.wire.pki.denylist import DenyCheck
from pharos.wire.pki.profile import as_utc, leaf_template
from pharos.wire.pki.roles import Identity, ListenerPolicy, Role, parse_identity
from pharos.wire.pki.trust import Trust, load_certificate, verify_trust
from pharos.wire.pki.verified import Verified

# Leaf, Fleet CA, root: what a relay's ingress presents, so that a root hash is enough to judge it.
PRESENTED_CHAIN: Final = 3


def authorize_peer(
    leaf: bytes,
    *,
    trust: Trust,
    roles: Collection[Role],
    peer_id: str | None,
    now: datetime.datetime,
    deny: DenyCheck | None = None,
) -> Identity:
    """Return who the DER certificate `leaf` proves its holder to be.

    `peer_id` is the id that was dialled; None where a listener serves any id of the roles.

    Raises:
        PeerRejectedError — it proves nothing, or another fleet, role or id, or the holder is denied.
        LocalProtocolError — a role is asked for that `trust` has no intermediate for.
    """
    verified = trust.verified.recall(leaf, now)
    if verified is not None:
        identity = verified.identity
        _require_wanted(identity, trust, roles, peer_id)
    else:
        certificate = load_certificate(leaf)
        identity = _claimed_identity(certificate)
        _require_wanted(identity, trust, roles, peer_id)
        verified = _verify_leaf(certificate, identity, trust, now)
        trust.verified.remember(leaf, verified)
    if deny is not None and deny.denies(identity, verified.spki_hash):
        raise PeerRejectedError(f"{identity.uri} was revoked")
    return identity


def _require_wanted(identity: Identity, trust: Trust, roles: Collection[Role], peer_id: str | None) -> None:
    if identity.fleet != trust.fleet:
        raise PeerRejectedError(f"{identity.uri} is of another fleet than {trust.fleet}")
    if identity.role not in roles:
        raise PeerRejectedError(f"{identity.uri} has no business here")
    if peer_id is not None and identity.id != peer_id:
        raise PeerRejectedError(f"{identity.uri} is not {peer_id}")


def admit_peer(
    policy: ListenerPolicy,
    certificate: bytes | None,
    *,
    trust: Trust,
    now: datetime.datetime,
    deny: DenyCheck | None = None,
) -> Identity | None:
    """Return who stands before a listener; None is a stranger, whom the policy lets in to enrol or log in.

    To be called with the handshake's certificate, before anything is read from the peer or written to it.

    Raises: PeerRejectedError — the policy does not admit the peer.
    """
    if certificate is None:
        if not policy.anonymous:
            raise PeerRejectedError(f"the {policy.name} listener needs a certificate")
        return None
    return authorize_peer(certificate, trust=trust, roles=policy.roles, peer_id=None, now=now, deny=deny)


def verify_presented_chain(chain: Sequence[bytes], *, root_hash: bytes, relay_id: str, now: datetime.datetime) -> Trust:
    """Return the trust that a relay's chain (leaf, Fleet CA, root) establishes for one who only has a root hash.

    `root_hash` is SHA-256 of the root's SubjectPublicKeyInfo in full, and `relay_id` the relay named beside it in
    the ticket or fleet link. `tls.enrolment_context` makes it part of the handshake.

    Raises: PeerRejectedError — the chain is not that relay's, below that root.
    """
    if len(chain) != PRESENTED_CHAIN:
        raise PeerRejectedError(f"a relay presents {PRESENTED_CHAIN} certificates, not {len(chain)}")
    leaf, fleet_ca, root = chain
    trust = verify_trust(root=root, fleet_ca=fleet_ca, device_ca=None, root_hash=root_hash, now=now)
    authorize_peer(leaf, trust=trust, roles={Role.RELAY}, peer_id=relay_id, now=now)
    return trust


def _claimed_identity(certificate: x509.Certificate) -> Identity:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        (uri,) = names.get_values_for_type(x509.UniformResourceIdentifier)
        identity = parse_identity(uri)
    except (x509.ExtensionNotFound, ValueError) as error:
        raise PeerRejectedError("a certificate does not name exactly one fleet member") from error
    if len(certificate.subject.rdns) != 0:
        raise PeerRejectedError(f"the certificate of {identity.uri} names a subject besides")
    return identity


def _verify_leaf(certificate: x509.Certificate, identity: Identity, trust: Trust, now: datetime.datetime) -> Verified:
    """Verify the leaf against the one intermediate of its role that may have signed it.

    The defaults of `cryptography` are not enough: it takes a missing extended key usage for any, and does not know our
    names. So every extension of our profile has to be there and equal; further ones may be there if not critical.
    """
    anchor = trust.anchor_of(certificate, identity.role.authority)
    leaf_policy = ExtensionPolicy.webpki_defaults_ee()
    for extension, critical in leaf_template(identity, certificate.public_key(), ca=anchor):
        criticality = Criticality.CRITICAL if critical else Criticality.NON_CRITICAL
        leaf_policy = require_equal(leaf_policy, extension, criticality)

    def allows_usage(_policy: Policy, _ca: x509.Certificate, usages: x509.ExtendedKeyUsage) -> None:
        if identity.role.usage not in usages:
            raise ValueError(f"the intermediate may not vouch for a {identity.role.value}")

    anchor_policy = ExtensionPolicy.webpki_defaults_ca().require_present(
        x509.ExtendedKeyUsage, Criticality.AGNOSTIC, allows_usage
    )
    try:
        verify_path(certificate, anchor=anchor, now=now, leaf_policy=leaf_policy, anchor_policy=anchor_policy)
    except PeerRejectedError as error:
        raise PeerRejectedError(f"the certificate of {identity.uri} does not verify: {error}") from error
    return Verified.of(certificate, identity, anchor=anchor)


def verify_path(
    leaf: x509.Certificate,
    *,
    anchor: x509.Certificate,
    now: datetime.datetime,
    leaf_policy: ExtensionPolicy,
    anchor_policy: ExtensionPolicy,
) -> None:
    """Run the verifier of `cryptography` (RFC 5280 §6) on a path of two: the anchor, and the leaf that it signed.

    Its client verifier serves for relays and nodes as well, for what it does differently for servers, usage and
    name, is for `leaf_policy` to require of all.

    Raises: PeerRejectedError — the path does not verify `now`.
    """
    verifier = (
        PolicyBuilder()
        .store(Store([anchor]))
        .time(as_utc(now))
        .max_chain_depth(0)
        .extension_policies(ca_policy=anchor_policy, ee_policy=leaf_policy)
        .build_client_verifier()
    )
    try:
        verifier.verify(leaf, [])
    except VerificationError as error:
        raise PeerRejectedError(str(error)) from error


def require_equal(policy: ExtensionPolicy, expected: x509.ExtensionType, criticality: Criticality) -> ExtensionPolicy:
    """Return `policy` with one demand more: this extension has to be there, and to say exactly this."""

    def check(_policy: Policy, _certificate: x509.Certificate, actual: x509.ExtensionType) -> None:
        if actual != expected:
            raise ValueError(f"{type(expected).__name__} is not as the profile has it")

    return policy.require_present(type(expected), criticality, check)
