"""Certificates for life: each member gets the successor of its certificate in time, helm itself included."""

from __future__ import annotations

import datetime
import hashlib
import logging
from typing import Any, Final, NoReturn

from cryptography import x509

from pharos.helm.ca.authority import CONTROLLER, SECRET_VERSION, Authority, load_authority
from pharos.helm.ca.live import LiveAuthority
from pharos.helm.ca.vault import Vault
from pharos.helm.errors import BusyError
from pharos.helm.fleet.wake import Wakes
from pharos.helm.live.board import now_us
from pharos.helm.model.certificates import Certificate, CertificateState
from pharos.helm.model.nodes import Node
from pharos.helm.model.relays import Relay
from pharos.helm.store.certificates import certificates_of, find_certificate, keep_certificate, require_new_key
from pharos.helm.store.changes import Act
from pharos.helm.store.database import Database, Store
from pharos.helm.store.devices import bind_certificate, bound_certificate, certificate_of
from pharos.helm.store.fleet import put_secret, set_controller
from pharos.helm.store.members import note_member
from pharos.helm.store.nodes import NODES
from pharos.helm.store.records import Noun, change_record, get_record
from pharos.helm.store.relays import RELAYS
from pharos.helm.store.times import moment
from pharos.wire.gen.pharos.buoy.v1 import control_grpc
from pharos.wire.gen.pharos.buoy.v1 import control_pb2 as pb
from pharos.wire.ids import DeviceId
from pharos.wire.pki.csr import make_csr, verify_csr
from pharos.wire.pki.keys import certificate_from_der, certificate_to_der, generate_key, key_to_der
from pharos.wire.pki.profile import spki_hash
from pharos.wire.pki.renewal import KeyRule, renewal_due, renewal_time, verify_renewal
from pharos.wire.pki.roles import Identity, Role
from pharos.wire.pki.verify import authorize_peer
from pharos.wire.units import HOURS, SECONDS

log = logging.getLogger(__name__)

CALL_TIMEOUT: Final = 15 * SECONDS
# The wall clock may be set at any moment, so nobody waits for months in one go.
_LOOK: Final = 1 * HOURS
_HELM: Final = "helm"


def jitter_of(certificate: x509.Certificate) -> float:
    """Return a certificate's share of the spread, in [0, 1): of its fingerprint, so that every look is the same."""
    return int.from_bytes(hashlib.sha256(certificate_to_der(certificate)).digest()[:4], "big") / 2**32


def due(certificate: x509.Certificate, now: datetime.datetime) -> bool:
    """Tell whether a certificate has passed two thirds of its life, and its share of a twentieth."""
    return renewal_due(certificate, now=now, jitter=jitter_of(certificate))


def renews_at(certificate: bytes) -> datetime.datetime:
    """Return when a certificate (DER) is due."""
    parsed = certificate_from_der(certificate)
    return renewal_time(parsed, jitter=jitter_of(parsed))


def wants_renewal(authority: Authority, role: Role, certificate: bytes, *, shown: str, now: datetime.datetime) -> bool:
    """Tell whether a node or relay is to be asked for a new key.

    ``certificate`` is its newest by the record (DER), and ``shown`` the fingerprint of the one that it shows; empty
    where it has not said. So it is asked again where a certificate was issued and never arrived.
    """
    newest = certificate_from_der(certificate)
    arrived = shown in ("", hashlib.sha256(certificate).hexdigest())
    return not arrived or due(newest, now) or not authority.issued(newest, role)


async def renew_node(
    stub: control_grpc.ControlStub, node: Node, store: Store, authorities: LiveAuthority, *, shown: str = ""
) -> str:
    """Renew a node's certificate over its link, for a key that it makes now; return the fingerprint that it shows then.

    Raises: GRPCError, StreamTerminatedError — the node did not do its part. PeerRejectedError, RemoteProtocolError,
    ConflictError — what it asks for is not granted. BusyError, NotFoundError.
    """
    asked = await stub.Renew(pb.RenewRequest(), timeout=CALL_TIMEOUT)
    certificate = await store.run(renew_agent, authorities, Role.NODE, node.id, asked.csr, shown=shown, at=now_us())
    reply = await stub.Install(pb.InstallRequest(certificate=certificate), timeout=CALL_TIMEOUT)
    shows = reply.certificate_fingerprint.hex()
    await store.run(note_member, node.id, at=now_us(), certificate=shows)
    return shows


def renew_agent(
    db: Database, authorities: LiveAuthority, role: Role, member_id: str, csr: bytes, *, shown: str, at: int
) -> bytes:
    """Return the certificate (DER) of the fresh key of a node or relay, recorded.

    The key of a certificate that it was given already gets that one again: the answer may have been lost. ``shown`` is
    the fingerprint of the certificate on the connection.

    Raises: PeerRejectedError, RemoteProtocolError — the request is not granted. ConflictError — its key is another
    member's. NotFoundError.
    """
    authority, noun = authorities.current, _noun(role)
    record: Node | Relay = get_record(db, noun, member_id)
    holder = Identity(fleet=authority.trust.fleet, role=role, id=member_id)
    held = find_certificate(db, shown) if shown else None
    showing = held.certificate if held is not None and held.subject == member_id else record.certificate
    authorize_peer(showing, trust=authority.trust, roles={role}, peer_id=member_id, now=moment(at))
    request = verify_renewal(csr, holder=holder, certificate=showing, wanted=holder, rule=KeyRule.NEW)
    spki = spki_hash(request.public_key)
    known = _still_good(authority, role, certificates_of(db, member_id), spki, moment(at))
    if known is not None:
        return known
    require_new_key(db, spki, member_id)
    act = Act(actor=_HELM, at=at, via=_HELM)
    certificate = authority.renew(request, now=moment(at))
    der = certificate_to_der(certificate)
    keep_certificate(db, act, certificate, role, member_id)
    values = {"spki": spki, "certificate": der}
    change_record(db, noun, member_id, record.version, values, act, verb="renewed", detail=record.name)
    return der


def renew_device(
    db: Database, act: Act, authority: Authority, device_id: DeviceId, csr: bytes, *, shown: str | None
) -> bytes:
    """Return the newest certificate (DER) of a device, made now if it is time for one: for the key that it has.

    ``shown`` is the fingerprint of the certificate that it showed to its beacon.

    Raises: PeerRejectedError — that one does not verify any more: the device needs a ticket. RemoteProtocolError — the
    request is for another key, or proves nothing. NotFoundError, ConflictError.
    """
    now = moment(act.at)
    newest = certificate_of(db, device_id)
    showing = (bound_certificate(db, device_id, shown) if shown else None) or newest
    holder = authorize_peer(showing, trust=authority.trust, roles={Role.DEVICE}, peer_id=device_id, now=now)
    request = verify_renewal(csr, holder=holder, certificate=showing, wanted=holder, rule=KeyRule.SAME)
    spki = spki_hash(request.public_key)
    known = _still_good(authority, Role.DEVICE, certificates_of(db, device_id), spki, now)
    if known is not None:
        return known
    certificate = authority.renew(request, now=now)
    kept = keep_certificate(db, act, certificate, Role.DEVICE, device_id)
    der = certificate_to_der(certificate)
    bind_certificate(db, device_id, fingerprint=kept.id, spki=kept.spki, certificate=der, not_after=kept.not_after_at)
    return der


def _still_good(
    authority: Authority, role: Role, certificates: list[Certificate], spki: bytes, now: datetime.datetime
) -> bytes | None:
    """Return the certificate in force for this key, if it is by the authority in use and not due."""
    for known in certificates:
        if known.state is CertificateState.ACTIVE and known.spki == spki:
            certificate = certificate_from_der(known.certificate)
            if authority.issued(certificate, role) and not due(certificate, now):
                return known.certificate
    return None


def renew_own(db: Database, authorities: LiveAuthority, vault: Vault, *, at: int) -> Authority:
    """Give helm itself a new key and its certificate; return the authority that shows it, to be put into use.

    Raises: StateFileError, ManifestError, NotInitialisedError.
    """
    renew_controller(db, authorities.current, vault, Act(actor=_HELM, at=at, via=_HELM))
    return load_authority(db, vault, now=moment(at))


def renew_controller(db: Database, authority: Authority, vault: Vault, act: Act) -> None:
    """Write a new key of helm's own and its certificate, by the authority that is given."""
    key = generate_key()
    request = verify_renewal(
        make_csr(key),
        holder=authority.identity,
        certificate=certificate_to_der(authority.controller.certificate),
        wanted=authority.identity,
        rule=KeyRule.NEW,
    )
    certificate = authority.renew(request, now=moment(act.at))
    keep_certificate(db, act, certificate, Role.CONTROLLER, authority.controller_id)
    set_controller(db, certificate_to_der(certificate))
    put_secret(db, CONTROLLER, SECRET_VERSION, vault.wrap(CONTROLLER, SECRET_VERSION, key_to_der(key)))


async def run_own_renewal(store: Store, authorities: LiveAuthority, vault: Vault, wakes: Wakes) -> NoReturn:
    """Renew helm's own certificate whenever it is time, until cancelled; what fell into a sleep, at the wake."""
    while True:
        certificate = authorities.current.controller.certificate
        left = renewal_time(certificate, jitter=jitter_of(certificate)).timestamp() - now_us() / 1e6
        if left > 0:
            await wakes.sleep(min(left, _LOOK))
            continue
        try:
            authorities.replace(await store.run(renew_own, authorities, vault, at=now_us()))
            log.info("helm's own certificate was renewed")
        except BusyError as error:
            log.warning("helm's own certificate could not be renewed, and will be later: %s", error)
            await wakes.sleep(_LOOK)


def _noun(role: Role) -> Noun[Any]:
    return NODES if role is Role.NODE else RELAYS


def key_of(csr: bytes) -> bytes:
    """Return the SHA-256 of the key that a request proves possession of.

    Raises: RemoteProtocolError — it proves none.
    """
    return spki_hash(verify_csr(csr))
