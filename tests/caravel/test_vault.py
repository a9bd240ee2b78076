"""What a device keeps is sealed; its key is kept by a keyring, a passphrase or a file, and changes hands safely."""

from __future__ import annotations

import base64
import datetime
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pharos.caravel.admin.kept import KeptSignIn, SignedIn
from pharos.caravel.errors import CaravelError, LockedStoreError, StorePassphraseError
from pharos.caravel.profiles import config as environment
from pharos.caravel.profiles import keyrings, writing
from pharos.caravel.profiles.keyrings import SystemKeyring, find_keyring
from pharos.caravel.profiles.links import LinkStore
from pharos.caravel.profiles.store import ProfileStore, generate_secrets
from pharos.caravel.profiles.unlocking import Protection, Unlocking
from pharos.caravel.profiles.vault import Vault
from pharos.helm.ca.authority import Authority
from pharos.wire.errors import StateFileError
from pharos.wire.files import checksum
from pharos.wire.seal.passphrase import KeyCost
from tests.support import devices
from tests.support.helm import fleet_in_memory


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(KeyCost, "fresh", devices.cheap_cost)


@pytest.fixture
def authority() -> Iterator[Authority]:
    with fleet_in_memory() as (_, made):
        yield made


@pytest.fixture
def state(tmp_path: Path, authority: Authority) -> Path:
    """A device's directory, by a key file."""
    devices.lay_down(tmp_path / "s", authority)
    return tmp_path / "s"


def protect(state: Path, by: Protection) -> None:
    Vault(state, devices.unlocking(state)).change_protection(by, passphrase=devices.PASSPHRASE)


def nobody() -> Unlocking:
    """Return what a process has that nobody helps."""
    return Unlocking(keyring=lambda: None)


def secrets_in(had: dict[str, Any]) -> Iterator[bytes]:
    for name in ("tls", "sealing", "derive", "noise", "awg"):
        yield had[name]
        yield base64.b64encode(had[name])
    yield b"7f9d2a3c-5b1e-4c8d-9e6f-0a1b2c3d4e5f"


@pytest.mark.parametrize("by", [Protection.PASSPHRASE, Protection.KEYRING])
def test_whoever_copies_the_directory_has_no_secret_of_it(state: Path, by: Protection) -> None:
    had = devices.kept(state)
    signed = SignedIn(name="ada", role="owner", until=devices.HEARD + datetime.timedelta(hours=1), cookie="c" * 40)
    KeptSignIn(devices.open_store(state)).save(signed)
    protect(state, by)
    copied = devices.everything_on_disk(state)
    assert not [secret for secret in (*secrets_in(had), b"c" * 40) if secret in copied]
    with pytest.raises(LockedStoreError):
        ProfileStore(state, unlocking=nobody()).secrets()
    assert devices.kept(state) == had
    assert KeptSignIn(devices.open_store(state)).load(devices.HEARD) == signed
    # Shown red: the same search finds them where a store is in the clear.
    devices.unseal(state)
    found = devices.everything_on_disk(state)
    assert len([secret for secret in (*secrets_in(had), b"c" * 40) if secret in found]) >= 6


def test_key_file_is_private_and_alone_opens_the_store(state: Path) -> None:
    (key,) = state.glob("key-*")
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert ProfileStore(state, unlocking=nobody()).secrets() is not None
    key.rename(state.parent / "elsewhere")
    with pytest.raises(LockedStoreError, match="missing"):
        ProfileStore(state, unlocking=nobody()).secrets()
    # As systemd passes it, encrypted by the machine until then.
    passed = Unlocking(keyring=lambda: None, key_file=state.parent / "elsewhere")
    assert ProfileStore(state, unlocking=passed).secrets() is not None


def test_process_takes_what_systemd_passes_it(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    credentials = state.parent / "credentials"
    credentials.mkdir()
    (key,) = state.glob("key-*")
    key.rename(credentials / environment.STORE_KEY_CREDENTIAL)
    with pytest.raises(LockedStoreError):
        ProfileStore(state).secrets()
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(credentials))
    assert ProfileStore(state).secrets() is not None
    protect_by = Vault(state)
    protect_by.change_protection(Protection.PASSPHRASE, passphrase=devices.PASSPHRASE)
    (credentials / environment.STORE_PASSPHRASE_CREDENTIAL).write_text(devices.PASSPHRASE + "\n")
    assert ProfileStore(state).secrets() is not None


def test_another_stores_key_is_told_from_damage(state: Path, tmp_path: Path) -> None:
    other = ProfileStore(tmp_path / "other", unlocking=devices.unlocking(tmp_path / "other"))
    other.save_secrets(generate_secrets())
    (key,), (wrong,) = state.glob("key-*"), other.path.glob("key-*")
    key.write_bytes(wrong.read_bytes())
    with pytest.raises(LockedStoreError, match="another store"):
        ProfileStore(state, unlocking=nobody()).secrets()
    key.write_bytes(b"junk")
    with pytest.raises(LockedStoreError):
        ProfileStore(state, unlocking=nobody()).secrets()


def test_wrong_passphrase_is_told_and_costs_nothing(state: Path) -> None:
    had = devices.kept(state)
    protect(state, Protection.PASSPHRASE)
    before = devices.everything_on_disk(state)
    asked: list[str] = []

    def ask(question: str) -> str:
        asked.append(question)
        return "not the passphrase at all"

    with pytest.raises(StorePassphraseError, match="nothing was changed"):
        ProfileStore(state, unlocking=Unlocking(ask=ask, tries=3)).secrets()
    assert len(asked) == 3
    assert str(state) in asked[0]
    assert devices.everything_on_disk(state) == before
    assert devices.kept(state) == had


def test_person_who_mistypes_it_may_try_again_and_is_asked_once_for_everything(state: Path) -> None:
    protect(state, Protection.PASSPHRASE)
    answers = ["mistyped", devices.PASSPHRASE]
    one = Unlocking(ask=lambda _question: answers.pop(0))
    assert ProfileStore(state, unlocking=one).secrets() is not None
    assert LinkStore(state, unlocking=one).all()
    assert ProfileStore(state, unlocking=one).enrolled().device_id
    assert answers == []


def test_passphrase_comes_from_a_file_too(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    protect(state, Protection.PASSPHRASE)
    file = state.parent / "passphrase"
    monkeypatch.setenv(environment.PASSPHRASE_FILE_VARIABLE, str(file))
    with pytest.raises(LockedStoreError, match="cannot be read"):
        ProfileStore(state).secrets()
    file.write_text(devices.PASSPHRASE + "\nanything\n")
    assert ProfileStore(state).secrets() is not None


def test_locked_store_says_so_and_whose_it_is_and_asks_nobody(state: Path) -> None:
    had = devices.kept(state)
    protect(state, Protection.PASSPHRASE)

    def ask(_question: str) -> str:
        pytest.fail("somebody was asked")

    store = ProfileStore(state, unlocking=Unlocking(ask=ask, keyring=lambda: None))
    assert store.vault.locked
    keeping, member = store.vault.keeping(), store.member
    assert keeping is not None
    assert member is not None
    assert keeping.protection is Protection.PASSPHRASE
    assert member.device == had["device"]
    assert store.bundle() == had["bundle"]
    assert store.heard_at() == devices.HEARD
    # What is no secret is written as ever.
    store.save_heard(devices.HEARD + datetime.timedelta(hours=1))
    assert not devices.open_store(state).vault.locked or devices.open_store(state).secrets() is not None


def test_short_passphrase_changes_nothing(state: Path) -> None:
    before = devices.everything_on_disk(state)
    with pytest.raises(CaravelError, match="12 characters"):
        Vault(state, devices.unlocking(state)).change_protection(Protection.PASSPHRASE, passphrase="short")
    assert devices.everything_on_disk(state) == before


def test_key_that_a_thief_has_opens_nothing_after_a_change(state: Path) -> None:
    """It is another key: who copied the key file before has the old files, and none that is written from now on."""
    (key,) = state.glob("key-*")
    stolen, check = base64.b64decode(key.read_bytes()), key.name.removeprefix("key-")
    protect(state, Protection.PASSPHRASE)
    assert not list(state.glob("key-*"))
    sealed = json.loads((state / "device.json").read_bytes())["body"]
    assert sealed["key"] != check
    assert stolen not in devices.everything_on_disk(state)


def test_keyring_has_one_entry_of_a_store_and_none_after_it_is_another_keepers(state: Path) -> None:
    ring = devices.keyring_of(state)
    protect(state, Protection.KEYRING)
    (first,) = ring.names()
    protect(state, Protection.KEYRING)
    (second,) = ring.names()
    assert first != second
    protect(state, Protection.KEY_FILE)
    assert ring.names() == set()
    assert not devices.open_store(state).vault.locked


def test_new_store_takes_the_keyring_where_there_is_one_and_else_a_file(tmp_path: Path) -> None:
    for name, by in (("with", Protection.KEYRING), ("without", Protection.KEY_FILE)):
        path = tmp_path / name
        ring = devices.keyring_of(path) if by is Protection.KEYRING else None
        store = ProfileStore(path, unlocking=Unlocking(keyring=lambda ring=ring: ring))  # type: ignore[misc]
        store.save_secrets(generate_secrets())
        keeping = store.vault.keeping()
        assert keeping is not None
        assert keeping.protection is by


class Refusing:
    """A keyring whose owner says no."""

    def load(self, name: str) -> bytes | None:
        raise LockedStoreError("the keyring of this session did not do it")

    def save(self, name: str, secret: bytes) -> None:
        raise LockedStoreError("the keyring of this session did not do it")

    def remove(self, name: str) -> None:
        raise LockedStoreError("the keyring of this session did not do it")


def test_keyring_that_says_no_keeps_nobody_from_a_new_store_and_takes_no_old_one(
    tmp_path: Path, state: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = ProfileStore(tmp_path / "new", unlocking=Unlocking(keyring=Refusing))
    store.save_secrets(generate_secrets())
    assert "a file beside it" in caplog.text
    assert list(store.path.glob("key-*"))
    had = devices.kept(state)
    with pytest.raises(LockedStoreError):
        Vault(state, Unlocking(keyring=Refusing)).change_protection(Protection.KEYRING)
    with pytest.raises(LockedStoreError, match="no keyring that encrypts"):
        Vault(state, Unlocking(keyring=lambda: None)).change_protection(Protection.KEYRING)
    assert devices.kept(state) == had


@pytest.mark.parametrize("name", ["vault.json", "device.json", "links.json", "key"])
@pytest.mark.parametrize("bits", [0o040, 0o004, 0o020])
def test_file_that_is_open_to_others_is_refused_with_what_to_run(state: Path, name: str, bits: int) -> None:
    path = next(state.glob("key-*")) if name == "key" else state / name
    path.chmod(0o600 | bits)
    with pytest.raises(StateFileError, match=f"chmod 600 {path}"):
        devices.open_store(state)
    path.chmod(0o600)
    assert devices.open_store(state).secrets() is not None


def test_own_configuration_in_the_directory_may_be_open(state: Path) -> None:
    (state / "connect.toml").write_text("lan = true\n")
    (state / "connect.toml").chmod(0o644)
    assert devices.open_store(state).secrets() is not None


def test_link_in_place_of_the_key_file_is_not_followed(state: Path) -> None:
    (key,) = state.glob("key-*")
    key.rename(state.parent / "moved")
    key.symlink_to(state.parent / "moved")
    with pytest.raises(LockedStoreError):
        ProfileStore(state, unlocking=nobody()).secrets()


def test_sealed_file_of_another_name_store_or_spelling_is_refused(
    state: Path, tmp_path: Path, authority: Authority
) -> None:
    devices.lay_down(tmp_path / "other", authority)
    original = (state / "device.json").read_bytes()
    (state / "device.json").write_bytes((tmp_path / "other" / "device.json").read_bytes())
    with pytest.raises(StateFileError):
        devices.open_store(state).secrets()
    (state / "device.json").write_bytes((state / "links.json").read_bytes())
    with pytest.raises(StateFileError, match="corrupt"):
        devices.open_store(state).secrets()
    # Whose it is stands in the clear, and is sealed in as well.
    document = json.loads(original)
    document["body"]["clear"]["fleet"] = "0" * 16
    document["sha256"] = checksum(document["body"])
    (state / "device.json").write_text(json.dumps(document))
    with pytest.raises(StateFileError, match="corrupt"):
        devices.open_store(state).secrets()


def test_vault_that_asks_for_too_much_is_damaged_and_nothing_runs(state: Path) -> None:
    protect(state, Protection.PASSPHRASE)
    path = state / "vault.json"
    document = json.loads(path.read_bytes())
    document["body"]["cost"][2] = 2**40
    document["sha256"] = checksum(document["body"])
    path.write_text(json.dumps(document))
    with pytest.raises(StateFileError, match="octets"):
        devices.open_store(state).secrets()


def test_only_backends_that_encrypt_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    import keyring
    from keyring.backends.chainer import ChainerBackend

    def backend(module: str) -> Any:
        return type("Keyring", (), {"__module__": module})()

    for module, real in [
        ("keyring.backends.SecretService", True),
        ("keyring.backends.macOS", True),
        ("keyring.backends.fail", False),
        ("keyring.backends.null", False),
        ("keyrings.alt.file", False),
        ("somebody.elses", False),
    ]:
        chosen = backend(module)
        monkeypatch.setattr(keyring, "get_keyring", lambda chosen=chosen: chosen)
        assert (find_keyring() is not None) is real, module
    chain = ChainerBackend()
    monkeypatch.setattr(ChainerBackend, "backends", [backend("keyrings.alt.file"), backend("keyring.backends.kwallet")])
    monkeypatch.setattr(keyring, "get_keyring", lambda: chain)
    assert find_keyring() is not None


def test_system_keyring_keeps_octets_and_tells_its_failures_in_a_sentence() -> None:
    kept: dict[tuple[str, str], str] = {}
    backend = SimpleNamespace(
        get_password=lambda service, name: kept.get((service, name)),
        set_password=lambda service, name, text: kept.update({(service, name): text}),
        delete_password=lambda service, name: kept.pop((service, name)),
    )
    ring = SystemKeyring(backend)
    assert ring.load("a") is None
    ring.save("a", bytes(range(32)))
    assert ring.load("a") == bytes(range(32))
    assert list(kept) == [(keyrings.SERVICE, "a")]
    ring.remove("a")
    ring.remove("a")
    assert kept == {}

    def fail(*_args: str) -> str:
        raise ZeroDivisionError("D-Bus is away")

    broken = SystemKeyring(SimpleNamespace(get_password=fail, set_password=fail, delete_password=fail))
    for act in (lambda: broken.load("a"), lambda: broken.save("a", b""), lambda: broken.remove("a")):
        with pytest.raises(LockedStoreError, match="D-Bus is away"):
            act()


def test_writer_waits_for_another_process_and_not_for_ever(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    with (state / writing.LOCK_NAME).open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        monkeypatch.setattr(writing, "PATIENCE", 0.05)
        with pytest.raises(StateFileError, match="another program"):
            devices.open_store(state).save_heard(devices.HEARD)
    devices.open_store(state).save_heard(devices.HEARD)


def test_bundle_of_a_process_that_came_too_late_replaces_no_newer_one(state: Path) -> None:
    first, second = devices.open_store(state), devices.open_store(state)
    second.save_bundle(devices.bundle(7), devices.blob(7))
    first.save_bundle(devices.bundle(6), devices.blob(6))
    assert devices.open_store(state).bundle() == ((1, 7), devices.blob(7))


@pytest.mark.skipif(os.geteuid() != 0, reason="giving files away takes root, as CI has it")
def test_what_root_writes_stays_its_owners(state: Path) -> None:
    os.chown(state, 65534, 65534)
    for path in state.iterdir():
        os.chown(path, 65534, 65534)
    (state / "writing.lock").unlink()
    devices.open_store(state).save_heard(devices.HEARD)
    assert {path.stat().st_uid for path in state.iterdir()} == {65534}
