"""Row 29. Position: a beacon, with all that it can send. Wants: the devices behind other beacons not to get through.

Countermeasures: streams per tunnel and places at the door per beacon are bounded, and passages of one beacon are opened
no faster than an honest beacon lets devices in. Time here is virtual, and helm's one CPU is what makes it pass.
"""

from __future__ import annotations

import math
import os
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
import trio.testing
from grpclib.exceptions import GRPCError

from pharos.caravel.sync import sync
from pharos.wire.gen.pharos.relay.v1 import passage_grpc
from pharos.wire.gen.pharos.relay.v1.passage_grpc import PassageStub
from pharos.wire.gen.pharos.relay.v1.passage_pb2 import Frame
from pharos.wire.passage import server
from pharos.wire.passage.admission import Door
from pharos.wire.passage.beaconpace import OPENING_RATE, BeaconPace
from pharos.wire.passage.carrier import ServerCall
from pharos.wire.passage.client import open_passage
from pharos.wire.passage.metadata import PURPOSE_HEADER, Purpose, key_id
from pharos.wire.passage.server import Incident, accept_passage
from pharos.wire.rpc.client import Channel
from pharos.wire.rpc.flow import TUNNEL
from pharos.wire.rpc.guard import TUNNEL_ALLOWANCE
from pharos.wire.rpc.h2conn import Connection
from pharos.wire.rpc.limits import TUNNEL_STREAMS
from pharos.wire.rpc.server import Service
from pharos.wire.units import MILLISECONDS
from tests.support.evilbeacon import fleet_behind
from tests.wire.passage.harness import FLEET, HELM_KEY, NOTHING

Clock = trio.testing.MockClock

SLOWER = 10
"""Everything takes so many times as long as it does, and comes as rarely: fewer events say the same."""
CALL, HANDSHAKE = 0.4 * SLOWER * MILLISECONDS, 0.6 * SLOWER * MILLISECONDS
GOOD = ("amsterdam", "berlin", "cairo")
RATE = 10.0
"""Devices a second that come through each good beacon: together a third of helm's time."""
JUNK = bytes((key_id(HELM_KEY.public),)) + os.urandom(96)


@attrs.define(eq=False)
class Helm:
    """What all beacons share."""

    pace: BeaconPace = attrs.field(factory=lambda: BeaconPace(rate=OPENING_RATE / SLOWER))
    door: Door = attrs.field(factory=lambda: Door(remembered=0))
    refused: int = 0

    async def audit(self, _incident: Incident) -> None:
        self.refused += 1


class Passages(passage_grpc.PassageBase):
    """helm's end of one beacon's tunnel."""

    def __init__(self, helm: Helm, beacon: str) -> None:
        self._helm = helm
        self._beacon = beacon

    async def Open(self, call: ServerCall) -> None:
        async with accept_passage(
            call,
            fleet=FLEET,
            keys=[HELM_KEY],
            door=self._helm.door,
            beacon=self._beacon,
            find_psk=nothing,
            find_device=nothing,
            audit=self._helm.audit,
            pace=self._helm.pace,
        ) as passage:
            await passage.serve(Service([]))


async def nothing(_key: bytes) -> Any:
    return None


def one_cpu(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let time pass by what helm computes, and by nothing else."""
    for name, cost in (("read_metadata", CALL), ("_read_by_one_of", HANDSHAKE)):
        compute = getattr(server, name)

        def computing(*arguments: Any, compute: Any = compute, cost: float = cost) -> Any:
            clock.jump(cost)
            return compute(*arguments)

        monkeypatch.setattr(server, name, computing)


@asynccontextmanager
async def tunnel(helm: Helm, beacon: str) -> AsyncIterator[Connection]:
    """Give a beacon's end of a tunnel."""
    ours, helms = trio.testing.memory_stream_pair()
    service = Service([Passages(helm, beacon)])
    async with trio.open_nursery() as nursery:
        inside = Connection(
            helms,
            client_side=False,
            windows=TUNNEL,
            accept=service,
            max_streams=TUNNEL_STREAMS,
            allowance=TUNNEL_ALLOWANCE,
            keepalive=None,
        )
        connection = Connection(ours, client_side=True, windows=TUNNEL, keepalive=None)
        nursery.start_soon(inside.run)
        nursery.start_soon(connection.run)
        await connection.wait_up()
        yield connection
        nursery.cancel_scope.cancel()


async def open_and_leave(connection: Connection, waits: list[float]) -> None:
    """Come through a good beacon, and note how long it took."""
    came_at = trio.current_time()
    async with open_passage(
        Channel(connection, authority="helm"),
        purpose=Purpose.LOGIN,
        fleet=FLEET,
        helm_key=HELM_KEY.public,
        holds=NOTHING,
    ):
        waits.append(trio.current_time() - came_at)


class Volley:
    """Lets first messages go at whole multiples of some seconds; with none, at once."""

    def __init__(self, every: float) -> None:
        self._every = every

    async def wait(self) -> None:
        if self._every:
            await trio.sleep_until(math.ceil(trio.current_time() / self._every) * self._every)


async def flood(connection: Connection, volley: Volley) -> None:
    """Open one passage after the other, each with a first message that has to be computed to be refused."""
    stub = PassageStub(Channel(connection, authority="helm"))
    while True:
        try:
            async with stub.Open.open(metadata={PURPOSE_HEADER: "login"}) as call:
                await call.send_request()
                await volley.wait()
                await call.send_message(Frame(data=JUNK), end=True)
                await call.recv_message()
                await call.recv_trailing_metadata()
        except GRPCError:
            pass


@attrs.frozen(kw_only=True)
class Attack:
    """What the evil beacon keeps going."""

    calls: int = 0
    together: float = 0
    """Seconds for which it holds first messages back, to send all of them at once."""


NONE, STEADY, VOLLEYS = Attack(), Attack(calls=200), Attack(calls=200, together=1)


async def p99_of_good(helm: Helm, attack: Attack, *, seconds: float = 3) -> float:
    """Let devices come through three good beacons beside one that attacks; return what 99 of 100 waited at most."""
    chance = random.Random(29)
    waits: list[float] = []
    hold = Volley(attack.together)
    async with AsyncExitStack() as stack:
        nursery = await stack.enter_async_context(trio.open_nursery())
        good = [await stack.enter_async_context(tunnel(helm, beacon)) for beacon in GOOD]
        evil = await stack.enter_async_context(tunnel(helm, "evil"))
        for _ in range(attack.calls):
            nursery.start_soon(flood, evil, hold)
        async with trio.open_nursery() as devices:
            ends_at = trio.current_time() + seconds
            while trio.current_time() < ends_at:
                await trio.sleep(chance.expovariate(RATE * len(GOOD)))
                devices.start_soon(open_and_leave, chance.choice(good), waits)
        nursery.cancel_scope.cancel()
    return sorted(waits)[len(waits) * 99 // 100]


class Impatient(BeaconPace):
    """Weakened: nobody waits where it is named."""

    def __init__(self, *unpaced: str) -> None:
        super().__init__(rate=OPENING_RATE / SLOWER)
        for name in unpaced:
            setattr(self, f"wait_for_{name}", at_once)


async def at_once(_beacon: str) -> None:
    await trio.lowlevel.checkpoint()


async def test_a29_good_beacons_notice_little_of_one_that_floods(
    autojump_clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    one_cpu(autojump_clock, monkeypatch)
    idle = await p99_of_good(Helm(), NONE)
    for attack in (STEADY, VOLLEYS):
        helm = Helm()
        assert await p99_of_good(helm, attack) <= 2 * idle
        assert helm.refused > 50, "it was an attack"


@pytest.mark.parametrize(("attack", "unpaced"), [(STEADY, "call"), (VOLLEYS, "handshake")])
async def test_a29_turns_red_where_one_of_the_two_is_not_paced(
    autojump_clock: Clock, monkeypatch: pytest.MonkeyPatch, attack: Attack, unpaced: str
) -> None:
    one_cpu(autojump_clock, monkeypatch)
    idle = await p99_of_good(Helm(), NONE, seconds=1)
    assert await p99_of_good(Helm(pace=Impatient(unpaced)), attack, seconds=1) > 4 * idle


async def test_a29_helm_has_one_pace_for_each_of_its_relays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[BeaconPace, str]] = []

    async def ask(pace: BeaconPace, beacon: str) -> None:
        asked.append((pace, beacon))

    for name in ("call", "handshake"):
        monkeypatch.setattr(BeaconPace, f"wait_for_{name}", ask)
    async with fleet_behind(tmp_path) as fleet:
        await sync(await fleet.enrol())
        assert asked == [(fleet.edge._pace, fleet.relay.id)] * 4
