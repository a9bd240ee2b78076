"""Secrets at rest: each file sealed by the key of its store, and by nothing else (XChaCha20-Poly1305).

    nonce (24) ‖ ciphertext and tag, with AAD = context ‖ length-prefixed (purpose, store id) ‖ what is in the clear

So a file that was altered, put in another's place, or copied out of another store does not open.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import attrs
from nacl import bindings, hash, utils  # noqa: A004 -- nacl's own module name
from nacl.encoding import RawEncoder
from nacl.exceptions import CryptoError

from pharos.wire.errors import DecryptError
from pharos.wire.seal.fields import length_prefixed

KEY_SIZE: Final = 32
STORE_ID_SIZE: Final = 16
_NONCE: Final = bindings.crypto_aead_xchacha20poly1305_ietf_NPUBBYTES
_CONTEXT: Final = b"pharos/at-rest/v1"


@attrs.frozen
class StoreKey:
    """The key of one store.

    Raises: DecryptError — it has another length than a key has.
    """

    _raw: bytes = attrs.field(repr=False)

    def __attrs_post_init__(self) -> None:
        if len(self._raw) != KEY_SIZE:
            raise DecryptError(f"a store's key has {KEY_SIZE} octets")

    @classmethod
    def fresh(cls, random: Callable[[int], bytes] = utils.random) -> StoreKey:
        """Draw one."""
        return cls(random(KEY_SIZE))

    @property
    def check(self) -> bytes:
        """Tell two keys apart without telling either: 8 octets, which may stand in the clear."""
        digest: bytes = hash.blake2b(b"", digest_size=16, key=self._raw, person=b"pharos/store/chk", encoder=RawEncoder)
        return digest[:8]

    def reveal(self) -> bytes:
        """Return the key itself, for who keeps it."""
        return self._raw

    def seal(
        self,
        plain: bytes,
        *,
        purpose: str,
        store: bytes,
        clear: bytes = b"",
        random: Callable[[int], bytes] = utils.random,
    ) -> bytes:
        """Return nonce and ciphertext; ``clear`` is not in it, and it opens with the same alone."""
        nonce = random(_NONCE)
        aad = _associated(purpose, store, clear)
        return nonce + bindings.crypto_aead_xchacha20poly1305_ietf_encrypt(plain, aad, nonce, self._raw)

    def open(self, sealed: bytes, *, purpose: str, store: bytes, clear: bytes = b"") -> bytes:
        """Return what was sealed.

        Raises: DecryptError — it was altered, or is of another purpose, store or key.
        """
        nonce, ciphertext = sealed[:_NONCE], sealed[_NONCE:]
        aad = _associated(purpose, store, clear)
        try:
            plain: bytes = bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(ciphertext, aad, nonce, self._raw)
        except (CryptoError, ValueError):  # pynacl's answer to a ciphertext shorter than its tag is a ValueError
            raise DecryptError("what was sealed at rest does not open with this key") from None
        return plain


def fresh_store_id(random: Callable[[int], bytes] = utils.random) -> bytes:
    """Draw what tells one store from every other; it is no secret."""
    return random(STORE_ID_SIZE)


def _associated(purpose: str, store: bytes, clear: bytes) -> bytes:
    return _CONTEXT + length_prefixed(purpose.encode(), store) + clear
