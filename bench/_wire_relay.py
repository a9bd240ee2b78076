"""The worker of bench.wire that is a beacon, with its own ingress and its own tunnel port."""

from functools import partial
from typing import Any

import trio

from bench._rpc_ours import say
from bench._wire_fleet import answer_requests, cpu, membership
from pharos.beacon.ingress import serve_ingress
from pharos.beacon.limiter import PassageLimiter, Rates
from pharos.beacon.shares import UNSHARED
from pharos.beacon.tunnel import serve_tunnel
from pharos.beacon.upstream import Upstreams
from pharos.wire.rpc import limits
from pharos.wire.rpc.flow import Holdings
from pharos.wire.standing import Standing
from tests.support.rpc import HOST


async def run() -> None:
    upstreams = Upstreams()
    at: dict[str, Any] = {
        "standing": Standing(membership("relay")),
        "host": HOST,
        "port": 0,
        "holdings": Holdings(limits.RELAY_HOLDINGS),
    }

    async def count() -> dict[str, Any]:
        """Return the tunnels that helm has dialled."""
        return {"tunnels": len(upstreams)}

    async with trio.open_nursery() as nursery:
        tunnel = await nursery.start(partial(serve_tunnel, upstreams, **at))
        # One device plays all of them.
        limiter = PassageLimiter(Rates(shares=UNSHARED))
        ingress = await nursery.start(partial(serve_ingress, upstreams, limiter=limiter, **at))
        say(port=ingress[1], tunnel=tunnel[1])
        await answer_requests({"count": count, "cpu": cpu})
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(run)
