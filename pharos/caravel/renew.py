"""A device's certificate for life: asked for in time, or when the fleet exchanges the authority that signed it.

The key stays, for a device is known by it. What comes is checked as `authorize_peer` would, and kept durably before it
is shown to anybody.
"""

from __future__ import annotations

import datetime
import hashlib
import logging
from typing import Final

import attrs
from grpclib.exceptions import GRPCError

from pharos.caravel.profiles.store import Enrolled, ProfileStore
from pharos.wire.errors import PeerRejectedError
from pharos.wire.gen.pharos.account.v1 import account_grpc
from pharos.wire.gen.pharos.account.v1 import account_pb2 as pb
from pharos.wire.pki.csr import make_csr
from pharos.wire.pki.keys import certificate_from_der, key_from_der
from pharos.wire.pki.manifest import Manifest
from pharos.wire.pki.renewal import renewal_due, verify_renewed
from pharos.wire.pki.roles import Identity, Role
from pharos.wire.units import SECONDS
from pharos.wire.world import utc_now

log = logging.getLogger(__name__)

CALL_TIMEOUT: Final = 15 * SECONDS


def wants_renewal(enrolled: Enrolled, manifest: Manifest, *, now: datetime.datetime) -> bool:
    """Tell whether to ask: two thirds of the certificate's life are over, or its authority has a successor."""
    certificate = certificate_from_der(enrolled.certificate)
    # Of the fingerprint, so that every look finds the same moment, and devices that joined together part.
    jitter = int.from_bytes(hashlib.sha256(enrolled.certificate).digest()[:4], "big") / 2**32
    successor, trust = manifest.trust.next_device_ca, manifest.trust
    if successor is not None and trust.anchor_of(certificate, Role.DEVICE.authority) != successor:
        return True
    return renewal_due(certificate, now=now, jitter=jitter)


async def renew(account: account_grpc.AccountStub, store: ProfileStore) -> bool:
    """Ask helm for the next certificate if it is time, and keep it; return whether there is another one now.

    What goes wrong is logged and tried again with the next sync: the certificate at hand is good for months.

    Raises: StreamTerminatedError — the passage is gone.
    """
    now = utc_now()
    enrolled = store.enrolled()
    manifest = enrolled.verified_manifest(now)
    if not wants_renewal(enrolled, manifest, now=now):
        return False
    key = key_from_der(enrolled.secrets.tls)
    try:
        reply = await account.Renew(pb.RenewRequest(csr=make_csr(key)), timeout=CALL_TIMEOUT)
        if reply.certificate == enrolled.certificate:
            return False
        verify_renewed(
            reply.certificate,
            identity=Identity(fleet=manifest.trust.fleet, role=Role.DEVICE, id=enrolled.device_id),
            public_key=key.public_key(),
            current=certificate_from_der(enrolled.certificate),
            trust=manifest.trust,
            now=now,
        )
    except (GRPCError, PeerRejectedError) as error:
        log.warning("the certificate of this device was not renewed: %s", error)
        return False
    store.save_enrolled(attrs.evolve(enrolled, certificate=reply.certificate))
    log.info("the certificate of this device was renewed")
    return True
