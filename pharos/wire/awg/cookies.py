"""The two MACs of a handshake message, and the cookies that make the second (wireguard.pdf §5.4.4, §5.4.7).

mac1 proves that the sender knows our public key; mac2, asked for only under load, that it receives at its source
address.
"""

from hmac import compare_digest
from typing import Final

from nacl.bindings import (
    crypto_aead_xchacha20poly1305_ietf_decrypt,
    crypto_aead_xchacha20poly1305_ietf_encrypt,
)
from nacl.exceptions import CryptoError

from pharos.wire.awg.endpoint import Address
from pharos.wire.awg.messages import COOKIE_REPLY, MACS_BYTES, sender_index
from pharos.wire.awg.primitives import KEY_BYTES, MAC_BYTES, blake2s, mac
from pharos.wire.awg.randomness import Random
from pharos.wire.errors import DecryptError
from pharos.wire.units import SECONDS

COOKIE_LIFETIME: Final = 120 * SECONDS
"""How long a cookie is used, and how long the secret it is made of lives."""

_NO_MAC2: Final = bytes(MAC_BYTES)
_NONCE_BYTES: Final = 24


class MacStamper:
    """Puts the MACs on our messages to one peer, and keeps the cookie it gave us."""

    __slots__ = ("_cookie", "_cookie_at", "_last_mac1", "_mac1_key", "_public")

    def __init__(self, remote_public: bytes) -> None:
        self._mac1_key = blake2s(b"mac1----", remote_public)
        # The cookie key is derived only when a reply arrives: ten thousand idle peers never need theirs.
        self._public = remote_public
        self._last_mac1: bytes | None = None
        self._cookie = b""
        self._cookie_at = 0.0

    def stamp(self, message: bytes, now: float) -> bytes:
        """Return a handshake message with its MACs."""
        self._last_mac1 = mac(self._mac1_key, message)
        stamped = message + self._last_mac1
        if not self._cookie or now - self._cookie_at >= COOKIE_LIFETIME:
            return stamped + _NO_MAC2
        return stamped + mac(self._cookie, stamped)

    def accept_reply(self, message: bytes, now: float) -> None:
        """Keep the cookie of a reply to our last message; the next one we stamp carries it.

        Raises: DecryptError — it answers no message of ours.
        """
        _, _, nonce, sealed = COOKIE_REPLY.unpack(message)
        if self._last_mac1 is None:
            raise DecryptError("a cookie reply to nothing")
        key = blake2s(b"cookie--", self._public)
        try:
            cookie = crypto_aead_xchacha20poly1305_ietf_decrypt(sealed, self._last_mac1, nonce, key)
        except CryptoError:
            raise DecryptError("a cookie reply does not authenticate") from None
        # One message earns one cookie: a reply played again cannot keep an old cookie alive.
        self._last_mac1 = None
        self._cookie, self._cookie_at = cookie, now


class MacChecker:
    """Checks the MACs of messages to us, and hands out cookies."""

    def __init__(self, local_public: bytes, random: Random) -> None:
        self._random = random
        self._mac1_key = blake2s(b"mac1----", local_public)
        self._cookie_key = blake2s(b"cookie--", local_public)
        self._secret = b""
        self._secret_at = 0.0

    def mac1_matches(self, message: bytes) -> bool:
        """Say whether the sender knows our public key. Junk fails here, before any DH is spent on it."""
        return compare_digest(mac(self._mac1_key, message[:-MACS_BYTES]), message[-MACS_BYTES:-MAC_BYTES])

    def mac2_matches(self, message: bytes, source: Address, now: float) -> bool:
        """Say whether the sender holds the cookie we gave to ``source``."""
        expected = mac(self._cookie(source, now), message[:-MAC_BYTES])
        return compare_digest(expected, message[-MAC_BYTES:])

    def make_reply(self, message: bytes, source: Address, now: float, *, header: int) -> bytes:
        """Make the cookie reply to a handshake message whose mac1 matched."""
        nonce = self._random(_NONCE_BYTES)
        mac1 = message[-MACS_BYTES:-MAC_BYTES]
        sealed = crypto_aead_xchacha20poly1305_ietf_encrypt(self._cookie(source, now), mac1, nonce, self._cookie_key)
        return COOKIE_REPLY.pack(header, sender_index(message), nonce, sealed)

    def _cookie(self, source: Address, now: float) -> bytes:
        if not self._secret or now - self._secret_at >= COOKIE_LIFETIME:
            self._secret, self._secret_at = self._random(KEY_BYTES), now
        host, port = source
        return mac(self._secret, port.to_bytes(2, "big") + host.encode())
