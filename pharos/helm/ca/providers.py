"""What opens the data key at each start: a key file, a passphrase, or systemd (security design 2e).

data.key holds one of

    {"key": …}                                       key file: who can read the state directory has the key
    {"provider": "passphrase", "salt": …, "wrapped": …, "passes": 3, "octets": 67108864}
    {"provider": "systemd-creds", "check": …}        the key is in $CREDENTIALS_DIRECTORY/pharos-data-key
"""

from __future__ import annotations

import base64
import enum
import getpass
import hmac
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final, Self

import attrs
from nacl import hash, pwhash, utils  # noqa: A004 -- nacl's own module name
from nacl.encoding import RawEncoder

from pharos.helm.ca.vault import KEY_SIZE, Vault, key_file
from pharos.helm.errors import InvalidRequestError, NotInitialisedError
from pharos.wire.errors import StateFileError
from pharos.wire.units import MIB

DATA_KEY_CREDENTIAL: Final = "pharos-data-key"
PASSPHRASE_CREDENTIAL: Final = "pharos-passphrase"  # noqa: S105 -- a file's name
PASSPHRASE_VARIABLE: Final = "PHAROS_PASSPHRASE"  # noqa: S105 -- a variable's name
# Argon2id, RFC 9106: a tenth of a second and 64 MiB for each guess.
PASSES: Final = 3
OCTETS: Final = 64 * MIB
# What a file may ask of us: at most a second and a gibibyte, whoever wrote it.
_MOST_PASSES: Final = 16
_MOST_OCTETS: Final = 1024 * MIB
# Four words of a list of 7,776 have 51 bits; with Argon2id that is out of reach of whoever stole a laptop.
MIN_PASSPHRASE: Final = 12
_NAME: Final = "data-key"
_VERSION: Final = 1


class Provider(enum.Enum):
    """Who gives helm its data key."""

    KEY_FILE = "key-file"
    PASSPHRASE = "passphrase"  # noqa: S105 -- a provider's name
    SYSTEMD = "systemd-creds"


@attrs.frozen(kw_only=True)
class Sources:
    """Where secrets come from that are not in the state directory."""

    credentials: Path | None = None
    """systemd's directory of them, for this service."""
    passphrase: str | None = attrs.field(default=None, repr=False)
    terminal: bool = False
    """Somebody is there to be asked."""

    @classmethod
    def of_process(cls) -> Self:
        """Return those of this process."""
        directory = os.environ.get("CREDENTIALS_DIRECTORY")
        return cls(
            credentials=None if directory is None else Path(directory),
            passphrase=os.environ.get(PASSPHRASE_VARIABLE),
            terminal=sys.stdin.isatty(),
        )

    def credential(self, name: str) -> bytes | None:
        """Return a credential that systemd passed, None if it passed none of that name."""
        if self.credentials is None:
            return None
        try:
            return (self.credentials / name).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StateFileError(f"the credential {name} cannot be read: {error.strerror}") from error

    def ask_passphrase(self) -> str:
        """Return the passphrase of the data key.

        Raises: StateFileError — there is none, and nobody to ask.
        """
        credential = self.credential(PASSPHRASE_CREDENTIAL)
        if credential is not None:
            return credential.decode(errors="replace").rstrip("\n")
        if self.passphrase is not None:
            return self.passphrase
        if self.terminal:
            return getpass.getpass("Passphrase of the data key: ")
        raise StateFileError(
            f"a passphrase opens this fleet's keys: pass the credential {PASSPHRASE_CREDENTIAL}, set"
            f" {PASSPHRASE_VARIABLE}, or start helm on a terminal"
        )


def provider_of(state: Path) -> Provider:
    """Return who gives the data key of this state directory.

    Raises: NotInitialisedError, StateFileError.
    """
    return Provider(_load(state).get("provider", Provider.KEY_FILE.value))


def read_data_key(state: Path, sources: Sources) -> bytes:
    """Return the data key, 32 octets; blocks, for a tenth of a second or for whoever types a passphrase.

    Raises: NotInitialisedError — there is no data.key. StateFileError — it is damaged, or does not open.
    """
    body = _load(state)
    try:
        match Provider(body.get("provider", Provider.KEY_FILE.value)):
            case Provider.KEY_FILE:
                return base64.b64decode(body["key"])
            case Provider.PASSPHRASE:
                return _open_with(sources.ask_passphrase(), body)
            case Provider.SYSTEMD:
                return _from_systemd(sources, base64.b64decode(body["check"]))
    except (KeyError, TypeError, ValueError) as error:
        raise StateFileError(f"data.key is damaged ({error!r}); {_REMEDY}") from error


def wrap_key_file(state: Path, key: bytes) -> None:
    """Keep the data key in its file, for whoever can read the state directory."""
    key_file(state).save({"key": base64.b64encode(key).decode()})


def wrap_passphrase(state: Path, key: bytes, passphrase: str) -> None:
    """Let a passphrase open the data key from now on.

    Raises: InvalidRequestError — it is too short.
    """
    if len(passphrase) < MIN_PASSPHRASE:
        raise InvalidRequestError(f"a passphrase has at least {MIN_PASSPHRASE} characters; four random words are good")
    salt = utils.random(pwhash.argon2id.SALTBYTES)
    body = {
        "provider": Provider.PASSPHRASE.value,
        "salt": base64.b64encode(salt).decode(),
        "passes": PASSES,
        "octets": OCTETS,
    }
    wrapped = Vault(_derive(passphrase, salt, PASSES, OCTETS)).wrap(_NAME, _VERSION, key)
    key_file(state).save(body | {"wrapped": base64.b64encode(wrapped).decode()})


def wrap_systemd(state: Path, key: bytes, credential: Path) -> None:
    """Let systemd keep the data key, encrypted for this machine, in ``credential``; its file goes from the state.

    Raises: InvalidRequestError — systemd-creds is not here, or refused.
    """
    command = ["systemd-creds", "encrypt", f"--name={DATA_KEY_CREDENTIAL}", "-", str(credential)]
    try:
        done = subprocess.run(command, input=key, capture_output=True, check=False)  # noqa: S603 -- argv of our own
    except OSError as error:
        raise InvalidRequestError(f"systemd-creds cannot be run here: {error.strerror}") from error
    if done.returncode:
        raise InvalidRequestError(f"systemd-creds: {done.stderr.decode(errors='replace').strip()}")
    key_file(state).save({"provider": Provider.SYSTEMD.value, "check": base64.b64encode(_check_of(key)).decode()})


_REMEDY: Final = "open it with the recovery kit: helm ca wrap --provider key-file --kit -"


def _load(state: Path) -> dict[str, Any]:
    file = key_file(state)
    body = file.load()
    if body is None:
        raise NotInitialisedError(f"{file.path} is missing; restore it from your backup, or {_REMEDY}")
    return body


def _open_with(passphrase: str, body: dict[str, Any]) -> bytes:
    passes, octets = int(body["passes"]), int(body["octets"])
    if not (1 <= passes <= _MOST_PASSES and 8 * KEY_SIZE <= octets <= _MOST_OCTETS):
        raise ValueError("its cost is out of bounds")
    derived = _derive(passphrase, base64.b64decode(body["salt"]), passes, octets)
    try:
        return Vault(derived).unwrap(_NAME, _VERSION, base64.b64decode(body["wrapped"]))
    except StateFileError:
        raise StateFileError(f"that is not the passphrase of the data key; try again, or {_REMEDY}") from None


def _from_systemd(sources: Sources, check: bytes) -> bytes:
    key = sources.credential(DATA_KEY_CREDENTIAL)
    if key is None:
        raise StateFileError(
            f"systemd keeps this fleet's data key, and did not pass the credential {DATA_KEY_CREDENTIAL}: start helm as"
            f" its service, or {_REMEDY}"
        )
    if len(key) != KEY_SIZE or not hmac.compare_digest(_check_of(key), check):
        raise StateFileError(f"the credential {DATA_KEY_CREDENTIAL} is another fleet's; {_REMEDY}")
    return key


def _derive(passphrase: str, salt: bytes, passes: int, octets: int) -> bytes:
    return pwhash.argon2id.kdf(KEY_SIZE, passphrase.encode(), salt, opslimit=passes, memlimit=octets)


def _check_of(key: bytes) -> bytes:
    return hash.blake2b(key, digest_size=16, person=b"pharos/data/chk", encoder=RawEncoder)
