"""Rows 35 to 41 under measurement: what each attack costs the server, and what a good client notices of it.

That each is refused, and with which code, is shown in the rows' own files. Here attackers dial in, send all they have
and dial again for as long as a good client is measured, beside the same client's figures without them. The weakened
build is the same server without the row's limit: it must cost more, or the test has measured nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NoReturn

import attrs
import pytest
import trio
import trio.lowlevel

from pharos.wire.errors import LinkLostError
from pharos.wire.units import MIB
from tests.attacks.test_a35_header_bombs import BOMB, in_pieces
from tests.attacks.test_a36_rapid_reset import BATCH, open_and_reset
from tests.attacks.test_a37_made_you_reset import provoke
from tests.attacks.test_a38_continuation_flood import FIRST, LAST, SMALL
from tests.attacks.test_a39_control_floods import FLOODS
from tests.attacks.test_a41_messages import FOUR_GIB
from tests.support.floods import DATA, Outcome, attack, raw, request
from tests.support.pressure import Latency, Pressured, attacking, pressured_server

LIMITS = "pharos.wire.rpc.limits."
ENDLESS = 2**31 - 1
# Attackers and good client share two cores with the server; what is asserted in bench/wire.py is measured alone.
SLACK = 3
LATENCY = 6 * SLACK
RESETS = 2000
ROUNDS = 5
"""Of measuring, at most."""


@attrs.frozen(kw_only=True)
class Case:
    """One row's attack, and what weakens the server against it."""

    blob: list[bytes]
    weakened: Mapping[str, float]


CASES = [
    pytest.param(
        Case(
            blob=[in_pieces(n, BOMB) for n in (1, 3)],
            weakened={"MAX_HEADER_LIST": ENDLESS, "MAX_HEADER_FIELDS": ENDLESS},
        ),
        id="35 header bombs",
        marks=pytest.mark.row(35),
    ),
    pytest.param(
        Case(blob=open_and_reset(RESETS, batch=BATCH), weakened={"RESET_BURST": 1e9}),
        id="36 rapid reset",
        marks=pytest.mark.row(36),
    ),
    pytest.param(
        Case(blob=[provoke(RESETS)], weakened={"RESET_BURST": 1e9, "CONTROL_BURST": 1e9}),
        id="37 provoked resets",
        marks=pytest.mark.row(37),
    ),
    pytest.param(
        Case(
            blob=[FIRST, *(SMALL * 5), LAST],
            weakened={"CONTROL_BURST": 1e9, "h2.frame_buffer.CONTINUATION_BACKLOG": ENDLESS},
        ),
        id="38 continuations",
        marks=pytest.mark.row(38),
    ),
    pytest.param(
        Case(blob=[FLOODS["ping"] * 3000], weakened={"CONTROL_BURST": 1e9, "OUTPUT_CAP": ENDLESS}),
        id="39 pings",
        marks=pytest.mark.row(39),
    ),
    # So many that they weigh more than the handshake before them, where they are all read.
    pytest.param(
        Case(blob=[FLOODS["window updates"] * 10_000], weakened={"CONTROL_BURST": 1e9}),
        id="39 window updates",
        marks=pytest.mark.row(39),
    ),
]


@attrs.define
class Toll:
    """How often the attack was made."""

    rounds: int = 0
    last: Outcome | None = None


def full(name: str) -> str:
    return name if "." in name else LIMITS + name


async def costs(
    case: Case, overrides: Mapping[str, Any], *, ratio: float = LATENCY
) -> tuple[float, int, Latency, Latency]:
    """Return CPU seconds per attack, octets of growth, and the good client's figures without and with the attack."""
    toll = Toll()
    # Where nothing is asked of the latency, a weakened server is not asked for so many calls either.
    calls = 300 if ratio < math.inf else 50

    async def again_and_again(server: Pressured, *, task_status: trio.TaskStatus[None]) -> NoReturn:
        task_status.started()
        while True:
            try:
                stream = await server.dial()
            except LinkLostError:
                continue
            try:
                toll.last = await attack(stream, case.blob)
                toll.rounds += 1
            finally:
                await trio.aclose_forcefully(stream)

    cpu, growth = 0.0, 0
    async with pressured_server({full(name): value for name, value in overrides.items()}) as server:
        # What else the machine does slows one of the two down, and not always the same: rounds, until one is good.
        for _ in range(ROUNDS):
            idle = await server.good_client(calls=calls, dials=3)
            mark = server.mark()
            async with attacking(server, again_and_again, attackers=1):
                under = await server.good_client(calls=calls, dials=3)
                while toll.rounds < 4:
                    await trio.lowlevel.checkpoint()
            cpu += server.cpu_since(mark)
            growth += server.rss_growth(mark)
            if under.failures or under.within(ratio, idle):
                break
        return cpu / toll.rounds, growth, idle, under


async def check(case: Case) -> None:
    """The flood costs less than half of what it costs without the limit, and a good client hardly notices it."""
    cost, growth, idle, under = await costs(case, {})
    assert under.failures == 0
    assert under.p50 <= LATENCY * idle.p50
    assert under.p99 <= LATENCY * idle.p99
    assert growth < 16 * MIB
    weakened, _, _, _ = await costs(case, case.weakened, ratio=math.inf)
    assert weakened > 2 * cost


@pytest.mark.red_inside
@pytest.mark.parametrize("case", CASES)
async def test_flood_costs_little_and_is_hardly_noticed(case: Case) -> None:
    await check(case)


async def test_a40_streams_nobody_reads_cost_a_window_each_and_no_more() -> None:
    """Twenty peers, each with a hundred streams without credit: a good client is served, and memory stays bounded."""
    from tests.attacks.test_a40_no_window import SHUT, ask_for_bulk

    async def stall(server: Pressured, *, task_status: trio.TaskStatus[None]) -> None:
        stream = await server.dial()
        try:
            outcome = await attack(stream, [ask_for_bulk(100)], settings=SHUT)
            assert outcome.survived
            task_status.started()
            await trio.sleep_forever()
        finally:
            await trio.aclose_forcefully(stream)

    async with pressured_server({LIMITS + "PROGRESS_TIMEOUT": 2.0}) as server:
        idle = await server.good_client(calls=300, dials=3)
        mark = server.mark()
        async with attacking(server, stall, attackers=20):
            under = await server.good_client_beside(idle, ratio=LATENCY)
            assert server.rss_growth(mark) < 48 * MIB
        assert under.failures == 0
        assert under.p50 <= LATENCY * idle.p50
        assert under.p99 <= LATENCY * idle.p99


async def test_a41_claims_of_4_gib_cost_nothing() -> None:
    async def claim(server: Pressured, *, task_status: trio.TaskStatus[None]) -> NoReturn:
        task_status.started()
        while True:
            stream = await server.dial()
            try:
                outcome = await attack(stream, [request(n) + raw(DATA, 0, n, FOUR_GIB) for n in range(1, 100, 2)])
                assert outcome.survived
            finally:
                await trio.aclose_forcefully(stream)

    async with pressured_server() as server:
        idle = await server.good_client(calls=300, dials=3)
        mark = server.mark()
        async with attacking(server, claim, attackers=1):
            under = await server.good_client_beside(idle, ratio=LATENCY)
            assert server.rss_growth(mark) < 16 * MIB
        assert under.failures == 0
        assert under.p50 <= LATENCY * idle.p50
        assert under.p99 <= LATENCY * idle.p99
