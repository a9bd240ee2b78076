"""A device's store as it is after an enrolment, with no helm or relay to have enrolled at."""

from __future__ import annotations

from pathlib import Path

from pharos.caravel.profiles.store import DeviceSecrets, Enrolled, ProfileStore
from pharos.helm.ca.authority import Authority
from pharos.wire.ids import DeviceId, TicketId
from pharos.wire.noise.keys import KeyPair
from pharos.wire.pki.csr import make_csr
from pharos.wire.pki.keys import certificate_to_der, generate_key, key_from_der, key_to_der
from pharos.wire.pki.profile import spki_hash
from tests.support.helm import now

DEVICE = DeviceId("a-device")


def certified(authority: Authority, key: bytes, device: DeviceId = DEVICE) -> bytes:
    """Return the certificate of a device that has this TLS key."""
    certificate = authority.certify_device(make_csr(key_from_der(key)), device, TicketId(bytes(16)), now=now())
    return certificate_to_der(certificate)


def enrolled_device(path: Path, authority: Authority) -> ProfileStore:
    """Return the store of a device that has just joined, and holds no bundle."""
    tls = key_to_der(generate_key())
    pairs = {name: KeyPair.generate() for name in ("sealing", "derive", "noise", "awg")}
    store = ProfileStore(path)
    store.save_enrolled(
        Enrolled(
            device_id=DEVICE,
            secrets=DeviceSecrets(tls=tls, **pairs),
            certificate=certified(authority, tls),
            root_hash=spki_hash(authority.trust.root.public_key()),
            manifest=authority.manifest,
            beacons=(),
        )
    )
    return store
