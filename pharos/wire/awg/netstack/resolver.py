"""Names looked up through a tunnel: its resolvers are asked by UDP, and by TCP for what is too long (RFC 7766).

Nothing here knows how a socket is opened, so that any way out of a tunnel will do.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import trio

from pharos.wire.addresses import Address, Datagram, canonical_host
from pharos.wire.awg.netstack.dnscache import DnsCache, Key, Known
from pharos.wire.awg.netstack.ip import IpAddress
from pharos.wire.awg.netstack.racing import FixedFeed, race
from pharos.wire.awg.randomness import Random
from pharos.wire.openers import OpenTcp, OpenUdp
from pharos.wire.units import SECONDS
from pharos.wire.world import random_bytes

if TYPE_CHECKING:
    # dnspython takes 40 ms to import, and most who import this module never ask.
    from pharos.wire.awg.netstack.dnsmessage import Answer, Question

PORT: Final = 53
NEXT_AFTER: Final = 1 * SECONDS
"""When the next resolver is asked, if one is silent; a lost datagram's cost."""
ROUNDS: Final = 3
"""How often each of them is asked."""
TIMEOUT: Final = 8 * SECONDS
"""For a name; programs give up at 10 s or so."""
MAX_RESOLVERS: Final = 4
MAX_ALIASES: Final = 8
"""Followed one after the other, where a resolver does not do it by itself."""
_MAX_STRAYS: Final = 32
"""Datagrams on the port of a question that do not answer it; with more somebody is guessing, and it is drawn anew."""
_LENGTH: Final = struct.Struct(">H")


class Resolver:
    """Asks ``servers``, in their order, and keeps what they say for as long as it may be kept."""

    def __init__(
        self,
        servers: Sequence[IpAddress],
        *,
        open_udp: OpenUdp,
        open_tcp: OpenTcp,
        random: Random = random_bytes,
        port: int = PORT,
    ) -> None:
        """``open_udp``: best of sockets that tell of refusals, which are then not waited for."""
        self._servers = tuple(servers[:MAX_RESOLVERS])
        self._open_udp = open_udp
        self._open_tcp = open_tcp
        self._random = random
        self._port = port
        self._cache = DnsCache()
        self._asked: dict[Key, trio.Event] = {}

    def forget(self) -> None:
        """Forget all answers: the tunnel ends elsewhere now."""
        self._cache.clear()

    async def resolve(self, host: str, version: int) -> list[IpAddress]:
        """Return the addresses of a name of one version of IP, at least one.

        Raises: socket.gaierror — there are none, or nobody could say.
        """
        literal = literal_of(host)
        if literal is not None:
            if literal.version != version:
                raise socket.gaierror(socket.EAI_NONAME, f"{host} is an address of the other version of IP")
            return [literal]
        key = (_check(host), version)
        await trio.lowlevel.checkpoint()
        while True:
            known = self._cache.get(key, trio.current_time())
            if known is not None:
                return _addresses(host, known)
            if not self._servers:
                raise socket.gaierror(
                    socket.EAI_AGAIN, f"{host}: the tunnel was given no resolvers, so that no name can be looked up"
                )
            other = self._asked.get(key)
            if other is None:
                return _addresses(host, await self._ask_once(key))
            # Somebody else asks just now.
            await other.wait()

    async def _ask_once(self, key: Key) -> Known:
        done = self._asked[key] = trio.Event()
        try:
            with trio.move_on_after(TIMEOUT):
                return await self._follow(key)
            raise socket.gaierror(socket.EAI_AGAIN, f"{key[0]}: no resolver answered in time")
        finally:
            del self._asked[key]
            done.set()

    async def _follow(self, key: Key) -> Known:
        from pharos.wire.awg.netstack.dnsmessage import MAX_TTL, Outcome

        name, version = key
        for _ in range(MAX_ALIASES):
            answer = await self._ask(name, version)
            match answer.outcome:
                case Outcome.ALIAS:
                    name = answer.alias
                    continue
                case Outcome.FOUND | Outcome.NO_ADDRESS | Outcome.NO_NAME:
                    until = trio.current_time() + min(answer.ttl, MAX_TTL)
                    exists = answer.outcome is not Outcome.NO_NAME
                    self._cache.put(key, answer.addresses, exists=exists, until=until)
                    return Known(answer.addresses, exists, until)
                case _:
                    break
        raise socket.gaierror(socket.EAI_FAIL, f"{key[0]}: the resolvers cannot say")

    async def _ask(self, name: str, version: int) -> Answer:
        """Return the first answer that is one."""

        async def attempt(server: IpAddress) -> Answer:
            return await self._ask_server(server, name, version)

        try:
            return await race(FixedFeed(self._servers * ROUNDS), attempt, delay=NEXT_AFTER)
        except OSError as error:
            raise socket.gaierror(socket.EAI_AGAIN, f"{name}: {error.strerror or error}") from error

    async def _ask_server(self, server: IpAddress, name: str, version: int) -> Answer:
        """Raises: OSError — it cannot or will not say."""
        from pharos.wire.awg.netstack.dnsmessage import Outcome, Question

        try:
            question = Question(name, version, int.from_bytes(self._random(2), "big"))
        except ValueError as error:
            raise socket.gaierror(socket.EAI_NONAME, str(error)) from error
        place = Address(str(server), self._port)
        answer = await self._ask_by_udp(place, question)
        if answer is None or answer.outcome is Outcome.TRUNCATED:
            answer = await self._ask_by_tcp(place, question)
        if answer is None or answer.outcome in (Outcome.FAILED, Outcome.TRUNCATED):
            raise OSError(f"the resolver {server} does not answer this question")
        return answer

    async def _ask_by_udp(self, place: Address, question: Question) -> Answer | None:
        """Return the answer, or None if so much came that was none that a forger is to be suspected."""
        async with await self._open_udp() as sock:
            await sock.send_datagram(Datagram(place, question.render()))
            for _ in range(_MAX_STRAYS):
                datagram = await sock.receive_datagram()
                if datagram.address == place and (answer := question.read(datagram.data)) is not None:
                    return answer
        return None

    async def _ask_by_tcp(self, place: Address, question: Question) -> Answer | None:
        async with await self._open_tcp(place.host, place.port) as stream:
            query = question.render()
            await stream.send_all(_LENGTH.pack(len(query)) + query)
            (length,) = _LENGTH.unpack(await _receive_exactly(stream, _LENGTH.size))
            return question.read(await _receive_exactly(stream, length))


def literal_of(host: str) -> IpAddress | None:
    """Return the address that a host is, or None if it is a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _check(host: str) -> str:
    """Return a name as resolvers know it.

    Raises: socket.gaierror — nothing beyond a tunnel can have it.
    """
    try:
        name = host.encode("idna").decode("ascii").lower().rstrip(".")
    except UnicodeError:
        name = ""
    if canonical_host(name) is None:
        raise socket.gaierror(socket.EAI_NONAME, f"{host[:80]!r} is not a domain name")
    if name == "localhost" or name.endswith(".localhost"):
        # RFC 6761 §6.3: it is never anybody else.
        raise socket.gaierror(socket.EAI_NONAME, f"{host}: that is this machine, which is not beyond the tunnel")
    return name


def _addresses(host: str, known: Known) -> list[IpAddress]:
    if not known.exists:
        raise socket.gaierror(socket.EAI_NONAME, f"{host}: there is no such name")
    if not known.addresses:
        raise socket.gaierror(socket.EAI_NONAME, f"{host}: the name has no address")
    return list(known.addresses)


async def _receive_exactly(stream: trio.abc.ReceiveStream, count: int) -> bytes:
    """Raises: OSError — the stream ended before."""
    data = b""
    while len(data) < count:
        part = await stream.receive_some(count - len(data))
        if not part:
            raise ConnectionResetError(errno.ECONNRESET, "the resolver ended the connection")
        data += part
    return data
