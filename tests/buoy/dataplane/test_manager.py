"""Both protocols are told the same orders; one that cannot be served keeps nobody from the other."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

import attrs
import pytest
import trio
import trio.testing

from pharos.buoy.dataplane.base import ENDED, NO_REASONS, AwgPlan, EngineError, PeerCounters, RealityPlan
from pharos.buoy.dataplane.manager import NETWORK, RESTART_AFTER, RETRY_EVERY, Planes
from pharos.buoy.dataplane.plans import Planner
from pharos.buoy.network import Network
from pharos.buoy.roothelper.acts import Act, Answer, Applied, ApplyNetwork
from pharos.wire.desired import Desired, PreviousEndpoint
from pharos.wire.ids import DeviceId
from pharos.wire.profile import AMNEZIAWG, VLESS_REALITY
from pharos.wire.tasks import open_background
from tests.buoy.dataplane.test_plans import DESIRED, PHONE, planner_of
from tests.support.agents import joined
from tests.support.strategies import parameters_of


@attrs.define
class Engine:
    """A driver that does as it is told, or says why not."""

    name: str = "fake"
    port: int = 443
    told: list[AwgPlan | RealityPlan] = attrs.field(factory=list)
    refuses: set[int] = attrs.field(factory=set)
    """Ports that it cannot have."""
    restarts: int = 0
    seen: list[PeerCounters] = attrs.field(factory=list)
    reasons: Mapping[DeviceId, str] = NO_REASONS
    ended: Mapping[DeviceId, str] = NO_REASONS
    """Why the last that went were gone."""

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> NoReturn:
        task_status.started()
        await trio.sleep_forever()

    async def apply(self, plan: AwgPlan | RealityPlan, *, reasons: Mapping[DeviceId, str] = NO_REASONS) -> None:
        for endpoint in plan.endpoints:
            if endpoint.port in self.refuses:
                raise EngineError(f"port {endpoint.port} is another's")
        self.told.append(plan)
        self.reasons = reasons
        self.ended = reasons or self.ended

    async def read_counters(self) -> list[PeerCounters]:
        return self.seen

    async def restart(self) -> None:
        self.restarts += 1


@attrs.define
class Root:
    """A root helper that remembers what it was asked for."""

    acts: list[Act] = attrs.field(factory=list)
    broken: bool = False

    async def perform(self, act: Act) -> Answer:
        if self.broken:
            raise EngineError("the root helper is not there")
        self.acts.append(act)
        return Applied(("no resolver is known",))


@attrs.frozen
class Sample:
    planes: Planes
    awg: Engine
    reality: Engine
    root: Root


@pytest.fixture
def planner(tmp_path: Path) -> Planner:
    return planner_of(joined(tmp_path, name="node-1"))


def devices_of(plan: AwgPlan | RealityPlan) -> set[DeviceId]:
    return set(plan.peers if isinstance(plan, AwgPlan) else plan.users)


def sample(planner: Planner) -> Sample:
    awg, reality, root = Engine(), Engine(port=8443), Root()
    return Sample(Planes(planner, awg, reality, Network(root, ("awg0",))), awg, reality, root)


async def test_both_engines_and_the_network_are_what_is_ordered(planner: Planner) -> None:
    at = sample(planner)
    await at.planes.apply(DESIRED, reasons={PHONE: "expired"})
    assert at.awg.told == [planner.awg(DESIRED)]
    assert at.reality.told == [planner.reality(DESIRED)]
    assert at.awg.reasons == {PHONE: "expired"}
    (act,) = at.root.acts
    assert isinstance(act, ApplyNetwork)
    assert (act.plan.interfaces, act.plan.policy) == (("awg0",), DESIRED.policy)
    await at.planes.apply(DESIRED)
    assert len(at.root.acts) == 1, "what is so already is not said again"
    assert [(one.protocol, one.trouble) for one in at.planes.health()] == [
        (AMNEZIAWG, ""),
        (VLESS_REALITY, ""),
        (NETWORK, "no resolver is known"),
    ]
    assert (at.planes.port, at.planes.reality_port) == (443, 8443)


async def test_counters_of_both_are_one_devices(planner: Planner) -> None:
    at = sample(planner)
    at.awg.seen = [PeerCounters(device_id=PHONE, last_handshake=5, received=1, sent=2)]
    at.reality.seen = [
        PeerCounters(device_id=PHONE, last_handshake=9, received=10, sent=20),
        PeerCounters(device_id=DeviceId("other"), last_handshake=0, received=0, sent=0),
    ]
    counted = {one.device_id: one for one in await at.planes.read_counters()}
    assert counted[PHONE] == PeerCounters(
        device_id=PHONE,
        last_handshake=9,
        received=11,
        sent=22,
        reality_received=10,
        reality_sent=20,
        reality_handshake=9,
    )
    assert len(counted) == 2


async def test_session_that_is_ended_leaves_both_engines_and_may_come_again(planner: Planner) -> None:
    at = sample(planner)
    await at.planes.apply(DESIRED)
    await at.planes.end_session(PHONE)
    for engine, whole in ((at.awg, planner.awg(DESIRED)), (at.reality, planner.reality(DESIRED))):
        _, without, again = engine.told
        assert devices_of(without) == devices_of(whole) - {PHONE}
        assert devices_of(again) == devices_of(whole)
        assert engine.ended == {PHONE: ENDED}
    assert len(at.root.acts) == 1, "the rules of the firewall are about networks, not about who is there"


async def test_session_is_ended_where_it_can_be_and_the_other_engine_is_said(
    planner: Planner, caplog: pytest.LogCaptureFixture
) -> None:
    at = sample(planner)
    await at.planes.apply(DESIRED)
    at.awg.refuses = {443}
    with pytest.raises(EngineError, match="port 443"):
        await at.planes.end_session(PHONE)
    assert "amneziawg is not served as ordered" in caplog.text
    caplog.clear()
    assert at.reality.ended == {PHONE: ENDED}
    assert devices_of(at.reality.told[-1]) == devices_of(planner.reality(DESIRED))


async def test_device_that_may_use_one_protocol_is_looked_for_at_no_other(planner: Planner) -> None:
    at = sample(planner)
    only = attrs.evolve(DESIRED.peers[PHONE], protocols=("amneziawg",))
    await at.planes.apply(attrs.evolve(DESIRED, peers={**DESIRED.peers, PHONE: only}))
    await at.planes.end_session(PHONE)
    assert (len(at.awg.told), len(at.reality.told)) == (3, 1)


async def test_rules_of_the_firewall_are_told_once_there_are_any(planner: Planner) -> None:
    at = sample(planner)
    assert at.planes.read_network() is None
    await at.planes.apply(DESIRED)
    plan = at.planes.read_network()
    assert plan is not None
    assert (plan.interfaces, plan.policy) == (("awg0",), DESIRED.policy)


async def test_engine_that_is_away_keeps_nobody_from_the_other_and_is_told_when_it_is_back(
    planner: Planner, autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    at = sample(planner)
    at.awg.refuses = {443}
    async with open_background(at.planes.run):
        await at.planes.apply(DESIRED)
        assert at.reality.told
        assert "amneziawg is not served as ordered: port 443 is another's" in caplog.text
        caplog.clear()
        assert at.planes.health()[0].trouble == "port 443 is another's"
        at.awg.refuses = set()
        await trio.sleep(RETRY_EVERY + 1)
        assert at.awg.told == [planner.awg(DESIRED)]
        assert at.planes.health()[0].trouble == ""
        assert len(at.reality.told) == 1


async def test_engine_begins_anew_as_the_last_resort(
    planner: Planner, autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    at = sample(planner)
    at.awg.refuses = {443}
    async with open_background(at.planes.run):
        await at.planes.apply(DESIRED)
        caplog.clear()
        await trio.sleep(RESTART_AFTER - 2 * RETRY_EVERY)
        assert at.awg.restarts == 0
        await trio.sleep(3 * RETRY_EVERY)
        assert (at.awg.restarts, at.reality.restarts) == (1, 0)


async def test_endpoint_before_that_cannot_be_had_takes_the_one_in_use_from_nobody(
    planner: Planner, caplog: pytest.LogCaptureFixture
) -> None:
    at = sample(planner)
    at.awg.refuses = {2053}
    desired = attrs.evolve(DESIRED, previous=(PreviousEndpoint(port=2053, awg=parameters_of(2), until=9),))
    await at.planes.apply(desired)
    caplog.clear()
    (plan,) = at.awg.told
    assert [endpoint.port for endpoint in plan.endpoints] == [443]
    assert at.planes.health()[0].trouble == "port 2053 is another's"


async def test_policy_that_nobody_keeps_is_said(planner: Planner, caplog: pytest.LogCaptureFixture) -> None:
    at = sample(planner)
    at.root.broken = True
    await at.planes.apply(DESIRED)
    assert "network is not served as ordered" in caplog.text
    caplog.clear()
    assert at.planes.health()[2].trouble == "the root helper is not there"


async def test_restart_is_of_the_protocol_that_was_named(planner: Planner, caplog: pytest.LogCaptureFixture) -> None:
    at = sample(planner)
    await at.planes.restart(VLESS_REALITY)
    assert (at.awg.restarts, at.reality.restarts) == (0, 1)
    with pytest.raises(KeyError):
        await at.planes.restart("openvpn")


async def test_nothing_ordered_is_nothing_served(planner: Planner) -> None:
    at = sample(planner)
    await at.planes.apply(Desired())
    assert [plan.endpoints for plan in (*at.awg.told, *at.reality.told)] == [(), ()]
