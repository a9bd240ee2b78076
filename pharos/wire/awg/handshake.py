"""WireGuard's handshake, Noise_IKpsk2 (wireguard.pdf §5.4; Noise rev 34 §7.5), without its MACs.

Each step is a value with one verb that gives the next; a step that fails leaves nothing behind::

    initiator   create_initiation → PendingInitiation.finish ───────────────────────→ TransportKeys
    responder   read_initiation → ClaimedInitiation.authenticate → .respond → TransportKeys

Messages go in and out without the two MACs (``cookies``) and without padding (``framing``), but the type field is
already the H value, since AmneziaWG hashes what travels.
"""

from typing import Final

import attrs

from pharos.wire.awg.keys import NO_PRESHARED_KEY, StaticKey, check_key
from pharos.wire.awg.messages import INITIATION, RESPONSE
from pharos.wire.awg.primitives import blake2s, exchange, kdf1, kdf2, kdf3, open_once, public_half, seal_once
from pharos.wire.errors import DecryptError, ParameterError

_CONSTRUCTION: Final = b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s"
_IDENTIFIER: Final = b"WireGuard v1 zx2c4 Jason@zx2c4.com"
_INITIAL_CHAINING_KEY: Final = blake2s(_CONSTRUCTION)
_INITIAL_HASH: Final = blake2s(_INITIAL_CHAINING_KEY, _IDENTIFIER)


@attrs.frozen
class RemoteStatic:
    """What we hold of a peer before any handshake."""

    public: bytes = attrs.field(repr=bytes.hex)
    preshared_key: bytes = attrs.field(repr=False)
    static_static: bytes = attrs.field(repr=False)
    """DH of the two static keys, made once: it would be a third of a handshake's cost."""


def meet(local: StaticKey, public: bytes, preshared_key: bytes = NO_PRESHARED_KEY) -> RemoteStatic:
    """Prepare for handshakes with a peer.

    Raises: ParameterError — a key has the wrong length, or the public key is a point of small order.
    """
    check_key("public_key", public)
    check_key("preshared_key", preshared_key)
    try:
        shared = exchange(local.scalar, public)
    except DecryptError:
        raise ParameterError(f"public_key = {public.hex()}: must not be a point of small order") from None
    return RemoteStatic(public, preshared_key, shared)


@attrs.frozen(kw_only=True)
class TransportKeys:
    """What a finished handshake leaves: a key for each direction and the indices that name the session."""

    send: bytes = attrs.field(repr=False)
    receive: bytes = attrs.field(repr=False)
    local_index: int
    """In the peer's messages to us."""
    remote_index: int
    """In our messages to the peer."""
    initiator: bool


@attrs.frozen(kw_only=True)
class PendingInitiation:
    """An initiation of ours that waits for its response."""

    index: int
    _local: StaticKey
    _remote: RemoteStatic
    _ephemeral: bytes = attrs.field(repr=False)
    _chaining_key: bytes = attrs.field(repr=False)
    _hash: bytes = attrs.field(repr=False)

    def finish(self, response: bytes) -> TransportKeys:
        """Take the response.

        Raises: DecryptError — it answers another initiation, or its sender lacks the static or preshared key.
            This initiation goes on waiting: anybody may send us a false response.
        """
        _, remote_index, local_index, ephemeral, sealed_nothing = RESPONSE.unpack_from(response)
        if local_index != self.index:
            raise DecryptError("the response answers another initiation")
        hashed = blake2s(self._hash, ephemeral)
        chaining_key = kdf1(self._chaining_key, ephemeral)
        chaining_key = kdf1(chaining_key, exchange(self._ephemeral, ephemeral))
        chaining_key = kdf1(chaining_key, exchange(self._local.scalar, ephemeral))
        chaining_key, tau, key = kdf3(chaining_key, self._remote.preshared_key)
        open_once(key, sealed_nothing, blake2s(hashed, tau))
        send, receive = kdf2(chaining_key, b"")
        return TransportKeys(
            send=send, receive=receive, local_index=self.index, remote_index=remote_index, initiator=True
        )


def create_initiation(
    local: StaticKey,
    remote: RemoteStatic,
    *,
    header: int,
    index: int,
    ephemeral: bytes,
    timestamp: bytes,
) -> tuple[bytes, PendingInitiation]:
    """Begin a handshake: the message to send and what must be kept for its response.

    ``index`` must be free in our table, ``ephemeral`` new, ``timestamp`` later than any before.
    """
    our_ephemeral = public_half(ephemeral)
    hashed = blake2s(blake2s(_INITIAL_HASH, remote.public), our_ephemeral)
    chaining_key = kdf1(_INITIAL_CHAINING_KEY, our_ephemeral)
    chaining_key, key = kdf2(chaining_key, exchange(ephemeral, remote.public))
    sealed_static = seal_once(key, local.public, hashed)
    hashed = blake2s(hashed, sealed_static)
    chaining_key, key = kdf2(chaining_key, remote.static_static)
    sealed_timestamp = seal_once(key, timestamp, hashed)
    hashed = blake2s(hashed, sealed_timestamp)
    message = INITIATION.pack(header, index, our_ephemeral, sealed_static, sealed_timestamp)
    pending = PendingInitiation(
        index=index, local=local, remote=remote, ephemeral=ephemeral, chaining_key=chaining_key, hash=hashed
    )
    return message, pending


@attrs.frozen(kw_only=True)
class AuthenticInitiation:
    """An initiation proven to come from the peer it names; it may still be an old one."""

    timestamp: bytes
    """TAI64N; the caller refuses one that is not later than the last it saw from this peer."""
    _remote_index: int
    _remote: RemoteStatic
    _remote_ephemeral: bytes
    _chaining_key: bytes = attrs.field(repr=False)
    _hash: bytes = attrs.field(repr=False)

    def respond(self, *, header: int, index: int, ephemeral: bytes) -> tuple[bytes, TransportKeys]:
        """Make the response and the keys of a session the initiator has yet to confirm by using it.

        Raises: DecryptError — the peer's ephemeral key is a point of small order.
        """
        our_ephemeral = public_half(ephemeral)
        hashed = blake2s(self._hash, our_ephemeral)
        chaining_key = kdf1(self._chaining_key, our_ephemeral)
        chaining_key = kdf1(chaining_key, exchange(ephemeral, self._remote_ephemeral))
        chaining_key = kdf1(chaining_key, exchange(ephemeral, self._remote.public))
        chaining_key, tau, key = kdf3(chaining_key, self._remote.preshared_key)
        sealed_nothing = seal_once(key, b"", blake2s(hashed, tau))
        message = RESPONSE.pack(header, index, self._remote_index, our_ephemeral, sealed_nothing)
        receive, send = kdf2(chaining_key, b"")
        keys = TransportKeys(
            send=send,
            receive=receive,
            local_index=index,
            remote_index=self._remote_index,
            initiator=False,
        )
        return message, keys


@attrs.frozen(kw_only=True)
class ClaimedInitiation:
    """An initiation whose sender knows our public key and says who it is."""

    static: bytes
    """The public key the sender claims; not proven yet."""
    _sealed_timestamp: bytes
    _remote_index: int
    _remote_ephemeral: bytes
    _chaining_key: bytes = attrs.field(repr=False)
    _hash: bytes = attrs.field(repr=False)

    def authenticate(self, remote: RemoteStatic) -> AuthenticInitiation:
        """Check the claim against the peer of that public key.

        Raises: DecryptError — the sender does not hold the private key.
        """
        chaining_key, key = kdf2(self._chaining_key, remote.static_static)
        timestamp = open_once(key, self._sealed_timestamp, self._hash)
        return AuthenticInitiation(
            timestamp=timestamp,
            remote_index=self._remote_index,
            remote=remote,
            remote_ephemeral=self._remote_ephemeral,
            chaining_key=chaining_key,
            hash=blake2s(self._hash, self._sealed_timestamp),
        )


def read_initiation(local: StaticKey, message: bytes) -> ClaimedInitiation:
    """Learn who a received initiation claims to be from; one DH, so the caller checks mac1 before.

    Raises: DecryptError — it was not made for our public key.
    """
    _, remote_index, ephemeral, sealed_static, sealed_timestamp = INITIATION.unpack_from(message)
    hashed = blake2s(blake2s(_INITIAL_HASH, local.public), ephemeral)
    chaining_key = kdf1(_INITIAL_CHAINING_KEY, ephemeral)
    chaining_key, key = kdf2(chaining_key, exchange(local.scalar, ephemeral))
    static = open_once(key, sealed_static, hashed)
    return ClaimedInitiation(
        static=static,
        sealed_timestamp=sealed_timestamp,
        remote_index=remote_index,
        remote_ephemeral=ephemeral,
        chaining_key=chaining_key,
        hash=blake2s(hashed, sealed_static),
    )
