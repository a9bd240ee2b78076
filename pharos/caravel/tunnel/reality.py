"""A REALITY tunnel to one node, inside this program: streams and datagrams, each a connection of its own.

There is no session that could die: every stream dials anew, by the way that led there last, and by the others if that
one fails or takes too long.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

import attrs
import trio

from pharos.caravel.errors import NoAnswerError
from pharos.caravel.tunnel.parts import Protect
from pharos.caravel.tunnel.retrying import RetryingStream
from pharos.wire.errors import LinkLostError, LinkRefusedError, ParameterError, RemoteProtocolError
from pharos.wire.link import Backoff
from pharos.wire.reality.addresses import Address, canonical_host
from pharos.wire.reality.dial import CONNECT_TIMEOUT
from pharos.wire.reality.draws import Random
from pharos.wire.reality.front import DatagramTunnel
from pharos.wire.reality.options import Endpoint
from pharos.wire.reality.racing import NEXT_AFTER, race_reality
from pharos.wire.reality.strangers import Strangers, run_strangers
from pharos.wire.reality.stream import RealityStream
from pharos.wire.reality.vless import Command, Flow, Request
from pharos.wire.reality.vlessstream import VlessStream, request_over
from pharos.wire.reality.vlessudp import VlessDatagrams
from pharos.wire.reality.xudp import GLOBAL_ID_OCTETS, Frame, Status, XudpEnd
from pharos.wire.tasks import open_background
from pharos.wire.tcpdial import Resolve
from pharos.wire.units import MILLISECONDS, SECONDS
from pharos.wire.world import random_bytes, wall_seconds

log = logging.getLogger(__name__)

LEAD: Final = 2.0
"""The way that won last gets so many times what it took then, before the others are dialled as well."""
MAX_LEAD: Final = 3 * SECONDS
"""And no more: TCP's second try comes after 1 s, on a way that works and loses a packet."""
REFUSAL_PATIENCE: Final = 500 * MILLISECONDS
REFUSAL_ROUNDS: Final = 3.0
"""A node that does not know a user ends the connection, and says nothing; one that does waits for more. It is given as
long as so many handshakes took, of two round trips and a target's answer each, and `REFUSAL_PATIENCE` at least."""
ASKED_FOR: Final = 5 * SECONDS
"""For which a node is not asked again by which id it knows this device: each question is a handshake, and streams whose
targets cannot be reached may be many."""
MAX_RETRY: Final = 2 * SECONDS
"""Between two tries of `RealityTunnel.wait_up`, which somebody is waiting for."""


@attrs.frozen(kw_only=True)
class Way:
    """One way in to a node."""

    endpoint: Endpoint
    flow: Flow


class RealityTunnel:
    """Ways to one node and the ids by which it may know this device; ``open_reality_tunnel`` makes it."""

    def __init__(
        self,
        name: str,
        ways: Sequence[Way],
        user_ids: Sequence[bytes],
        strangers: Strangers,
        random: Random,
        protect: Protect | None = None,
        resolve: Resolve | None = None,
    ) -> None:
        self.name = name
        """The node's or the link's."""
        self._ways = tuple(ways)
        self._ids = tuple(user_ids)
        self._strangers = strangers
        self._random = random
        self._protect = protect
        self._resolve = resolve
        self._current = 0
        self._asked_lock = trio.Lock()
        self._asked_until = 0.0
        self._seconds = 0.0
        """The last handshake took."""

    @property
    def endpoint(self) -> Endpoint:
        """Where it is dialled first: the way that led there last."""
        return self._ways[0].endpoint

    def adopt(self, ways: Sequence[Way], user_ids: Sequence[bytes]) -> None:
        """Go by these from now on; streams that are open go on as they are."""
        known = self._ids[self._current]
        self._ways, self._ids = tuple(ways), tuple(user_ids)
        self._current = self._ids.index(known) if known in self._ids else 0
        self._asked_until = 0.0

    async def wait_up(self, timeout: float) -> float:
        """Wait until the node has shown that it lets this device in; return how many seconds its handshake took.

        Raises:
            NoAnswerError — it did not answer within ``timeout`` seconds.
            LinkRefusedError — it is there, and knows this device by no id.
            RealCertificateError — another server stands in its place.
        """
        backoff = Backoff(random=lambda: 1.0, first=REFUSAL_PATIENCE, cap=MAX_RETRY)
        failure = "it has said nothing"
        with trio.move_on_after(timeout):
            while True:
                try:
                    for which in self._order():
                        if await self._is_known(which):
                            self._note_known(which)
                            return self._seconds
                except (LinkLostError, RemoteProtocolError) as error:
                    failure = str(error)
                else:
                    raise LinkRefusedError(f"{self.name} does not let this device in; sync, or ask its owner")
                await trio.sleep(backoff.next())
        raise NoAnswerError(f"{self.name} did not answer within {timeout:g} s: {failure}")

    async def open_tcp_stream(self, host: str, port: int) -> trio.abc.HalfCloseableStream:
        """Open a stream to host and port from the node; it is the caller's.

        A node says nothing of its own connection to the target: if that fails, the stream ends at once, broken.

        Raises:
            LinkLostError, RemoteProtocolError, RealCertificateError — as `race_reality`.
            ParameterError — host is no name and no address.
        """
        return await self._open(Command.TCP, _address(host, port))

    async def open_udp(self) -> DatagramTunnel:
        """Open a socket for datagrams at the node; it is the caller's. Raises: as `open_tcp_stream`."""
        end = XudpEnd(client=True, global_id=self._random(GLOBAL_ID_OCTETS))
        return VlessDatagrams(await self._open(Command.MUX, None), end)

    async def _open(self, command: Command, target: Address | None) -> trio.abc.HalfCloseableStream:
        if len(self._ids) == 1:
            return await self._ask(0, command, target)

        async def ask(which: int) -> VlessStream:
            return await self._ask(which, command, target)

        which = self._current
        return RetryingStream(await ask(which), which, ask_again=ask, next_id=self._next_id)

    async def _ask(self, which: int, command: Command, target: Address | None) -> VlessStream:
        way, outer = await self._dial()
        request = Request(user_id=self._ids[which], command=command, target=target, flow=way.flow)
        return request_over(outer, request, random=self._random)

    async def _dial(self) -> tuple[Way, RealityStream]:
        ways, start = self._ways, trio.current_time()
        index, stream = await race_reality(
            [way.endpoint for way in ways],
            next_after=min(max(NEXT_AFTER, LEAD * self._seconds), MAX_LEAD),
            connect_timeout=CONNECT_TIMEOUT,
            clock=wall_seconds,
            random=self._random,
            take_stranger=self._strangers.take,
            protect=self._protect,
            resolve=self._resolve,
        )
        self._seconds = trio.current_time() - start
        if index:
            log.info("%s is reached by %s now", self.name, ways[index].endpoint)
            # It leads from now on, whatever others have found out meanwhile.
            self._ways = (ways[index], *(way for way in self._ways if way is not ways[index]))
        return ways[index], stream

    async def _next_id(self, refused: int) -> int | None:
        """Return the id to try instead of one by which a stream had no answer; None if that was not for the id.

        Raises: WireError — the node is not reached any more.
        """
        async with self._asked_lock:
            if self._current != refused:
                return self._current
            if trio.current_time() < self._asked_until:
                return None
            for which in self._order():
                if await self._is_known(which):
                    self._note_known(which)
                    return None if which == refused else which
            self._asked_until = trio.current_time() + ASKED_FOR
            log.warning("%s does not let this device in; sync, or ask its owner", self.name)
            return None

    async def _is_known(self, which: int) -> bool:
        """Ask for datagrams, and send none: whoever is known may take his time.

        Raises: WireError — as `race_reality`.
        """
        stream = await self._ask(which, Command.MUX, None)
        try:
            with trio.move_on_after(max(REFUSAL_PATIENCE, REFUSAL_ROUNDS * self._seconds)):
                # It takes the request along, and is dropped itself.
                await stream.send_all(Frame(status=Status.KEEP_ALIVE).render())
                return bool(await stream.receive_some())
            return True
        except trio.BrokenResourceError:
            return False
        finally:
            await trio.aclose_forcefully(stream)

    def _note_known(self, which: int) -> None:
        if self._current != which:
            log.info("%s knows this device by the next generation of its secrets", self.name)
        self._current = which
        self._asked_until = trio.current_time() + ASKED_FOR

    def _order(self) -> list[int]:
        return sorted(range(len(self._ids)), key=lambda which: which != self._current)


@asynccontextmanager
async def open_reality_tunnel(
    name: str,
    ways: Sequence[Way],
    user_ids: Sequence[bytes],
    *,
    random: Random = random_bytes,
    protect: Protect | None = None,
    resolve: Resolve | None = None,
) -> AsyncIterator[RealityTunnel]:
    """Yield a tunnel; nothing is dialled yet. Its streams are their openers', and may outlive the block.

    ``ways`` are tried in their order, ``user_ids`` in theirs: 16 octets each. There is at least one of both.
    """
    async with open_background(functools.partial(run_strangers, random=random)) as strangers:
        yield RealityTunnel(name, ways, user_ids, strangers, random, protect, resolve)


def _address(host: str, port: int) -> Address:
    found = canonical_host(host)
    if found is None or not 0 < port < 65536:
        raise ParameterError(f"{host[:60]!r} port {port}: must be a name or an address, and a port from 1 to 65535")
    return Address(found, port)
