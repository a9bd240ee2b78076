"""What a node learns of its target beforehand, as a browser that visits it: what comes behind the handshake, and how
many records that mean nothing it bears.

A device's handshake ends at the node, so that the target never answers its Finished; the node sends as much as the
target would have.
"""

from __future__ import annotations

import enum
import logging
from collections.abc import Callable
from typing import Final

import attrs
import trio

from pharos.wire.errors import RemoteProtocolError
from pharos.wire.reality.auth import SHORT_ID_LENGTH
from pharos.wire.reality.client import ClientConnection, ClientSettings
from pharos.wire.reality.codec import vector
from pharos.wire.reality.connection import HandshakeCompleted, State
from pharos.wire.reality.draws import Random
from pharos.wire.reality.errors import RealCertificateError
from pharos.wire.reality.extensions import Extension
from pharos.wire.reality.front import READ_BYTES
from pharos.wire.reality.groups import X25519, make_share
from pharos.wire.reality.hello import ClientHello
from pharos.wire.reality.messages import HandshakeType
from pharos.wire.reality.parrots import CHROME, Parrot
from pharos.wire.reality.records import (
    CHANGE_CIPHER_SPEC,
    HEADER,
    MAX_CIPHERTEXT,
    MAX_SEALED,
    MAX_USELESS,
    OVERHEAD,
    ContentType,
)
from pharos.wire.reality.relaying import BROKEN
from pharos.wire.units import MILLISECONDS, SECONDS
from pharos.wire.world import random_bytes, wall_seconds

log = logging.getLogger(__name__)

VISIT_TIMEOUT: Final = 10 * SECONDS
QUIET: Final = 1 * SECONDS
"""After which a target has said what it says by itself: several round trips."""
MAX_RECORDS: Final = 16
"""Behind the handshake; sites send two tickets and HTTP/2's settings."""
ALERT_TIME: Final = 500 * MILLISECONDS
"""In which a target that has had enough says so: a round trip, and its own time."""
MOST_USELESS: Final = 64
"""What is tried. OpenSSL and BoringSSL bear 32, Go 16; whoever bears 64 has no limit that a probe would look for."""


class Alpn(enum.Enum):
    """What a hello offers, as far as it changes what targets send."""

    NONE = ()
    HTTP1 = (b"http/1.1",)
    HTTP2 = (b"h2", b"http/1.1")

    @classmethod
    def of(cls, hello: ClientHello) -> Alpn:
        if b"h2" in hello.alpn:
            return cls.HTTP2
        return cls.HTTP1 if b"http/1.1" in hello.alpn else cls.NONE


@attrs.frozen(kw_only=True)
class Habits:
    """Of one target; the node's own guesses until it is learnt."""

    post_handshake: dict[tuple[str, Alpn], tuple[int, ...]] = attrs.field(factory=dict)
    """Octets of the records behind the handshake, by server name and ALPN."""
    max_useless: int = MAX_USELESS

    def records_for(self, hello: ClientHello) -> tuple[int, ...]:
        return self.post_handshake.get((hello.server_name or "", Alpn.of(hello)), ())


@attrs.frozen(kw_only=True)
class Patience:
    """How long to wait for a target, in seconds."""

    visit: float = VISIT_TIMEOUT
    quiet: float = QUIET
    alert: float = ALERT_TIME


class _Visitor(ClientConnection):
    """A browser that does not care for certificates: it sends nothing, and what it reads is thrown away."""

    def _take_message(self, message: bytes) -> None:
        waits = self._state
        if waits is State.WAIT_CERTIFICATE and message[0] in _CERTIFICATES:
            self._running.add(message)
            self._state = State.WAIT_CERTIFICATE_VERIFY
        elif waits is State.WAIT_CERTIFICATE_VERIFY and message[0] == HandshakeType.CERTIFICATE_VERIFY:
            self._running.add(message)
            self._state = State.WAIT_FINISHED
        else:
            super()._take_message(message)


_CERTIFICATES: Final = frozenset({HandshakeType.CERTIFICATE, HandshakeType.COMPRESSED_CERTIFICATE})


async def learn(
    target: tuple[str, int],
    server_names: frozenset[str],
    *,
    random: Random = random_bytes,
    clock: Callable[[], float] = wall_seconds,
    patience: Patience | None = None,
) -> Habits:
    """Visit the target once for each name and ALPN, and some times more for what it bears. ``clock``: Unix seconds.

    Raises: what `LEARNING_ERRORS` holds — it is not there, or is no site to be borrowed.
    """
    waits = patience or Patience()
    learner = _Learner(target, random, clock, waits)
    records = {}
    for name in sorted(server_names):
        for alpn in Alpn:
            records[name, alpn] = await learner.post_handshake(name, alpn)
    return Habits(post_handshake=records, max_useless=await learner.max_useless(min(server_names)))


class _Learner:
    def __init__(self, target: tuple[str, int], random: Random, clock: Callable[[], float], patience: Patience) -> None:
        self._target = target
        self._random = random
        self._clock = clock
        self._patience = patience

    async def post_handshake(self, name: str, alpn: Alpn) -> tuple[int, ...]:
        visitor = self._visitor(name, alpn)
        with trio.fail_after(self._patience.visit):
            async with await trio.open_tcp_stream(*self._target) as stream:
                await self._shake_hands(stream, visitor)
                # What the flight still had behind it came without our Finished, and is no answer to it.
                await self._read_until_quiet(stream)
                await stream.send_all(visitor.take_output())
                return _record_lengths(await self._read_until_quiet(stream))

    async def max_useless(self, name: str) -> int:
        """Find by halves how many change_cipher_spec in a row do not end the handshake."""
        borne, too_many = 0, MOST_USELESS + 1
        while too_many - borne > 1:
            tried = (borne + too_many) // 2
            if await self._bears(name, tried):
                borne = tried
            else:
                too_many = tried
        return borne

    async def _bears(self, name: str, count: int) -> bool:
        visitor = self._visitor(name, Alpn.NONE)
        with trio.fail_after(self._patience.visit):
            async with await trio.open_tcp_stream(*self._target) as stream:
                await self._shake_hands(stream, visitor)
                await self._read_until_quiet(stream, self._patience.alert)
                try:
                    await stream.send_all(CHANGE_CIPHER_SPEC * count)
                    with trio.move_on_after(self._patience.alert):
                        # Whatever it says now is that it has had enough.
                        await stream.receive_some(READ_BYTES)
                        return False
                except BROKEN:
                    return False
                return True

    def _visitor(self, name: str, alpn: Alpn) -> _Visitor:
        # It is marked for a key that is nobody's, so that not even a node would take it for a device.
        nobody = make_share(X25519, self._random).public
        settings = ClientSettings(
            server_name=name, public_key=nobody, short_id=bytes(SHORT_ID_LENGTH), parrot=_offering(alpn)
        )
        return _Visitor(settings, now=self._clock(), random=self._random)

    async def _shake_hands(self, stream: trio.SocketStream, visitor: _Visitor) -> None:
        """Come as far as our Finished, which is in the visitor's output then."""
        while not isinstance(visitor.next_event(), HandshakeCompleted):
            if output := visitor.take_output():
                await stream.send_all(output)
            data = await stream.receive_some(READ_BYTES)
            if not data:
                raise trio.BrokenResourceError("the target ended during the handshake")
            visitor.receive(data)

    async def _read_until_quiet(self, stream: trio.SocketStream, quiet: float | None = None) -> bytes:
        found = bytearray()
        while len(found) < MAX_RECORDS * MAX_CIPHERTEXT:
            data = b""
            with trio.move_on_after(self._patience.quiet if quiet is None else quiet):
                data = bytes(await stream.receive_some(READ_BYTES))
            if not data:
                break
            found += data
        return bytes(found)


def _offering(alpn: Alpn) -> Parrot:
    """Return Chrome with this ALPN; without h2 it has no settings for that, either."""
    extensions: list[tuple[int, bytes | None]] = []
    for code, body in CHROME.extensions:
        if code == Extension.ALPN:
            if alpn is not Alpn.NONE:
                extensions.append((code, vector(2, b"".join(vector(1, name) for name in alpn.value))))
        elif code != Extension.APPLICATION_SETTINGS or alpn is Alpn.HTTP2:
            extensions.append((code, body))
    return attrs.evolve(CHROME, extensions=tuple(extensions))


def _record_lengths(data: bytes) -> tuple[int, ...]:
    """Return how long the whole records of application data are, up to the first of another kind."""
    lengths: list[int] = []
    while len(data) >= HEADER and data[0] == ContentType.APPLICATION_DATA and len(lengths) < MAX_RECORDS:
        length = HEADER + int.from_bytes(data[3:HEADER], "big")
        if length > len(data) or not OVERHEAD <= length <= MAX_SEALED:
            break
        lengths.append(length)
        data = data[length:]
    return tuple(lengths)


LEARNING_ERRORS: Final = (OSError, trio.TooSlowError, RemoteProtocolError, RealCertificateError, *BROKEN)
"""What `learn` raises if the target is not as it has to be."""
