"""A beacon in a process of its own, as its command runs it, but that strangers are not slowed: one plays all of them.

python -m bench._desk_beacon STATE INGRESS_PORT TUNNEL_PORT
"""

from __future__ import annotations

import functools
import math
import sys
from pathlib import Path

import trio

from bench._rpc_ours import say
from bench._wire_fleet import answer_requests, cpu
from pharos.beacon import core
from pharos.beacon.app import run_beacon
from pharos.beacon.config import BeaconConfig
from pharos.beacon.limiter import PassageLimiter, Rates
from pharos.beacon.shares import UNSHARED

_RATES = Rates(
    shares=UNSHARED,
    passage_burst=math.inf,
    strangers_burst=math.inf,
    source_burst=math.inf,
)


async def run() -> None:
    state, ingress, tunnel = sys.argv[1:]
    config = BeaconConfig(state=Path(state), host="127.0.0.1", ingress_port=int(ingress), tunnel_port=int(tunnel))
    async with trio.open_nursery() as nursery:
        await nursery.start(functools.partial(run_beacon, config))
        say(port=int(ingress))
        await answer_requests({"cpu": cpu})
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    core.PassageLimiter = functools.partial(PassageLimiter, _RATES)  # type: ignore[misc, assignment]
    trio.run(run)
