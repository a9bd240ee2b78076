"""A backup's envelope: a stream that the recovery kit opens anywhere, and this helm to verify what it wrote.

    magic and version (15) ‖ u32 length ‖ header ‖ stream header (24) ‖ chunks

    header  canonical JSON: at, by, epoch, fleet, helm, kit, root
    kit     SealedBox(file key) to the public key of the recovery kit; base64
    helm    the file key wrapped by the data key; base64
    chunks  XChaCha20-Poly1305 secretstream of libsodium: 64 KiB each and 17 octets more, the last one shorter or empty
            and marked as the last. The header is the associated data of every chunk.

Each file has a key of its own, drawn for it. A file that was cut, lengthened, or has a bit of it changed, header
included, is refused; its contents count only once the last chunk was read.
"""

from __future__ import annotations

import base64
from typing import BinaryIO, Final, Self

import attrs
from nacl import bindings, utils
from nacl.exceptions import CryptoError
from nacl.public import PublicKey, SealedBox

from pharos.helm.ca.vault import RecoveryKit, Vault
from pharos.helm.errors import BackupError
from pharos.wire.errors import StateFileError
from pharos.wire.ids import FleetId, parse_fleet_id
from pharos.wire.pki.canonical import decode_canonical, encode_canonical
from pharos.wire.units import KIB

MAGIC: Final = b"pharos-backup\x00\x01"
CHUNK: Final = 64 * KIB
# A header takes some 400 octets.
MAX_HEADER: Final = 4 * KIB

_KEY: Final = bindings.crypto_secretstream_xchacha20poly1305_KEYBYTES
_STREAM_HEADER: Final = bindings.crypto_secretstream_xchacha20poly1305_HEADERBYTES
_OVERHEAD: Final = bindings.crypto_secretstream_xchacha20poly1305_ABYTES
_LAST: Final = bindings.crypto_secretstream_xchacha20poly1305_TAG_FINAL
_MORE: Final = bindings.crypto_secretstream_xchacha20poly1305_TAG_MESSAGE
_WRAP_VERSION: Final = 1


@attrs.frozen(kw_only=True)
class BackupHeader:
    """What a backup says of itself; anybody can read it, and it is believed once the first chunk was opened."""

    fleet: FleetId
    at: int
    """When it was made, in microseconds since 1970."""
    epoch: int
    """Of the fleet in it."""
    with_root: bool
    """Whether the root's key is in it, itself wrapped by the kit."""
    by: str
    """Version of the helm that made it."""
    kit: bytes = attrs.field(repr=False)
    helm: bytes = attrs.field(repr=False)

    def encode(self) -> bytes:
        """Return it as it stands in the file."""
        body = encode_canonical(
            {
                "fleet": self.fleet,
                "at": self.at,
                "epoch": self.epoch,
                "root": self.with_root,
                "by": self.by,
                "kit": base64.b64encode(self.kit).decode(),
                "helm": base64.b64encode(self.helm).decode(),
            }
        )
        return MAGIC + len(body).to_bytes(4, "big") + body

    @classmethod
    def read(cls, file: BinaryIO) -> Self:
        """Read the beginning of a file.

        Raises: BackupError — it is no backup, or one of a newer version.
        """
        magic = file.read(len(MAGIC))
        if magic != MAGIC:
            known = magic[:-1] == MAGIC[:-1]
            raise BackupError(
                "this backup was made by a newer version; update Pharos first"
                if known
                else "this file is not a backup of Pharos"
            )
        length = int.from_bytes(file.read(4), "big")
        if length > MAX_HEADER:
            raise BackupError("this backup is damaged: its header is too long")
        body = file.read(length)
        try:
            content = decode_canonical(body)
            header = cls(
                fleet=parse_fleet_id(_text(content["fleet"])),
                at=_number(content["at"]),
                epoch=_number(content["epoch"]),
                with_root=content["root"] is True,
                by=_text(content["by"]),
                kit=base64.b64decode(_text(content["kit"]), validate=True),
                helm=base64.b64decode(_text(content["helm"]), validate=True),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise BackupError(f"this backup is damaged: its header is none ({error})") from error
        # The absence of anything else, and the one spelling of each wrap: base64 has several of some.
        if header.encode() != MAGIC + length.to_bytes(4, "big") + body:
            raise BackupError("this backup is damaged: its header has another spelling than helm gives it")
        return header

    def key_by_kit(self, kit: RecoveryKit) -> bytes:
        """Return the file's key.

        Raises: BackupError — the file is another fleet's, or its header was altered.
        """
        try:
            return _checked(SealedBox(kit.sealing_key()).decrypt(self.kit))
        except (CryptoError, TypeError, ValueError):
            raise BackupError(
                f"this recovery kit does not open a backup of fleet {self.fleet}; take the kit of that fleet"
            ) from None

    def key_by_vault(self, vault: Vault) -> bytes:
        """Return the file's key, at the helm that made it.

        Raises: BackupError — another one made it, or its header was altered.
        """
        try:
            return _checked(vault.unwrap(_name(self.at), _WRAP_VERSION, self.helm))
        except StateFileError:
            raise BackupError("this backup was not made by this helm, or its header was altered") from None


class SealedWriter:
    """A file to write to, as `tarfile` takes it; what is written is a backup once it was closed."""

    def __init__(
        self,
        file: BinaryIO,
        *,
        kit_key: bytes,
        vault: Vault,
        fleet: FleetId,
        at: int,
        epoch: int,
        with_root: bool,
        by: str,
    ) -> None:
        key = utils.random(_KEY)
        self.header: Final = BackupHeader(
            fleet=fleet,
            at=at,
            epoch=epoch,
            with_root=with_root,
            by=by,
            kit=SealedBox(PublicKey(kit_key)).encrypt(key),
            helm=vault.wrap(_name(at), _WRAP_VERSION, key),
        )
        self._file = file
        self._buffer = bytearray()
        self._associated = self.header.encode()
        self._state = bindings.crypto_secretstream_xchacha20poly1305_state()
        file.write(self._associated)
        file.write(bindings.crypto_secretstream_xchacha20poly1305_init_push(self._state, key))

    def write(self, data: bytes) -> int:
        """Take some of the contents."""
        self._buffer += data
        # What fills a chunk exactly waits: the last one has to be marked.
        while len(self._buffer) > CHUNK:
            self._push(bytes(self._buffer[:CHUNK]), _MORE)
            del self._buffer[:CHUNK]
        return len(data)

    def close(self) -> None:
        """Write the last chunk; the file itself is its owner's to close."""
        self._push(bytes(self._buffer), _LAST)
        self._buffer.clear()

    def _push(self, chunk: bytes, tag: int) -> None:
        self._file.write(
            bindings.crypto_secretstream_xchacha20poly1305_push(self._state, chunk, ad=self._associated, tag=tag)
        )


class SealedReader:
    """The contents of a backup whose header was read; what it gives is authentic, and whole after ``finish``."""

    def __init__(self, file: BinaryIO, header: BackupHeader, key: bytes) -> None:
        self._file = file
        self._associated = header.encode()
        self._state = bindings.crypto_secretstream_xchacha20poly1305_state()
        self._buffer = bytearray()
        self._ended = False
        beginning = file.read(_STREAM_HEADER)
        if len(beginning) != _STREAM_HEADER:
            raise BackupError(_CUT)
        bindings.crypto_secretstream_xchacha20poly1305_init_pull(self._state, beginning, key)

    def read(self, size: int) -> bytes:
        """Return so many octets, fewer at the end.

        Raises: BackupError — the file was cut or altered.
        """
        while len(self._buffer) < size and not self._ended:
            self._pull()
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data

    def finish(self) -> None:
        """Read to the end.

        Raises: BackupError — the file was cut, lengthened or altered.
        """
        while not self._ended:
            self._buffer.clear()
            self._pull()
        if self._file.read(1):
            raise BackupError("this backup is damaged: something was put behind its end")

    def _pull(self) -> None:
        sealed = self._file.read(CHUNK + _OVERHEAD)
        if len(sealed) < _OVERHEAD:
            raise BackupError(_CUT)
        try:
            chunk, tag = bindings.crypto_secretstream_xchacha20poly1305_pull(self._state, sealed, self._associated)
        except CryptoError:
            raise BackupError("this backup is damaged: a part of it was altered or is missing") from None
        self._buffer += chunk
        self._ended = tag == _LAST


_CUT: Final = "this backup is damaged: its end is missing"


def _name(at: int) -> str:
    return f"backup/{at}"


def _checked(key: bytes) -> bytes:
    if len(key) != _KEY:
        raise ValueError("a file key has 32 octets")
    return key


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not text")
    return value


def _number(value: object) -> int:
    if type(value) is not int or not 0 <= value < 2**63:
        raise TypeError(f"{value!r} is not a number")
    return value
