"""The fleet's next keys: made, certified and promised by the root in one go, as nobody opens it a second time."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import TypeVar

import attrs
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from nacl.signing import SigningKey

from pharos.helm.ca.authority import new_serial
from pharos.wire.noise.keys import KeyPair
from pharos.wire.pki.issue import make_device_ca, make_fleet_ca
from pharos.wire.pki.keys import certificate_to_der, generate_key, key_from_der, key_to_der
from pharos.wire.pki.manifest import Manifest, sign_manifest, verify_manifest
from pharos.wire.pki.profile import spki_hash
from pharos.wire.pki.rotation import Generation, Rotation, State, Subject
from pharos.wire.pki.trust import Trust

T = TypeVar("T")


@attrs.frozen(kw_only=True)
class Successors:
    """What a rotation starts with."""

    secrets: dict[Subject, bytes] = attrs.field(repr=False)
    """Private keys, as the record wraps them."""
    fleet_ca: bytes | None
    """DER; None if it stays."""
    device_ca: bytes | None
    """DER; None if it stays."""
    manifests: tuple[bytes, ...] = attrs.field(repr=False)
    """Those of distributing, switching and dropping."""


def make_successors(rotation: Rotation, manifest: bytes, root_key: bytes, *, now: datetime.datetime) -> Successors:
    """Return the next generation of a rotation's subjects. ``manifest`` is the one in use, ``root_key`` in DER.

    Raises: ManifestError — the manifest is not this root's, or has expired.
    """
    key = key_from_der(root_key)
    old = verify_manifest(manifest, root_hash=spki_hash(key.public_key()), now=now)
    root, secrets = old.trust.root, dict[Subject, bytes]()

    def successor(
        subject: Subject, make: Callable[..., x509.Certificate], current: x509.Certificate
    ) -> x509.Certificate:
        if subject not in rotation.subjects:
            return current
        own = generate_key()
        secrets[subject] = key_to_der(own)
        return make(own.public_key(), root=root, root_key=key, now=now, serial=new_serial())

    fleet_ca = successor(Subject.FLEET_CA, make_fleet_ca, old.trust.fleet_ca)
    assert old.trust.device_ca is not None, "a manifest names one"
    device_ca = successor(Subject.DEVICE_CA, make_device_ca, old.trust.device_ca)
    signing, noise = SigningKey.generate(), KeyPair.generate()
    for subject, secret in ((Subject.SIGNING_KEY, bytes(signing)), (Subject.NOISE_KEY, noise.private_bytes())):
        if subject in rotation.subjects:
            secrets[subject] = secret
    new = attrs.evolve(
        old,
        trust=Trust(root=root, fleet_ca=fleet_ca, device_ca=device_ca),
        signing_key=bytes(signing.verify_key),
        noise_key=noise.public,
    )
    states = (State.DISTRIBUTING, State.SWITCHING, State.DROPPING)
    return Successors(
        secrets=secrets,
        fleet_ca=certificate_to_der(fleet_ca) if Subject.FLEET_CA in rotation.subjects else None,
        device_ca=certificate_to_der(device_ca) if Subject.DEVICE_CA in rotation.subjects else None,
        manifests=tuple(
            _sign(attrs.evolve(rotation, state=state), version, old, new, key)
            for version, state in enumerate(states, old.version + 1)
        ),
    )


def _sign(
    rotation: Rotation, version: int, old: Manifest, new: Manifest, root_key: ec.EllipticCurvePrivateKey
) -> bytes:
    """Return the manifest that goes with a state, of what was and what shall be."""

    def slot(subject: Subject, read: Callable[[Manifest], T]) -> tuple[T, T | None]:
        current, successor = rotation.slot(subject)
        return read(new if current is Generation.NEW else old), None if successor is None else read(new)

    fleet_ca, next_fleet_ca = slot(Subject.FLEET_CA, lambda manifest: manifest.trust.fleet_ca)
    device_ca, next_device_ca = slot(Subject.DEVICE_CA, lambda manifest: manifest.trust.device_ca)
    signing_key, next_signing_key = slot(Subject.SIGNING_KEY, lambda manifest: manifest.signing_key)
    noise_key, next_noise_key = slot(Subject.NOISE_KEY, lambda manifest: manifest.noise_key)
    return sign_manifest(
        version=version,
        trust=Trust(
            root=old.trust.root,
            fleet_ca=fleet_ca,
            device_ca=device_ca,
            next_fleet_ca=next_fleet_ca,
            next_device_ca=next_device_ca,
        ),
        signing_key=signing_key,
        noise_key=noise_key,
        next_signing_key=next_signing_key,
        next_noise_key=next_noise_key,
        root_key=root_key,
    )
