"""Secrets at rest: each wrapped by the data key, the data key wrapped twice (security design 2e).

The daily wrap is up to a provider (`pharos.helm.ca.providers`), at first a key file beside the database; the other is
the printed recovery kit, which alone opens a backup anywhere. The root CA's key is wrapped by the kit only, so that no
running helm can use it.
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Final

import attrs
from nacl import bindings, hash, utils  # noqa: A004 -- nacl's own module name
from nacl.encoding import RawEncoder
from nacl.exceptions import CryptoError
from nacl.public import PrivateKey

from pharos.helm.errors import InvalidRequestError
from pharos.wire.errors import StateFileError
from pharos.wire.files import StateFile

KEY_SIZE: Final = 32
NONCE_SIZE: Final = bindings.crypto_aead_xchacha20poly1305_ietf_NPUBBYTES
_CONTEXT: Final = b"pharos/vault/v1"
# Four characters a group is what people copy without losing their place.
_GROUP: Final = 4
_CHECK_SIZE: Final = 3


@attrs.frozen
class Vault:
    """Wraps and unwraps secret rows with one 32-byte key (XChaCha20-Poly1305)."""

    _key: bytes = attrs.field(repr=False)

    def wrap(self, name: str, version: int, secret: bytes) -> bytes:
        """Return nonce and ciphertext; only the same name and version open it."""
        nonce = utils.random(NONCE_SIZE)
        return nonce + bindings.crypto_aead_xchacha20poly1305_ietf_encrypt(
            secret, _associated(name, version), nonce, self._key
        )

    def unwrap(self, name: str, version: int, wrapped: bytes) -> bytes:
        """Return the secret.

        Raises: StateFileError — the row was damaged, moved or belongs to another key.
        """
        nonce, ciphertext = wrapped[:NONCE_SIZE], wrapped[NONCE_SIZE:]
        try:
            return bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(
                ciphertext, _associated(name, version), nonce, self._key
            )
        except (CryptoError, ValueError):  # pynacl's answer to a ciphertext shorter than its tag is a ValueError
            raise StateFileError(
                f"secret {name!r} does not open with this key; restore core.db and data.key from the same backup"
            ) from None

    def derive(self, name: str) -> bytes:
        """Return 32 octets that only this key gives for the name, the same each time."""
        return hash.blake2b(
            name.encode(), digest_size=KEY_SIZE, key=self._key, person=b"pharos/derive/v1", encoder=RawEncoder
        )


@attrs.frozen
class RecoveryKit:
    """256 random bits on paper."""

    _secret: bytes = attrs.field(repr=False)

    @classmethod
    def create(cls) -> RecoveryKit:
        """Draw a new kit."""
        return cls(utils.random(KEY_SIZE))

    @classmethod
    def parse(cls, text: str) -> RecoveryKit:
        """Read a kit as printed; case, spaces and hyphens do not matter.

        Raises: InvalidRequestError — a character is wrong or missing.
        """
        plain = "".join(text.upper().replace("-", " ").split())
        try:
            raw = base64.b32decode(plain + "=" * (-len(plain) % 8))
        except ValueError:
            raw = b""
        secret, check = raw[:KEY_SIZE], raw[KEY_SIZE:]
        if len(secret) != KEY_SIZE or check != _check(secret):
            raise InvalidRequestError("that is not a recovery kit of Pharos; copy all of its groups")
        return cls(secret)

    def printed(self) -> str:
        """Return the kit as groups of letters and digits, with a check that catches a slip of the pen."""
        text = base64.b32encode(self._secret + _check(self._secret)).decode().rstrip("=")
        return "-".join(text[i : i + _GROUP] for i in range(0, len(text), _GROUP))

    def vault(self) -> Vault:
        """Return what this kit wraps and unwraps."""
        return Vault(
            hash.blake2b(b"", digest_size=KEY_SIZE, key=self._secret, person=b"pharos/kit/v1", encoder=RawEncoder)
        )

    def sealing_key(self) -> PrivateKey:
        """Return the X25519 key to whose public half helm seals backups while the kit lies in a drawer."""
        return PrivateKey(
            hash.blake2b(b"", digest_size=KEY_SIZE, key=self._secret, person=b"pharos/kit/box", encoder=RawEncoder)
        )


def key_file(state: Path) -> StateFile:
    """Return the file of the data key's daily wrap; what is in it, `pharos.helm.ca.providers` says."""
    return StateFile(state / "data.key", "pharos/data-key/v1", "put the copy from your backup in its place")


def create_vault(state: Path) -> tuple[Vault, bytes]:
    """Draw the data key and store its daily wrap; return the vault and the key, for the kit to wrap."""
    key = utils.random(KEY_SIZE)
    return keep_data_key(state, key), key


def keep_data_key(state: Path, key: bytes) -> Vault:
    """Store the daily wrap of a data key and return its vault."""
    key_file(state).save({"key": base64.b64encode(key).decode()})
    return Vault(key)


def open_vault(state: Path) -> Vault:
    """Open the vault with whatever provider the data key has; that may ask on the terminal.

    Raises: NotInitialisedError — there is none. StateFileError — it is damaged, or does not open.
    """
    from pharos.helm.ca.providers import Sources, read_data_key

    return Vault(read_data_key(state, Sources.of_process()))


def _associated(name: str, version: int) -> bytes:
    return b"\0".join((_CONTEXT, b"secrets", name.encode(), str(version).encode()))


def _check(secret: bytes) -> bytes:
    return hash.blake2b(secret, digest_size=16, person=b"pharos/kit/chk", encoder=RawEncoder)[:_CHECK_SIZE]
