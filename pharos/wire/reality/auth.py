"""REALITY's mark in the session id, at both ends: made by a device, judged by a node.

The session id is 16 octets, sealed by AES-256-GCM under a key that only the holders of the hello's X25519 key and of
the node's can compute; all of the hello is authenticated with it.
"""

import enum
from typing import Final

import attrs
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from pharos.wire.errors import LocalProtocolError
from pharos.wire.reality.errors import TlsError
from pharos.wire.reality.groups import CLIENT_SHARE, X25519, X25519_LENGTH, X25519MLKEM768
from pharos.wire.reality.hello import SESSION_ID, SESSION_ID_LENGTH, TLS13, ClientHello
from pharos.wire.reality.offer import Offer
from pharos.wire.reality.tls13 import hkdf_expand, hkdf_extract
from pharos.wire.units import SECONDS

SHORT_ID_LENGTH: Final = 8
KEY_LENGTH: Final = 32
_SALT: Final = slice(0, 20)
_NONCE: Final = slice(20, 32)
"""Of the hello's random value."""
MAX_TIME_DIFFERENCE: Final = 120 * SECONDS
"""What a node bears by default: a phone's clock is right within seconds, and a recorded hello soon worth nothing."""

Version = tuple[int, int, int]


@attrs.frozen(kw_only=True)
class Mark:
    """What the session id says in the end."""

    version: Version
    """Of the client, as Xray numbers itself."""
    time: int
    """Unix seconds, of the client's clock."""
    short_id: bytes

    def encode(self) -> bytes:
        """Return 16 octets: version, a zero, time, short id.

        Raises: LocalProtocolError — a number or the id is out of its range.
        """
        if len(self.short_id) != SHORT_ID_LENGTH or max(self.version) > 0xFF or not 0 <= self.time < 2**32:
            raise LocalProtocolError("a REALITY mark is three octets of version, a time of 32 bits and 8 octets of id")
        return bytes((*self.version, 0)) + self.time.to_bytes(4, "big") + self.short_id

    @classmethod
    def decode(cls, plain: bytes) -> "Mark":
        return cls(
            version=(plain[0], plain[1], plain[2]),
            time=int.from_bytes(plain[4:8], "big"),
            short_id=plain[8:],
        )


class Refusal(enum.Enum):
    """Why a hello is passed on to the target, in the order in which it is looked at."""

    NOT_TLS13 = "does not offer TLS 1.3"
    WRONG_NAME = "asks for another server name"
    NO_KEY_SHARE = "has no key share of X25519"
    NO_MARK = "is not marked with this node's key"
    OLD_VERSION = "comes from a client that is too old"
    NEW_VERSION = "comes from a client that is too new"
    WRONG_TIME = "was made too long ago, or by a wrong clock"
    UNKNOWN_SHORT_ID = "shows an unknown short id"


@attrs.frozen(kw_only=True)
class Admitted:
    """A hello of one of our devices."""

    auth_key: bytes = attrs.field(repr=False)
    mark: Mark


@attrs.frozen(kw_only=True)
class Gate:
    """Whom a node lets in."""

    private_key: bytes = attrs.field(repr=False)
    """X25519, 32 octets."""
    server_names: frozenset[str]
    short_ids: frozenset[bytes]
    """Each of 8 octets."""
    max_time_difference: float = MAX_TIME_DIFFERENCE
    """Seconds between the hello's clock and ours; 0 asks for none, and leaves recorded hellos good for ever."""
    oldest: Version | None = None
    newest: Version | None = None
    # Read once: that takes as long as an exchange.
    _private: X25519PrivateKey = attrs.field(
        init=False,
        repr=False,
        eq=False,
        default=attrs.Factory(lambda gate: X25519PrivateKey.from_private_bytes(gate.private_key), takes_self=True),
    )

    def judge(self, hello: ClientHello, *, now: float) -> Admitted | Refusal:
        """Say whether the hello is one of ours. ``now``: Unix seconds."""
        if TLS13 not in hello.versions:
            return Refusal.NOT_TLS13
        if hello.server_name not in self.server_names:
            return Refusal.WRONG_NAME
        if (public := _public_key(hello)) is None:
            return Refusal.NO_KEY_SHARE
        if (opened := _open_mark(hello, self._private, public)) is None:
            return Refusal.NO_MARK
        mark = opened.mark
        if self.oldest is not None and mark.version < self.oldest:
            return Refusal.OLD_VERSION
        if self.newest is not None and mark.version > self.newest:
            return Refusal.NEW_VERSION
        if self.max_time_difference and abs(now - mark.time) > self.max_time_difference:
            return Refusal.WRONG_TIME
        if mark.short_id not in self.short_ids:
            return Refusal.UNKNOWN_SHORT_ID
        return opened


def seal_offer(offer: Offer, *, public_key: bytes, mark: Mark) -> tuple[Offer, bytes]:
    """Mark a hello for the node with this key; returns it and the authentication key.

    Raises: LocalProtocolError — the node's key is none, or the mark is out of range.
    """
    try:
        shared = offer.x25519.exchange(public_key)
    except TlsError:
        raise LocalProtocolError("the node's REALITY key is no X25519 key") from None
    auth_key = _auth_key(shared, offer.random)
    unmarked = (
        offer if offer.session_id == bytes(SESSION_ID_LENGTH) else offer.with_session_id(bytes(SESSION_ID_LENGTH))
    )
    session_id = AESGCM(auth_key).encrypt(offer.random[_NONCE], mark.encode(), unmarked.message)
    return offer.with_session_id(session_id), auth_key


def _auth_key(shared: bytes, random: bytes) -> bytes:
    return hkdf_expand("sha256", hkdf_extract("sha256", random[_SALT], shared), b"REALITY", KEY_LENGTH)


def _public_key(hello: ClientHello) -> bytes | None:
    """The X25519 share's, or the post-quantum share's if that is alone."""
    for group in (X25519, X25519MLKEM768):
        share = hello.shares.get(group, b"")
        if len(share) == CLIENT_SHARE[group]:
            return share[-X25519_LENGTH:]
    return None


def _open_mark(hello: ClientHello, private_key: X25519PrivateKey, public: bytes) -> Admitted | None:
    if len(hello.session_id) != SESSION_ID_LENGTH:
        return None
    try:
        shared = private_key.exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError:
        # A point of low order.
        return None
    auth_key = _auth_key(shared, hello.random)
    unmarked = hello.raw[: SESSION_ID.start] + bytes(SESSION_ID_LENGTH) + hello.raw[SESSION_ID.stop :]
    try:
        plain = AESGCM(auth_key).decrypt(hello.random[_NONCE], hello.session_id, unmarked)
    except InvalidTag:
        return None
    return Admitted(auth_key=auth_key, mark=Mark.decode(plain))
