"""What the record knows of its recovery kit: the public key that backups are sealed to, the data key that it opens."""

from __future__ import annotations

from typing import Final

from pharos.helm.ca.vault import RecoveryKit, Vault
from pharos.helm.errors import BackupError, InvalidRequestError, NotInitialisedError
from pharos.helm.store.database import Database
from pharos.helm.store.fleet import get_secret, put_secret
from pharos.wire.errors import StateFileError

KIT_KEY: Final = "kit-key"
DATA_KEY: Final = "data-key"
ROOT: Final = "root"

_VERSION: Final = 1


def kit_key_of(db: Database, vault: Vault) -> bytes:
    """Return the public X25519 key of the fleet's recovery kit, 32 octets.

    It stands wrapped by the data key: who can write the database and has no key cannot put another in its place.

    Raises: BackupError — a fleet that an older helm made does not know it. StateFileError — it was altered.
    """
    try:
        version, wrapped = get_secret(db, KIT_KEY)
    except NotInitialisedError:
        raise BackupError(
            "this fleet was made before there were backups and does not know its recovery kit;"
            " give it each time: helm backup --kit -"
        ) from None
    return vault.unwrap(KIT_KEY, version, wrapped)


def learn_kit(db: Database, vault: Vault, kit: RecoveryKit) -> None:
    """Note the public key of the fleet's kit in a fleet that has none yet.

    Raises: InvalidRequestError — it is another fleet's kit.
    """
    data_key_of(db, kit)
    if db.execute("SELECT 1 FROM secrets WHERE name = ?", (KIT_KEY,)).fetchone() is None:
        public = bytes(kit.sealing_key().public_key)
        put_secret(db, KIT_KEY, _VERSION, vault.wrap(KIT_KEY, _VERSION, public))


def data_key_of(db: Database, kit: RecoveryKit) -> bytes:
    """Return the fleet's data key, which its kit opens.

    Raises: InvalidRequestError — it is another fleet's kit.
    """
    version, wrapped = get_secret(db, DATA_KEY)
    try:
        return kit.vault().unwrap(DATA_KEY, version, wrapped)
    except StateFileError:
        raise InvalidRequestError("this recovery kit is another fleet's, or one that was replaced") from None
