"""The key of a device's directory, which seals every secret in it: made, opened, and handed from keeper to keeper."""

from __future__ import annotations

import base64
import contextlib
import logging
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import attrs

from pharos.caravel.errors import CaravelError, LockedStoreError, StorePassphraseError
from pharos.caravel.profiles.keeping import Keeping
from pharos.caravel.profiles.layout import split
from pharos.caravel.profiles.unlocking import MAX_KEY_FILE, Protection, Unlocking
from pharos.caravel.profiles.writing import Turns
from pharos.wire.errors import DecryptError, ParameterError, StateFileError
from pharos.wire.files import StateFile, open_state_directory, write_atomic
from pharos.wire.seal.atrest import StoreKey, fresh_store_id
from pharos.wire.seal.passphrase import KeyCost
from pharos.wire.world import this_world

log = logging.getLogger(__name__)

VAULT_NAME: Final = "vault.json"
KEY_FILE: Final = "key-"
"""And the check of the key that is in it."""
MIN_PASSPHRASE: Final = 12
"""Characters: four words of a list of 7,776 have 51 bits; with Argon2id that is out of a thief's reach."""
_REMEDY: Final = "restore it from a copy of the whole directory"
_WRAP: Final = "key-by-passphrase"
_PREVIOUS: Final = "previous-key"


class Vault:
    """Opens and keeps the key of one directory, for all its fleets together.

    Everything in here blocks: on the disk, Argon2id, or a person.
    """

    def __init__(self, path: Path, unlocking: Unlocking | None = None) -> None:
        root, _ = split(path)
        self.root = open_state_directory(root)
        check_private(self.root)
        self.unlocking = Unlocking.of_process() if unlocking is None else unlocking
        self._file = StateFile(self.root / VAULT_NAME, "pharos/device-vault/v1", _REMEDY)
        self._turns = Turns(self.root)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the directory for a change, and finish first what an earlier one has left.

        Raises: StateFileError — another program does not let go of it.
        """
        nested = self._turns.held
        with self._turns.take():
            keeping = None if nested else self.keeping()
            if keeping is not None and keeping.unfinished:
                # Who cannot open it may still write what is no secret.
                with contextlib.suppress(LockedStoreError):
                    self._finish(keeping)
            yield

    def keeping(self) -> Keeping | None:
        """Return who keeps the key; None where nothing is sealed yet.

        Raises: StateFileError — vault.json is damaged.
        """
        body = self._file.load()
        if body is None:
            return None
        try:
            return Keeping.from_json(body)
        except (KeyError, TypeError, ValueError, ParameterError) as error:
            raise StateFileError(
                f"{self._file.path} is damaged ({error!r}) and was left as it is; {_REMEDY}"
            ) from error

    @property
    def locked(self) -> bool:
        """Whether somebody would have to be asked, or something be brought, to read what is sealed. Asks nobody."""
        keeping = self.keeping()
        if keeping is None:
            return False
        try:
            self._open(keeping, ask=False)
        except LockedStoreError:
            return True
        return False

    def key(self, check: bytes) -> tuple[StoreKey, bytes]:
        """Return the key with that check, and the store's id.

        Raises: LockedStoreError — it cannot be had. StateFileError — this store never had such a key.
        """
        keeping = self.keeping()
        if keeping is not None and check == keeping.check:
            return self._open(keeping), keeping.store
        if keeping is not None and keeping.previous_protection is not None and check == keeping.previous_check:
            return self._previous(keeping), keeping.store
        raise StateFileError(f"{self.root} has files that were sealed by another key than it has; {_REMEDY}")

    def current(self) -> tuple[StoreKey, bytes]:
        """Return the key to seal with, and the store's id; made if there is none. Only inside of `writing`."""
        keeping = self.keeping()
        if keeping is None:
            keeping = self._create()
        return self._open(keeping), keeping.store

    def change_protection(self, to: Protection, *, passphrase: str = "") -> None:
        """Seal everything anew, by another key that is kept so from now on; the one before is of no use afterwards.

        Killed at any moment, it leaves a store that opens the one way or the other, and goes on with the next write.

        Raises: LockedStoreError — the store is locked now, or the new keeper does not take the key. CaravelError — the
        passphrase is too short.
        """
        if to is Protection.PASSPHRASE and len(passphrase) < MIN_PASSPHRASE:
            raise CaravelError(f"a passphrase has at least {MIN_PASSPHRASE} characters; four random words are good")
        with self.writing():
            old, store = self.current()
            before = self.keeping()
            assert before is not None, "it was made if there was none"
            if before.unfinished:
                # Who had to be asked first could not finish it: what the key before this one seals would be lost.
                before = self._finish(before)
            key = StoreKey.fresh()
            changed = attrs.evolve(
                self._entrust(key, to, store=store, passphrase=passphrase),
                previous=key.seal(old.reveal(), purpose=_PREVIOUS, store=store),
                previous_check=before.check,
                previous_protection=before.protection,
            )
            self._file.save(changed.as_json())
            self.unlocking.remember(key)
            self._finish(changed)

    def _create(self) -> Keeping:
        """Draw a key. What is in the clear is sealed with the next write, or by this one's `_finish`."""
        key, store = StoreKey.fresh(), fresh_store_id()
        prefer = self.unlocking.prefer
        if prefer is None:
            prefer = Protection.KEY_FILE if self.unlocking.keyring() is None else Protection.KEYRING
        try:
            keeping = self._entrust(key, prefer, store=store)
        except LockedStoreError as error:
            if self.unlocking.prefer is not None:
                raise
            log.warning("%s; the store's key lies in a file beside it instead", error)
            keeping = self._entrust(key, Protection.KEY_FILE, store=store)
        self._file.save(keeping.as_json())
        self.unlocking.remember(key)
        return self._finish(keeping)

    def _entrust(self, key: StoreKey, to: Protection, *, store: bytes, passphrase: str = "") -> Keeping:
        """Give a key to its keeper; it counts once vault.json says so."""
        keeping = Keeping(store=store, protection=to, check=key.check, unfinished=True)
        match to:
            case Protection.PASSPHRASE:
                cost = KeyCost.fresh()
                wrapped = StoreKey(cost.derive(passphrase)).seal(key.reveal(), purpose=_WRAP, store=store)
                return attrs.evolve(keeping, cost=cost, wrapped=wrapped)
            case Protection.KEYRING:
                ring = self.unlocking.keyring()
                if ring is None:
                    raise LockedStoreError("this session has no keyring that encrypts; take a passphrase or a key file")
                ring.save(_entry(keeping), key.reveal())
                if ring.load(_entry(keeping)) != key.reveal():
                    raise LockedStoreError("the keyring of this session did not keep what it was given")
            case Protection.KEY_FILE:
                write_atomic(self._key_file(keeping.check), base64.b64encode(key.reveal()) + b"\n")
        return keeping

    def _open(self, keeping: Keeping, *, ask: bool = True) -> StoreKey:
        known = self.unlocking.known(keeping.check)
        if known is not None:
            return known
        match keeping.protection:
            case Protection.KEYRING:
                key = self._from_keyring(keeping)
            case Protection.PASSPHRASE:
                key = self._from_passphrase(keeping, ask=ask)
            case Protection.KEY_FILE:
                key = self._from_file(keeping)
        return self.unlocking.remember(key)

    def _from_keyring(self, keeping: Keeping) -> StoreKey:
        ring = self.unlocking.keyring()
        raw = None if ring is None else ring.load(_entry(keeping))
        if raw is None:
            raise LockedStoreError(
                f"the key of {self.root} is in the keyring of the desktop session that made it; run this there, or"
                " change it there: caravel protect --by passphrase"
            )
        return self._checked(raw, keeping, "the keyring's")

    def _from_file(self, keeping: Keeping) -> StoreKey:
        path = self._key_file(keeping.check)
        if self.unlocking.key_file is not None and not path.exists():
            path = self.unlocking.key_file
        try:
            raw = base64.b64decode(_read_private(path, strict=path.parent == self.root), validate=True)
        except FileNotFoundError:
            raise LockedStoreError(
                f"the key file {path} is missing; put it back, or let systemd pass it (docs/guide/devicestore.md)"
            ) from None
        except (OSError, ValueError) as error:
            raise LockedStoreError(f"the key file {path} cannot be read: {error}") from error
        return self._checked(raw, keeping, f"the file {path} has")

    def _checked(self, raw: bytes, keeping: Keeping, whose: str) -> StoreKey:
        try:
            key = StoreKey(raw)
        except DecryptError as error:
            raise LockedStoreError(f"{whose} no key of a store ({error})") from error
        if key.check != keeping.check:
            raise LockedStoreError(f"{whose} the key of another store than {self.root}")
        return key

    def _from_passphrase(self, keeping: Keeping, *, ask: bool) -> StoreKey:
        given = self.unlocking.read_passphrase()
        if given is not None:
            return self._unwrap(keeping, given)
        asks = self.unlocking.ask if ask else None
        if asks is None:
            raise LockedStoreError(
                f"{self.root} is locked by a passphrase; run this on a terminal, or name a file with it in"
                " PHAROS_PASSPHRASE_FILE"
            )
        for left in reversed(range(self.unlocking.tries)):
            try:
                return self._unwrap(keeping, asks(f"Passphrase of {self.root}"))
            except StorePassphraseError:
                if not left:
                    raise
        raise AssertionError("somebody is asked at least once")

    def _unwrap(self, keeping: Keeping, passphrase: str) -> StoreKey:
        if keeping.cost is None:
            raise self._damaged("it has no cost")
        try:
            derived = StoreKey(keeping.cost.derive(passphrase))
            return StoreKey(derived.open(keeping.wrapped, purpose=_WRAP, store=keeping.store))
        except (DecryptError, ParameterError):
            raise StorePassphraseError(
                f"that is not the passphrase of {self.root}; nothing was changed, try again"
            ) from None

    def _previous(self, keeping: Keeping) -> StoreKey:
        known = self.unlocking.known(keeping.previous_check)
        if known is not None:
            return known
        try:
            raw = self._open(keeping).open(keeping.previous, purpose=_PREVIOUS, store=keeping.store)
        except DecryptError as error:
            raise self._damaged("the previous key does not open") from error
        return self.unlocking.remember(StoreKey(raw))

    def _finish(self, keeping: Keeping) -> Keeping:
        """Seal what is not sealed by this key yet, then let nobody keep the one before."""
        from pharos.caravel.profiles.sealedfile import seal_all

        self._open(keeping, ask=False)
        seal_all(self)
        if keeping.previous_protection is Protection.KEYRING:
            self._forget_in_keyring(keeping)
        for path in self.root.glob(f"{KEY_FILE}*"):
            if keeping.protection is not Protection.KEY_FILE or path != self._key_file(keeping.check):
                this_world().unlink(path)
        done = attrs.evolve(keeping, previous=b"", previous_check=b"", previous_protection=None, unfinished=False)
        self._file.save(done.as_json())
        return done

    def _forget_in_keyring(self, keeping: Keeping) -> None:
        ring = self.unlocking.keyring()
        try:
            if ring is not None:
                ring.remove(_entry(attrs.evolve(keeping, check=keeping.previous_check)))
        except LockedStoreError as error:
            # It opens nothing any more.
            log.warning("the keyring still has the key that this store had before: %s", error)

    def _damaged(self, why: str) -> StateFileError:
        return StateFileError(f"{self._file.path} is damaged ({why}) and was left as it is; {_REMEDY}")

    def _key_file(self, check: bytes) -> Path:
        return self.root / f"{KEY_FILE}{check.hex()}"


def check_private(directory: Path) -> None:
    """See that nobody else can read or write the state in a directory of ours; who runs it may put other files there.

    Raises: StateFileError — somebody can; it says what to run.
    """
    if os.name != "posix":
        return
    with os.scandir(directory) as entries:
        for entry in entries:
            if not entry.name.endswith(".json") and not entry.name.startswith(KEY_FILE):
                continue
            found = entry.stat(follow_symlinks=False)
            if stat.S_ISREG(found.st_mode) and stat.S_IMODE(found.st_mode) & 0o077:
                mode = stat.S_IMODE(found.st_mode)
                raise StateFileError(
                    f"{entry.path} is open to other users (mode {mode:04o}); run: chmod 600 {entry.path}"
                )


def _read_private(path: Path, *, strict: bool) -> bytes:
    """Return a small file's contents. ``strict``: no symbolic link, for it lies where only we write."""
    flags = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | (getattr(os, "O_NOFOLLOW", 0) if strict else 0)
    descriptor = os.open(path, flags)
    try:
        return os.read(descriptor, MAX_KEY_FILE).strip()
    finally:
        os.close(descriptor)


def _entry(keeping: Keeping) -> str:
    return f"{keeping.store.hex()}/{keeping.check.hex()}"
