"""The names of nodes, asked past the tunnel: of the machine's own resolvers, by sockets that the kill switch lets out.

The machine's programs ask through the tunnel meanwhile, which these names are needed for to be there at all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import trio

from pharos.caravel.system.dnsask import Asker
from pharos.caravel.system.dnspacket import read_question
from pharos.caravel.system.dnstext import Server
from pharos.caravel.system.plan import VERSIONS
from pharos.caravel.tunnel.parts import Protect
from pharos.wire.awg.netstack.dnsmessage import Outcome, Question
from pharos.wire.tcpdial import is_numeric


class Endpoints:
    """Resolves hosts; a `Resolve`. ``servers`` may be others each time, and ``protect`` is called with each socket."""

    def __init__(self, servers: Callable[[], Sequence[Server]], protect: Protect) -> None:
        self._servers = servers
        self._asker = Asker(servers, protect)

    async def __call__(self, host: str) -> Sequence[str]:
        """Return the addresses of a host, those of IPv4 first.

        Raises: OSError — nobody can be asked, nobody answers, or it has none.
        """
        if is_numeric(host):
            return [host]
        if not self._servers():
            raise OSError(f"{host}: this machine names no resolver of its own")
        try:
            # An identification is drawn for each time that it is sent.
            questions = {version: Question(host, version, 0) for version in VERSIONS}
        except ValueError as error:
            raise OSError(str(error)) from error
        found: dict[int, Sequence[str]] = {}

        async def ask(version: int) -> None:
            found[version] = await self._ask(questions[version])

        async with trio.open_nursery() as nursery:
            for version in VERSIONS:
                nursery.start_soon(ask, version)
        addresses = [address for version in VERSIONS for address in found[version]]
        if not addresses:
            raise OSError(f"{host} has no address, or no resolver of this machine says it")
        return addresses

    async def _ask(self, question: Question) -> Sequence[str]:
        query = question.render()
        for stream in (False, True):
            data = await self._asker.ask(query, read_question(query), stream=stream)
            answer = None if data is None else question.read(data)
            if answer is None or answer.outcome is not Outcome.TRUNCATED:
                return [] if answer is None else [str(address) for address in answer.addresses]
        return []
