"""Certificates for life: when a member asks for its successor, who gets one, and whether it may be used."""

import datetime
import enum
from typing import Final

import attrs
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from pharos.wire.errors import LocalProtocolError, PeerRejectedError, RemoteProtocolError
from pharos.wire.pki.csr import verify_csr
from pharos.wire.pki.policy import Authorization, Renewal, authorize_issue
from pharos.wire.pki.profile import as_utc
from pharos.wire.pki.roles import Identity
from pharos.wire.pki.trust import Trust, load_certificate
from pharos.wire.pki.verify import authorize_peer

# Four months remain of a year, for members that sleep and helms that are away.
RENEW_AT: Final = 2 / 3
# A twentieth of a year is 18 days: a fleet that joined on one day does not renew on one day.
SPREAD: Final = 1 / 20


def renewal_time(certificate: x509.Certificate, *, jitter: float) -> datetime.datetime:
    """Return when its holder asks for a successor: after two thirds of its life, and a share of the spread.

    `jitter` is in [0, 1), drawn once per certificate and kept, or every look would draw another time.

    Raises: LocalProtocolError — the jitter is out of range.
    """
    if not 0 <= jitter < 1:
        raise LocalProtocolError("the jitter of a renewal is in [0, 1)")
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return begin + (end - begin) * (RENEW_AT + SPREAD * jitter)


def renewal_due(certificate: x509.Certificate, *, now: datetime.datetime, jitter: float) -> bool:
    """True from `renewal_time` on. Who missed its end as well needs a ticket or `readopt` (security.md §2a)."""
    return as_utc(now) >= renewal_time(certificate, jitter=jitter)


class KeyRule(enum.Enum):
    """Which key a renewed certificate may be for."""

    SAME = "same"
    """Its holder is known by its key: a device's keys are recorded, each of them unique in the fleet."""
    NEW = "new"
    """The certificate is renewed for the sake of another key."""
    EITHER = "either"


@attrs.frozen(kw_only=True)
class RenewalRequest:
    """A renewal that may be granted."""

    authorization: Authorization
    """For `issue.issue`."""
    public_key: ec.EllipticCurvePublicKey
    """The key, possession proven."""
    rekeyed: bool
    """True if it is another key than the old certificate's. That it is no other member's either, the store checks."""


def verify_renewal(
    csr: bytes, *, holder: Identity, certificate: bytes, wanted: Identity, rule: KeyRule
) -> RenewalRequest:
    """Return what may be issued to a member that asks for the successor of its certificate.

    `holder` is what `authorize_peer` made of the DER `certificate` on the connection that the request came by, deny
    list included; `wanted` is the name that the request asks for.

    Raises:
        PeerRejectedError — the name is another than the holder's.
        RemoteProtocolError — the CSR does not prove possession of a P-256 key, or the rule forbids the key.
    """
    authorization = authorize_issue(wanted, Renewal(holder=holder))
    public_key = verify_csr(csr)
    rekeyed = public_key != load_certificate(certificate).public_key()
    if rekeyed and rule is KeyRule.SAME:
        raise RemoteProtocolError(f"{holder.uri} asked to renew its certificate for another key than its own")
    if not rekeyed and rule is KeyRule.NEW:
        raise RemoteProtocolError(f"{holder.uri} asked for a new key's certificate with the old key")
    return RenewalRequest(authorization=authorization, public_key=public_key, rekeyed=rekeyed)


def verify_renewed(
    leaf: bytes,
    *,
    identity: Identity,
    public_key: ec.EllipticCurvePublicKey,
    current: x509.Certificate,
    trust: Trust,
    now: datetime.datetime,
) -> x509.Certificate:
    """Return the certificate in `leaf` if it may replace `current`, whose holder asked for it with `public_key`.

    Raises: PeerRejectedError — it does not verify, is for another name or key, or ends before `current` does although
    both are of one authority.
    """
    authorize_peer(leaf, trust=trust, roles={identity.role}, peer_id=identity.id, now=now)
    renewed = load_certificate(leaf)
    if renewed.public_key() != public_key:
        raise PeerRejectedError(f"the renewed certificate of {identity.uri} is for another key")
    authority = identity.role.authority
    of_one_authority = trust.anchor_of(renewed, authority) == trust.anchor_of(current, authority)
    if of_one_authority and renewed.not_valid_after_utc < current.not_valid_after_utc:
        raise PeerRejectedError(f"the renewed certificate of {identity.uri} ends before the one it would replace")
    return renewed
