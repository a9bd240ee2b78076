"""A device's directory to be hurt: two fleets' worth of secrets, keepers of its key, and what it must never lose."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any, Final

import attrs
from nacl import utils

from pharos.caravel.profiles.keyrings import Keyring
from pharos.caravel.profiles.links import KeptLink, LinkStore
from pharos.caravel.profiles.sealedfile import SEALED, SealedFile
from pharos.caravel.profiles.store import ProfileStore
from pharos.caravel.profiles.unlocking import Protection, Unlocking
from pharos.caravel.profiles.vault import Vault
from pharos.helm.ca.authority import Authority
from pharos.wire.files import StateFile, write_atomic
from pharos.wire.ids import FleetId
from pharos.wire.reality.sharelink import ShareLink
from pharos.wire.seal.envelope import Bundle, BundleHeader
from pharos.wire.seal.passphrase import MIN_OCTETS, MIN_PASSES, SALT_SIZE, KeyCost
from tests.support.device import DEVICE, enrolled_device

PASSPHRASE: Final = "a passphrase of four words"
HEARD: Final = datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)
OTHERS: Final = (FleetId("b" * 16), FleetId("c" * 16))
KEEPERS: Final = (
    Protection.KEY_FILE,
    Protection.KEYRING,
    Protection.PASSPHRASE,
    Protection.KEYRING,
    Protection.KEY_FILE,
)
FLEET: Final = FleetId("a" * 16)
PROFILE: Final = b'{"v":1,"fleet":"%b","device":"a-device","addresses":[],"nodes":[],"relays":[]}' % FLEET.encode()
LINK: Final = (
    "vless://7f9d2a3c-5b1e-4c8d-9e6f-0a1b2c3d4e5f@203.0.113.7:443?encryption=none&security=reality&type=tcp"
    "&flow=xtls-rprx-vision&sni=www.example.com&fp=chrome&pbk=SbVKOEMjK0sIlbwg4akyBg5mL5KZwwB-ed4eEE7YnRc&sid=0a1b#cafe"
)


def cheap_cost() -> KeyCost:
    """Return what costs nothing, for tests of anything else."""
    return KeyCost(salt=utils.random(SALT_SIZE), passes=MIN_PASSES, octets=MIN_OCTETS)


@attrs.frozen
class FolderKeyring:
    """A keyring that outlives the processes of a test."""

    folder: Path

    def load(self, name: str) -> bytes | None:
        path = self._path(name)
        return path.read_bytes() if path.exists() else None

    def save(self, name: str, secret: bytes) -> None:
        self.folder.mkdir(exist_ok=True)
        write_atomic(self._path(name), secret)

    def remove(self, name: str) -> None:
        self._path(name).unlink(missing_ok=True)

    def names(self) -> set[str]:
        return {path.name for path in self.folder.glob("*")} if self.folder.exists() else set()

    def _path(self, name: str) -> Path:
        return self.folder / name.replace("/", "-")


def keyring_of(state: Path) -> FolderKeyring:
    """Return the keyring of whoever has this directory; it lies outside of it."""
    return FolderKeyring(state.with_name(f"{state.name}-keyring"))


def unlocking(
    state: Path, *, prefer: Protection | None = Protection.KEY_FILE, passphrase: str = PASSPHRASE
) -> Unlocking:
    """Return how the owner opens it."""

    def find() -> Keyring:
        return keyring_of(state)

    return Unlocking(ask=lambda _question: passphrase, tries=1, keyring=find, prefer=prefer)


def open_store(state: Path) -> ProfileStore:
    """Open it as its owner does."""
    return ProfileStore(state, unlocking=unlocking(state))


def blob(revision: int) -> bytes:
    """Return what stands for the sealed bundle of a revision."""
    return str(revision).encode() * 5_000


def bundle(revision: int) -> Bundle:
    """Return a bundle of this device as if it had been opened."""
    header = BundleHeader(
        fleet=FLEET, device=DEVICE, recipient="0" * 64, epoch=1, revision=revision, issued=1, manifest_version=1
    )
    return Bundle(header=header, profile=PROFILE)


def lay_down(state: Path, authority: Authority) -> dict[str, Any]:
    """Make a device that is in one fleet and keeps a link and a bundle, sealed; return what it must not lose."""
    enrolled_device(state, authority)
    store = open_store(state)
    store.save_bundle(bundle(1), blob(1))
    store.save_heard(HEARD)
    LinkStore(state, store.vault.unlocking).add(KeptLink(name="cafe", link=ShareLink.parse(LINK)))
    return kept(state)


def kept(state: Path) -> dict[str, Any]:
    """Return what a device keeps of the fleet it was in first, by all that it takes to use it."""
    store = open_store(state)
    enrolled = store.enrolled()
    pairs = {name: getattr(enrolled.secrets, name).private_bytes() for name in ("sealing", "derive", "noise", "awg")}
    return {
        "tls": enrolled.secrets.tls,
        **pairs,
        "certificate": enrolled.certificate,
        "device": enrolled.device_id,
        "bundle": store.bundle(),
        "links": [one.link.render() for one in LinkStore(state, store.vault.unlocking).all()],
    }


def unseal(state: Path) -> None:
    """Write everything in the clear, as versions before the vault did."""
    vault = Vault(state, unlocking(state))
    for path in sorted(state.glob("*.json")):
        document = json.loads(path.read_bytes())
        if document["format"] == SEALED:
            inner = document["body"]["of"]
            body = SealedFile(vault, path, inner, "").load()
            assert body is not None
            StateFile(path, inner, "").save(body)
    for path in (state / "vault.json", *state.glob("key-*")):
        path.unlink()


def everything_on_disk(state: Path) -> bytes:
    """Return all that whoever copies the directory has."""
    return b"\0".join(path.read_bytes() for path in sorted(state.rglob("*")) if path.is_file())
