"""Rows 39 to 41, the rest of what was to be measured: what each kind of flood costs, in CPU time, memory and latency.

`test_a35_to_a41_pressure.py` measures pings, window updates, streams without credit and claims of 4 GiB with the quick
tests; here are the other frames that need no stream, credit that comes octet by octet, and bodies that unfold.

Takes 40 s.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NoReturn

import pytest
import trio

from pharos.wire.errors import LinkLostError
from pharos.wire.units import KIB, MIB
from tests.attacks.test_a35_to_a41_pressure import ENDLESS, LATENCY, Case, check
from tests.attacks.test_a39_control_floods import FLOODS
from tests.attacks.test_a40_no_window import SHUT, TINY, ask_for_bulk
from tests.attacks.test_a41_messages import GZIP_BOMB, NESTED, prefixed
from tests.support.floods import DATA, END_STREAM, WINDOW_UPDATE, attack, raw, request
from tests.support.pressure import Pressured, attacking, pressured_server

pytestmark = pytest.mark.system
# So many that they weigh more than the handshake before them, where they are all read.
MANY = 10_000
FRAME = 16 * KIB
NO_PACE = {"CONTROL_BURST": 1e9}
CASES = [
    pytest.param(Case(blob=[FLOODS[name] * MANY], weakened=NO_PACE | {"OUTPUT_CAP": ENDLESS}), id=name)
    for name in ("settings", "priorities")
] + [
    pytest.param(Case(blob=[request(1, "Collect"), FLOODS["empty data"] * MANY], weakened=NO_PACE), id="empty data"),
]
CRUMBS = Case(blob=[SHUT, ask_for_bulk(1), raw(WINDOW_UPDATE, 0, 1, TINY) * MANY], weakened=NO_PACE)


@pytest.mark.red_inside
@pytest.mark.parametrize("case", CASES)
async def test_a39_flood_costs_little_and_is_hardly_noticed(case: Case) -> None:
    await check(case)


@pytest.mark.red_inside
async def test_a40_credit_in_crumbs_costs_little_and_is_hardly_noticed() -> None:
    await check(CRUMBS)


def in_frames(stream: int, body: bytes) -> Iterator[bytes]:
    """Give a call whose body goes over several DATA frames."""
    yield request(stream)
    for start in range(0, len(body), FRAME):
        last = start + FRAME >= len(body)
        yield raw(DATA, END_STREAM if last else 0, stream, body[start : start + FRAME])


async def test_a41_bodies_that_unfold_cost_little_and_are_hardly_noticed() -> None:
    """Each would be 64 MiB, or as deep as there are octets, for a server that believes it."""
    bodies = [GZIP_BOMB, prefixed(NESTED)] * 10
    blob = [frame for number, body in enumerate(bodies) for frame in in_frames(2 * number + 1, body)]

    async def unfold(server: Pressured, *, task_status: trio.TaskStatus[None]) -> NoReturn:
        task_status.started()
        while True:
            try:
                stream = await server.dial()
            except LinkLostError:
                continue
            try:
                await attack(stream, blob)
            finally:
                await trio.aclose_forcefully(stream)

    async with pressured_server() as server:
        idle = await server.good_client(calls=300, dials=3)
        mark = server.mark()
        async with attacking(server, unfold, attackers=1):
            under = await server.good_client_beside(idle, ratio=LATENCY)
            assert server.rss_growth(mark) < 32 * MIB
        assert under.failures == 0
        assert under.p50 <= LATENCY * idle.p50
    assert under.p99 <= LATENCY * idle.p99
