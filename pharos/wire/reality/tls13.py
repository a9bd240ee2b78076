"""The key schedule of TLS 1.3 without a pre-shared key (RFC 8446 §7.1, §4.4; HKDF: RFC 5869)."""

import functools
import hashlib
import hmac
from typing import Final

import attrs

from pharos.wire.reality.codec import vector
from pharos.wire.reality.suites import IV_LENGTH, Aead, Suite

MESSAGE_HASH: Final = 254
"""Handshake type under which a first hello that was asked to be repeated goes on in the transcript (§4.4.1)."""

_LABEL_PREFIX: Final = b"tls13 "


def hkdf_extract(digest: str, salt: bytes, secret: bytes) -> bytes:
    return hmac.digest(salt, secret, digest)


def hkdf_expand(digest: str, key: bytes, info: bytes, length: int) -> bytes:
    output = block = b""
    counter = 1
    while len(output) < length:
        block = hmac.digest(key, block + info + bytes((counter,)), digest)
        output += block
        counter += 1
    return output[:length]


def expand_label(suite: Suite, secret: bytes, label: bytes, context: bytes, length: int) -> bytes:
    """``length``: at most that of a hash, as all of TLS's are."""
    # HKDF-Expand's first block (RFC 5869 §2.3), counted from 1; a handshake takes sixteen.
    info = b"%b%c%b\1" % (_label_head(label, length), len(context), context)
    return hmac.digest(secret, info, suite.digest)[:length]


@functools.cache
def _label_head(label: bytes, length: int) -> bytes:
    return length.to_bytes(2, "big") + vector(1, _LABEL_PREFIX + label)


def finished_mac(suite: Suite, secret: bytes, transcript_hash: bytes) -> bytes:
    """Return the verify_data of the Finished message that ``secret``'s owner sends."""
    key = expand_label(suite, secret, b"finished", b"", suite.hash_length)
    return hmac.digest(key, transcript_hash, suite.digest)


def next_secret(suite: Suite, secret: bytes) -> bytes:
    """Return the traffic secret behind a KeyUpdate (§7.2)."""
    return expand_label(suite, secret, b"traffic upd", b"", suite.hash_length)


def traffic_key(suite: Suite, secret: bytes) -> tuple[Aead, bytes]:
    """Return cipher and initial vector of a direction (§7.3)."""
    key = expand_label(suite, secret, b"key", b"", suite.key_length)
    return suite.aead(key), expand_label(suite, secret, b"iv", b"", IV_LENGTH)


class Transcript:
    """The running hash of all handshake messages, whole and as they were sent."""

    def __init__(self, suite: Suite) -> None:
        self._suite = suite
        self._hash = hashlib.new(suite.digest)

    def add(self, message: bytes) -> None:
        self._hash.update(message)

    def digest(self) -> bytes:
        return self._hash.copy().digest()

    def replace_by_hash(self) -> None:
        """Let a hash stand for what was added so far, as it has to before a HelloRetryRequest is added."""
        replaced = vector(3, self.digest())
        self._hash = hashlib.new(self._suite.digest)
        self.add(bytes((MESSAGE_HASH,)) + replaced)


def early_secret(suite: Suite) -> bytes:
    """Return the secret that every handshake without a pre-shared key begins with."""
    nothing = bytes(suite.hash_length)
    return hkdf_extract(suite.digest, nothing, nothing)


@functools.cache
def _derived_early(suite: Suite) -> bytes:
    return _derived(suite, early_secret(suite))


def _derived(suite: Suite, secret: bytes) -> bytes:
    empty = hashlib.new(suite.digest).digest()
    return expand_label(suite, secret, b"derived", empty, suite.hash_length)


@attrs.frozen
class TrafficSecrets:
    """Of one stage, for both directions."""

    client: bytes = attrs.field(repr=False)
    server: bytes = attrs.field(repr=False)


class KeySchedule:
    """Begins with the key exchange's shared secret, gives the secrets of the handshake and of application data."""

    def __init__(self, suite: Suite, shared: bytes) -> None:
        self._suite = suite
        self.handshake: Final = hkdf_extract(suite.digest, _derived_early(suite), shared)
        self.master: Final = hkdf_extract(suite.digest, _derived(suite, self.handshake), bytes(suite.hash_length))

    def handshake_secrets(self, transcript_hash: bytes) -> TrafficSecrets:
        """``transcript_hash``: up to and with the ServerHello."""
        return self._both(self.handshake, b"hs", transcript_hash)

    def application_secrets(self, transcript_hash: bytes) -> TrafficSecrets:
        """``transcript_hash``: up to and with the server's Finished."""
        return self._both(self.master, b"ap", transcript_hash)

    def _both(self, secret: bytes, stage: bytes, transcript_hash: bytes) -> TrafficSecrets:
        length = self._suite.hash_length
        return TrafficSecrets(
            client=expand_label(self._suite, secret, b"c " + stage + b" traffic", transcript_hash, length),
            server=expand_label(self._suite, secret, b"s " + stage + b" traffic", transcript_hash, length),
        )

    def __repr__(self) -> str:
        return f"<KeySchedule {self._suite.name}>"
