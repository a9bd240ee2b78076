"""The local store of one device: its keys and certificate, the trust manifest, and the newest bundle.

The engine only reads it, so a device connects from here with helm and every beacon away.
"""

from __future__ import annotations

import base64
import datetime
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

import attrs

from pharos.caravel.errors import NotEnrolledError
from pharos.caravel.profiles.denied import Denied
from pharos.caravel.profiles.layout import Chosen, directory_of, make_directory, split
from pharos.caravel.profiles.pins import ALWAYS, Pins
from pharos.caravel.profiles.sealedfile import IDENTITY, SealedFile
from pharos.caravel.profiles.unlocking import Unlocking
from pharos.caravel.profiles.vault import Vault, check_private
from pharos.wire.errors import BundleError, StateFileError, WireError
from pharos.wire.files import StateFile, open_state_directory
from pharos.wire.ids import FLEET_ID_LENGTH, DeviceId, FleetId
from pharos.wire.noise.keys import KeyPair
from pharos.wire.pki.keys import certificate_from_der, generate_key, key_from_der, key_to_der
from pharos.wire.pki.manifest import Manifest, verify_manifest
from pharos.wire.pki.tls import Credentials
from pharos.wire.profile import Profile, ProfileNode, parse_profile
from pharos.wire.seal.envelope import Bundle, open_bundle
from pharos.wire.seal.ticket import BeaconAddress
from pharos.wire.seal.words import safety_words
from pharos.wire.world import utc_now

T = TypeVar("T")

_REMEDY: Final = "restore it from a copy, or move the directory away and enrol anew"
_SYNC: Final = "remove it and sync again"
STALE_AFTER: Final = datetime.timedelta(days=7)
"""A helm on a laptop may be away for a holiday's first week."""


@attrs.frozen(kw_only=True)
class DeviceSecrets:
    """The private keys of a device; made here, and they never leave it."""

    tls: bytes = attrs.field(repr=False)
    """PKCS #8, P-256."""
    sealing: KeyPair
    derive: KeyPair
    noise: KeyPair
    awg: KeyPair


@attrs.frozen(kw_only=True)
class Member:
    """What a store says of itself while it is locked."""

    fleet: FleetId
    """Empty where an enrolment is under way that an earlier version began."""
    device: DeviceId
    """Empty while the enrolment is under way."""


@attrs.frozen(kw_only=True)
class Enrolled:
    """A device that belongs to a fleet."""

    device_id: DeviceId
    secrets: DeviceSecrets
    certificate: bytes
    """DER."""
    root_hash: bytes
    """SHA-256 of the root's SubjectPublicKeyInfo: what everything else is checked against."""
    manifest: bytes
    beacons: tuple[BeaconAddress, ...]
    """Where the fleet was joined; the profile's own list is used first."""

    @property
    def fleet(self) -> FleetId:
        """The fleet's id."""
        return FleetId(self.root_hash.hex()[:FLEET_ID_LENGTH])

    @property
    def words(self) -> str:
        """The safety words: helm's page shows the same ones for this device."""
        own = self.secrets
        return safety_words(self.device_id, own.sealing.public, own.derive.public, own.noise.public, own.awg.public)

    def credentials(self) -> Credentials:
        """Return what the device proves itself to a beacon with."""
        return Credentials(certificate=certificate_from_der(self.certificate), key=key_from_der(self.secrets.tls))

    def verified_manifest(self, now: datetime.datetime) -> Manifest:
        """Return what the fleet's root says.

        Raises: ManifestError — it has expired or was tampered with.
        """
        return verify_manifest(self.manifest, root_hash=self.root_hash, now=now)

    def open(self, blob: bytes, manifest: Manifest, *, newest: tuple[int, int] | None) -> Bundle:
        """Open a bundle for this device.

        Raises: BundleError — it is damaged, for somebody else, not signed by the fleet, or older than ``newest``.
        """
        return open_bundle(
            blob,
            fleet=manifest.trust.fleet,
            device=self.device_id,
            sealing_key=self.secrets.sealing,
            signing_keys=manifest.signing_keys,
            newest=newest,
        )


class ProfileStore:
    """What one device keeps of one fleet, in a directory that may have several.

    ``path`` is the device's directory, for the default fleet, or the fleet's own within it (see `Fleets`). Everything
    in here blocks: for some milliseconds, or until somebody has typed a passphrase.

    Raises: StateFileError — the directory, or a file in it, is open to others.
    """

    def __init__(self, path: Path, *, unlocking: Unlocking | None = None) -> None:
        self.vault = Vault(path, unlocking)
        self.root = self.vault.root
        """The device's directory, which has what belongs to no fleet besides."""
        _, self._fleet = split(path)
        self._alone = Chosen.load(self.root) is None
        if self.path != self.root and self.path.exists():
            check_private(open_state_directory(self.path))

    @property
    def path(self) -> Path:
        """The directory of the fleet."""
        if self._alone and (chosen := Chosen.load(self.root)) is not None:
            # Another process has given it a directory of its own, while this one had it open.
            self._alone, self._fleet = False, chosen.moved
        return directory_of(self.root, self._fleet)

    @property
    def _identity(self) -> SealedFile:
        return SealedFile(self.vault, self.path / "device.json", IDENTITY, _REMEDY)

    @property
    def _bundle(self) -> StateFile:
        return StateFile(self.path / "bundle.json", "pharos/device-bundle/v1", _SYNC)

    @property
    def _pins(self) -> StateFile:
        return StateFile(self.path / "pins.json", "pharos/device-pins/v1", _REMEDY)

    @property
    def _denied(self) -> StateFile:
        return StateFile(self.path / "denied.json", "pharos/device-denied/v1", _SYNC)

    @property
    def _heard(self) -> StateFile:
        return StateFile(self.path / "heard.json", "pharos/device-heard/v1", _SYNC)

    @property
    def member(self) -> Member | None:
        """Which device of which fleet this is, as far as it may be known without the key; None: of none."""
        hints = self._identity.hints()
        return None if hints is None else Member(fleet=FleetId(hints["fleet"]), device=DeviceId(hints["device"]))

    def secrets(self) -> DeviceSecrets | None:
        """Return the keys, made for an enrolment that may still be under way; None where there are none."""
        body = self._identity.load()
        return None if body is None else self._read(_secrets_from, body)

    def save_secrets(self, secrets: DeviceSecrets, fleet: str = "") -> None:
        """Keep fresh keys before they are shown to anybody: a repeated claim has to come with the same ones.

        ``fleet``: which is about to be joined with them.
        """
        with self._writing():
            self._identity.save(_secrets_to(secrets) | {"enrolled": None, "fleet": fleet})

    def enrolled(self) -> Enrolled:
        """Return the device.

        Raises: NotEnrolledError. StateFileError — a file is damaged; it was left as it is.
        """
        body = self._identity.load()
        if body is None or body.get("enrolled") is None:
            raise NotEnrolledError(f"this device is in no fleet yet ({self.path}); run: caravel enroll LINK")
        enrolled = self._read(_enrolled_from, body)
        if self.path != self.root and enrolled.fleet != self.path.name:
            raise StateFileError(f"{self.path} has the keys of a device of fleet {enrolled.fleet}; {_REMEDY}")
        return enrolled

    def save_enrolled(self, enrolled: Enrolled) -> None:
        """Keep the certificate and the manifest."""
        with self._writing():
            self._identity.save(_secrets_to(enrolled.secrets) | {"enrolled": _enrolled_to(enrolled)})

    def bundle(self) -> tuple[tuple[int, int], bytes] | None:
        """Return (epoch, revision) and the sealed bundle; None before the first sync."""
        body = self._bundle.load()
        if body is None:
            return None
        return self._read(lambda b: ((b["epoch"], b["revision"]), _decode(b["bundle"])), body)

    def save_bundle(self, bundle: Bundle, blob: bytes) -> None:
        """Keep an opened bundle; durable when this returns, and only then may its profile be used.

        What nodes it names, and their keys, is noted first, so that no node is ever used that was not.

        One that is older than what another process has kept meanwhile is not kept.

        Raises: BundleFormatError — there is no profile in it.
        """
        profile = parse_profile(bundle.profile)
        now = utc_now()
        with self._writing():
            kept, member = self.bundle(), self.member
            # What an earlier fleet of this directory has left is no measure for the first bundle of another.
            if kept is not None and kept[0] > bundle.header.order and member is not None and member.device:
                return
            known = self._known_pins(now)
            pins = (known or Pins()).after(profile, now=microseconds(now), first=known is None)
            if pins != known:
                self._pins.save(pins.as_json())
            epoch, revision = bundle.header.order
            self._bundle.save({"epoch": epoch, "revision": revision, "bundle": _encode(blob)})

    def profile(self, now: datetime.datetime) -> Profile:
        """Open the kept bundle and read its profile; needs nobody.

        Raises: NotEnrolledError, BundleError.
        """
        enrolled = self.enrolled()
        kept = self.bundle()
        if kept is None:
            raise NotEnrolledError("this device has no profile yet; run: caravel enroll LINK")
        order, blob = kept
        return parse_profile(enrolled.open(blob, enrolled.verified_manifest(now), newest=order).profile)

    def denied(self) -> Denied:
        """Return whom this device does not dial."""
        body = self._denied.load()
        return Denied() if body is None else self._read(Denied.from_json, body)

    def save_denied(self, denied: Denied) -> None:
        """Keep whom a newer list denies."""
        with self._writing():
            self._denied.save(denied.as_json())

    def heard_at(self) -> datetime.datetime | None:
        """Return when helm last said, for this device alone, what the newest profile is; None if it never did."""
        body = self._heard.load()
        if body is None or body.get("at") is None:
            return None
        return self._read(lambda body: datetime.datetime.fromtimestamp(body["at"] / 1e6, datetime.UTC), body)

    def save_heard(self, now: datetime.datetime) -> None:
        """helm has just said so."""
        with self._writing():
            self._heard.save({"at": microseconds(now), "relay": self.heard_through()})

    def heard_through(self) -> str:
        """Return the relay that led to helm last; an empty text if it is not known."""
        body = self._heard.load()
        return "" if body is None else str(body.get("relay", ""))

    def save_relay(self, relay: str) -> None:
        """This relay has led to helm just now."""
        if relay == self.heard_through():
            return
        with self._writing():
            self._heard.save({**(self._heard.load() or {"at": None}), "relay": relay})

    def is_stale(self, now: datetime.datetime) -> bool:
        """Whether helm has not been heard for so long that somebody may keep it from us (security.md row 21).

        A stale profile warns and never keeps anybody from connecting.
        """
        heard_at = self.heard_at()
        return heard_at is not None and now - heard_at > STALE_AFTER

    def pins(self, now: datetime.datetime) -> Pins:
        """Return which nodes this device knows.

        Raises: NotEnrolledError, BundleError.
        """
        return self._known_pins(now) or Pins()

    def confirm(self, node: ProfileNode, now: datetime.datetime) -> None:
        """Keep that the user knows this node, with these keys."""
        with self._writing():
            self._pins.save(self.pins(now).confirmed(node).as_json())

    def _known_pins(self, now: datetime.datetime) -> Pins | None:
        """Return the pins; None before the first profile. What an earlier version kept was not questioned then."""
        body = self._pins.load()
        if body is not None:
            return self._read(Pins.from_json, body)
        if self.bundle() is None or self.secrets() is None:
            return None
        try:
            kept = self.profile(now)
        except (BundleError, NotEnrolledError):
            return None
        return Pins().after(kept, now=ALWAYS, first=True)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Take a turn; in it, the files are where they are said to be."""
        with self.vault.writing():
            if self.path != self.root:
                make_directory(self.root, FleetId(self.path.name))
            elif self.vault.keeping() is None and (self.path / "device.json").exists():
                # An earlier version wrote it in the clear.
                self.vault.current()
            yield

    def _read(self, reader: Callable[[dict[str, Any]], T], body: dict[str, Any]) -> T:
        try:
            return reader(body)
        except (KeyError, TypeError, ValueError, WireError) as error:
            raise StateFileError(f"{self.path} holds a damaged state file ({error!r}); it was left as it is") from error


def microseconds(moment: datetime.datetime) -> int:
    """Return a time in microseconds since 1970."""
    return int(moment.timestamp() * 1_000_000)


def generate_secrets() -> DeviceSecrets:
    """Draw the keys of a new device."""
    pairs = {name: KeyPair.generate() for name in _PAIRS}
    return DeviceSecrets(tls=key_to_der(generate_key()), **pairs)


_PAIRS: Final = ("sealing", "derive", "noise", "awg")


def _secrets_to(secrets: DeviceSecrets) -> dict[str, Any]:
    pairs = {name: _encode(getattr(secrets, name).private_bytes()) for name in _PAIRS}
    return {"tls_key": _encode(secrets.tls)} | pairs


def _secrets_from(body: dict[str, Any]) -> DeviceSecrets:
    pairs = {name: KeyPair.from_private_bytes(_decode(body[name])) for name in _PAIRS}
    return DeviceSecrets(tls=_decode(body["tls_key"]), **pairs)


def _enrolled_to(enrolled: Enrolled) -> dict[str, Any]:
    return {
        "device_id": enrolled.device_id,
        "certificate": _encode(enrolled.certificate),
        "root_hash": enrolled.root_hash.hex(),
        "manifest": _encode(enrolled.manifest),
        "beacons": [str(beacon) for beacon in enrolled.beacons],
    }


def _enrolled_from(body: dict[str, Any]) -> Enrolled:
    inner = body["enrolled"]
    return Enrolled(
        device_id=DeviceId(inner["device_id"]),
        secrets=_secrets_from(body),
        certificate=_decode(inner["certificate"]),
        root_hash=bytes.fromhex(inner["root_hash"]),
        manifest=_decode(inner["manifest"]),
        beacons=tuple(BeaconAddress.parse(text) for text in inner["beacons"]),
    )


def _encode(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _decode(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
