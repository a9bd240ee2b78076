"""helm's link to a real control port: what the record says is pushed, what happens is seen, strangers are refused."""

from __future__ import annotations

import functools
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
import trio.testing

from pharos.buoy.control import serve_control
from pharos.buoy.events import EventFeed
from pharos.buoy.node import Node as BuoyNode
from pharos.helm.accounts.users import add_user
from pharos.helm.fleet import link as module
from pharos.helm.fleet import meter
from pharos.helm.fleet.care import KeepCheckpoint, NodeCare
from pharos.helm.fleet.desired import DesiredFleet
from pharos.helm.fleet.lease import Lease
from pharos.helm.fleet.link import NodeLinks, _until_next_reading
from pharos.helm.live.board import now_us
from pharos.helm.live.subscriber import Subscriber
from pharos.helm.model.nodes import Node
from pharos.helm.model.users import QuotaAction
from pharos.helm.store.alerts import standing_alert
from pharos.helm.store.bundles import profiles_revision
from pharos.helm.store.fleet import get_fleet, next_revision
from pharos.helm.store.handshakes import newest_handshakes
from pharos.helm.store.realitykeys import reality_keys
from pharos.helm.store.times import rfc3339
from pharos.helm.telemetry.readings import READ_EVERY
from pharos.wire.agent import AgentKeys
from pharos.wire.convert import EventKind, NodeReport
from pharos.wire.desired import Fence, Push
from pharos.wire.errors import LinkLostError, LinkRefusedError
from pharos.wire.ids import DeviceId
from pharos.wire.link import Backoff, run_link
from pharos.wire.noise.keys import KeyPair
from pharos.wire.pki.roles import Role
from pharos.wire.reports import EngineReport, RealityReport
from tests.support.agents import joined
from tests.support.buoy import SampleBuoy, make_buoy
from tests.support.fates import meets
from tests.support.helm import (
    SampleHelm,
    adopt_sample_node,
    enrol_sample_device,
    now,
    open_helm,
    revoke_sample_device,
    sample_act,
)
from tests.support.pki import utc_now
from tests.support.telemetry import BORN


@attrs.frozen
class Pair:
    """helm, one buoy of its fleet that serves its control port on loopback, and the link's maker."""

    helm: SampleHelm
    buoy: SampleBuoy
    feed: EventFeed
    node: Node
    links: NodeLinks
    serving: trio.CancelScope

    async def run(self) -> None:
        async with self.links.dial(self.node) as link:
            await link.run()


@asynccontextmanager
async def paired(tmp_path: Path) -> AsyncIterator[Pair]:
    for name in ("helm", "buoy"):
        (tmp_path / name).mkdir(mode=0o700)
    async with open_helm(tmp_path / "helm") as helm, trio.open_nursery() as nursery:
        keys = AgentKeys(tmp_path / "buoy", Role.NODE)
        node, grant = await helm.store.run(adopt_sample_node, helm.authority, request=keys.make_request())
        membership = keys.install(grant, now=now())
        buoy, feed = make_buoy(tmp_path / "buoy", keys=keys, membership=membership), EventFeed()
        serving = trio.CancelScope()

        async def serve(*, task_status: trio.TaskStatus[tuple[str, int]]) -> None:
            with serving:
                await serve_control(buoy.node, feed, host="127.0.0.1", port=0, task_status=task_status)

        host, port = await nursery.start(serve)
        fleet = await helm.store.run(get_fleet)
        links = NodeLinks(
            store=helm.store,
            authorities=helm.context.authorities,
            desired=DesiredFleet(helm.store),
            board=helm.context.board,
            hub=helm.context.hub,
            ingest=helm.context.ingest,
            epoch=lambda: fleet.epoch,
            lease=Lease(holder=b"h" * 16, previous=b"", term=1),
        )
        nursery.start_soon(links.stir.run, helm.store, helm.context.authorities, links.desired, links.board)
        yield Pair(helm, buoy, feed, attrs.evolve(node, address=host, control_port=port), links, serving)
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def linked(pair: Pair) -> AsyncIterator[None]:
    """Keep the link up as helm does."""
    keep = functools.partial(
        run_link, lambda: pair.links.dial(pair.node), backoff=Backoff(random=lambda: 1.0), name="sample"
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pair.links.hub.run_events)
        nursery.start_soon(keep)
        yield
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def linked_once(pair: Pair) -> AsyncIterator[None]:
    """Let the link meet its fate."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pair.run)
        yield


async def applied(pair: Pair, met: Callable[[], bool]) -> None:
    """Wait until the engine was told what makes ``met`` true."""
    with trio.fail_after(5):
        while not met():
            await pair.buoy.plane.told.wait()


async def event_of(subscriber: Subscriber, kind: str) -> dict[str, Any]:
    with trio.fail_after(5):
        while True:
            message = await subscriber.receive()
            assert isinstance(message, str)
            event: dict[str, Any]
            for event in json.loads(message).get("events", []):
                if event["kind"] == kind:
                    return event


def served(pair: Pair) -> list[str]:
    return sorted(pair.buoy.node.desired.peers)


async def test_record_reaches_the_node_and_so_does_each_change(tmp_path: Path) -> None:
    async with paired(tmp_path) as pair:
        phone = await pair.helm.store.run(enrol_sample_device, 1)
        async with linked(pair):
            await applied(pair, lambda: served(pair) == [phone.id])
            assert pair.buoy.node.desired.awg == pair.node.awg_parameters
            assert pair.buoy.node.desired.addresses[0] == "10.86.0.1"
            laptop = await pair.helm.store.run(enrol_sample_device, 2)
            await applied(pair, lambda: served(pair) == [phone.id, laptop.id])
            await pair.helm.store.run(revoke_sample_device, phone.id)
            await applied(pair, lambda: served(pair) == [laptop.id])
        fleet = await pair.helm.store.run(get_fleet)
        assert pair.buoy.node.desired.fence == Fence(fleet.epoch, 1, fleet.revision)


async def test_link_that_comes_back_to_an_unchanged_node_pushes_nothing(tmp_path: Path) -> None:
    async with paired(tmp_path) as pair:
        await pair.helm.store.run(enrol_sample_device, 1)
        async with linked(pair):
            await applied(pair, lambda: len(pair.buoy.plane.applied) == 1)
        await watched(pair, by=0)
        async with pair.helm.context.hub.open_subscriber() as subscriber, linked(pair):
            # An event goes through the new link: by then it has asked for the status and could have pushed.
            await watched(pair)
            pair.feed.publish(EventKind.CONNECTED, at=1, device_id=served(pair)[0], detail="")
            await event_of(subscriber, "connected")
        assert len(pair.buoy.plane.applied) == 1


def with_care(pair: Pair) -> Pair:
    """Let helm write down what the node says, as it does when it runs."""
    care = NodeCare(pair.helm.store, pair.helm.context.authorities)
    return attrs.evolve(pair, links=attrs.evolve(pair.links, care=care))


async def test_reality_reaches_the_node_and_its_key_the_record_at_once(tmp_path: Path) -> None:
    async with paired(tmp_path) as bare:
        pair = with_care(bare)
        pair.buoy.plane.reality_port = 443
        async with linked(pair):
            with trio.fail_after(5):
                while not (known := await pair.helm.store.read(reality_keys, pair.node.id)):
                    await trio.testing.wait_all_tasks_blocked(0.001)
        assert pair.buoy.node.desired.reality == pair.node.reality
        said = (await pair.buoy.node.report()).reality
        assert said is not None
        assert list(known.values()) == list(said.keys)


def alter_reports(patch: pytest.MonkeyPatch, change: Callable[[NodeReport, int], NodeReport]) -> list[NodeReport]:
    """Let the buoy say something else, by the number of the report; return what it has said so far."""
    said: list[NodeReport] = []
    report = BuoyNode.report

    async def altered(node: BuoyNode) -> NodeReport:
        said.append(change(await report(node), len(said) + 1))
        return said[-1]

    patch.setattr(BuoyNode, "report", altered)
    return said


async def many(reports: list[NodeReport], count: int) -> None:
    """Wait until so many have been asked for."""
    with trio.fail_after(10):
        while len(reports) < count:
            await trio.testing.wait_all_tasks_blocked(0.001)


async def test_revision_that_comes_while_a_push_is_on_its_way_and_does_not_concern_the_node_is_in_force(
    tmp_path: Path,
) -> None:
    async with paired(tmp_path) as pair:
        pair.buoy.plane.before_apply = trio.Event()
        board, node_id = pair.links.board, pair.node.id
        async with linked(pair):
            with trio.fail_after(5):
                await pair.buoy.plane.before_apply.wait()
                revision = await pair.helm.store.run(next_revision)
                while pair.links.stir.revision < revision:
                    await trio.testing.wait_all_tasks_blocked(0.001)
                assert board.of(node_id).applied.revision < revision
                pair.buoy.plane.may_apply.set()
                while board.of(node_id).applied.revision != revision:
                    await trio.testing.wait_all_tasks_blocked(0.001)
        assert len(pair.buoy.plane.applied) == 1


async def test_node_of_an_earlier_version_is_not_told_of_reality(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_until_next_reading", lambda *_: 0.01)
    reports = alter_reports(monkeypatch, lambda report, _number: attrs.evolve(report, reality=None))
    async with paired(tmp_path) as bare:
        pair = with_care(bare)
        async with pair.helm.context.hub.open_subscriber() as subscriber, linked(pair):
            await applied(pair, lambda: len(pair.buoy.plane.applied) == 1)
            await watched(pair)
            # Some looks later it is still what it was told to be.
            await many(reports, 8)
            pair.feed.publish(EventKind.CONNECTED, at=1, device_id=DeviceId("d"), detail="")
            await event_of(subscriber, "connected")
        assert len(pair.buoy.plane.applied) == 1
        assert pair.buoy.node.desired.reality is None
        assert await pair.helm.store.read(reality_keys, pair.node.id) == {}


async def test_node_of_an_earlier_version_cuts_nobody_who_is_to_be_slowed_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_until_next_reading", lambda *_: 0.01)
    reports = alter_reports(monkeypatch, lambda report, _number: attrs.evolve(report, throttles=False))
    async with paired(tmp_path) as bare:
        pair = with_care(bare)
        quota = {"quota_bytes": 1, "quota_action": QuotaAction.THROTTLE}
        user = await pair.helm.store.run(add_user, sample_act(), {"name": "Ada", **quota})
        device = await pair.helm.store.run(enrol_sample_device, 1, user_id=user.id)
        async with linked(pair):
            await applied(pair, lambda: device.id in pair.buoy.node.desired.peers)
            told = len(pair.buoy.plane.applied)
            # Some looks later it is still what it was told to be.
            await many(reports, len(reports) + 8)
        assert len(pair.buoy.plane.applied) == told
        assert pair.buoy.node.desired.peers[device.id].quota is None


async def test_node_that_says_all_the_time_that_its_reality_is_elsewhere_is_not_believed_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each time every profile of the fleet would be sealed anew."""
    monkeypatch.setattr(module, "_until_next_reading", lambda *_: 0.01)
    reports = alter_reports(
        monkeypatch, lambda report, number: attrs.evolve(report, reality=RealityReport(port=number))
    )
    async with paired(tmp_path) as bare:
        pair = with_care(bare)
        before = await pair.helm.store.read(profiles_revision)
        async with linked(pair):
            await many(reports, 20)
        assert await pair.helm.store.read(profiles_revision) - before == 3


async def watched(pair: Pair, by: int = 1) -> None:
    """Wait until helm listens to the node's events; or, by nobody, until the node knows that the link is gone."""
    with trio.fail_after(5):
        while len(pair.feed._watchers) != by:
            await trio.testing.wait_all_tasks_blocked(0.001)


async def test_handshake_at_the_node_is_seen_and_kept(tmp_path: Path) -> None:
    async with paired(tmp_path) as pair:
        phone = await pair.helm.store.run(enrol_sample_device, 1)
        async with pair.helm.context.hub.open_subscriber() as subscriber, linked(pair):
            await watched(pair)
            pair.feed.publish(EventKind.HANDSHAKE, at=1234, device_id=phone.id, detail="198.51.100.4:40001")
            event = await event_of(subscriber, "handshake")
            assert (event["node"], event["device"], event["at"]) == (pair.node.id, phone.id, rfc3339(1234))
            assert await pair.helm.context.ingest.write(pair.helm.store, at=BORN)
            assert await pair.helm.store.record(newest_handshakes) == {phone.id: (pair.node.id, 1234)}


async def test_status_is_a_reading_of_the_counters(tmp_path: Path) -> None:
    async with paired(tmp_path) as pair:
        phone = await pair.helm.store.run(enrol_sample_device, 1)
        ingest = pair.helm.context.ingest
        async with linked(pair):
            await applied(pair, lambda: served(pair) == [phone.id])
        (reading,) = ingest.backlog.take(1).readings
        assert reading.node_id == pair.node.id
        assert reading.latency > 0


def test_each_node_is_read_at_its_own_moment_once_for_each_point_of_a_chart() -> None:
    period = round(READ_EVERY * 1_000_000)
    moments = set()
    for node in (f"node-{number}" for number in range(50)):
        at = BORN
        for point in range(5):
            wait = _until_next_reading(node, at)
            assert 0 < wait <= READ_EVERY
            at += round(wait * 1_000_000)
            assert at // period == BORN // period + point
            # Somewhat early or late, it still is within its point.
            assert 1_000_000 < at % period < period - 1_000_000
        moments.add(at % period)
    # On ticks of half a second, so that helm wakes up for several at once.
    assert {moment % 500_000 for moment in moments} == {0}
    assert len(moments) > 25


async def test_event_that_cannot_be_loses_the_link_and_nothing_else(tmp_path: Path) -> None:
    async with paired(tmp_path) as pair:
        phone = await pair.helm.store.run(enrol_sample_device, 1)
        with meets(LinkLostError):
            async with linked_once(pair):
                await watched(pair)
                pair.feed.publish(EventKind.HANDSHAKE, at=2**62, device_id=phone.id, detail="")
        assert pair.helm.context.hub.recent() == []


async def test_node_that_ends_is_lost(tmp_path: Path) -> None:
    async with paired(tmp_path) as pair:
        with meets(LinkLostError):
            async with linked_once(pair):
                await watched(pair)
                pair.serving.cancel()


async def test_node_that_holds_a_newer_fence_has_refused(tmp_path: Path) -> None:
    async with paired(tmp_path) as pair:
        fleet = await pair.helm.store.run(get_fleet)
        await pair.buoy.node.push(Push(fence=Fence(fleet.epoch + 1, 0, 0), snapshot=True))
        with meets(LinkRefusedError, match="older"):
            await pair.run()
        assert len(pair.buoy.plane.applied) == 1


async def test_node_with_other_keys_than_it_joined_with_is_refused(tmp_path: Path) -> None:
    async with paired(tmp_path) as pair:
        swapped = attrs.evolve(pair.node, awg_key=KeyPair.generate().public)
        with meets(LinkRefusedError, match="other keys"):
            async with pair.links.dial(swapped) as link:
                await link.run()
        assert pair.buoy.plane.applied == [], "nothing is told to a stranger"


async def test_another_node_at_the_address_is_refused_before_a_word(tmp_path: Path) -> None:
    async with paired(tmp_path) as pair:
        other, _ = await pair.helm.store.run(adopt_sample_node, pair.helm.authority, "berlin")
        there = attrs.evolve(other, address=pair.node.address, control_port=pair.node.control_port)
        with meets(LinkRefusedError):
            async with pair.links.dial(there):
                pass


@pytest.mark.row(5)
async def test_node_of_another_fleet_refuses_helm_and_is_refused(tmp_path: Path) -> None:
    (tmp_path / "stranger").mkdir()
    keys = joined(tmp_path / "stranger")
    membership = keys.membership(now=utc_now())
    buoy = make_buoy(tmp_path / "stranger", keys=keys, membership=membership)
    async with paired(tmp_path) as pair, trio.open_nursery() as nursery:
        host, port = await nursery.start(
            functools.partial(serve_control, buoy.node, EventFeed(), host="127.0.0.1", port=0)
        )
        with meets(LinkRefusedError):
            async with pair.links.dial(attrs.evolve(pair.node, address=host, control_port=port)):
                pass
        nursery.cancel_scope.cancel()
    assert buoy.plane.applied == []


async def test_nobody_at_the_address_is_lost(tmp_path: Path) -> None:
    async with paired(tmp_path) as pair:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listener.socket.getsockname()[1]
        await listener.aclose()
        with meets(LinkLostError):
            async with pair.links.dial(attrs.evolve(pair.node, control_port=port)):
                pass


def led_by(pair: Pair, holder: bytes, *, previous: bytes = b"", term: int = 2) -> NodeLinks:
    """The same helm's links as another run of helm has them."""
    return attrs.evolve(pair.links, lease=Lease(holder=holder * 16, previous=previous * 16, term=term))


async def test_second_helm_gets_no_node_that_another_one_leads(tmp_path: Path) -> None:
    """Invariant: a copy of the record that is started elsewhere cannot push, whatever its term."""
    async with paired(tmp_path) as pair:
        async with linked(pair):
            await applied(pair, lambda: len(pair.buoy.plane.applied) == 1)
            with meets(LinkLostError, match="another helm"):
                async with led_by(pair, b"x").dial(pair.node) as link:
                    await link.run()
        assert pair.buoy.node.desired.fence.term == 1


async def test_helm_that_starts_again_takes_over_from_itself_at_once(tmp_path: Path) -> None:
    async with paired(tmp_path) as pair:
        async with linked(pair):
            await applied(pair, lambda: len(pair.buoy.plane.applied) == 1)
        async with linked(attrs.evolve(pair, links=led_by(pair, b"n", previous=b"h"))):
            await applied(pair, lambda: pair.buoy.node.desired.fence.term == 2)


async def test_checkpoint_that_a_change_overtakes_goes_under_the_newer_fence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_until_next_reading", lambda *_: 0.01)
    due, overtaken, kept = trio.Event(), trio.Event(), trio.Event()
    seen: list[Fence] = []

    async def care(_node: Node, report: NodeReport, _stub: object, keep: KeepCheckpoint) -> bool:
        seen.append(report.applied)
        # Beside the changes, and not as a part of one, it is first seen to when nothing has changed since.
        if seen[-2:] == [report.applied] * 2 and report.applied.revision:
            due.set()
            await overtaken.wait()
            await keep(b"")
            kept.set()
        return False

    async with paired(tmp_path) as bare:
        pair = attrs.evolve(bare, links=attrs.evolve(bare.links, care=care))
        # A refusal would be the end of the link, until its record changes.
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pair.run)
            await due.wait()
            before = pair.buoy.node.desired.fence
            device = await pair.helm.store.run(enrol_sample_device, 1)
            await applied(pair, lambda: device.id in pair.buoy.node.desired.peers)
            assert pair.buoy.node.desired.fence > before
            overtaken.set()
            with trio.fail_after(5):
                await kept.wait()
            nursery.cancel_scope.cancel()


async def test_trouble_of_an_engine_is_an_event_and_an_alert_until_it_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_until_next_reading", lambda *_: 0.02)
    troubles = ["no interface"]

    def change(report: NodeReport, _: int) -> NodeReport:
        engine = EngineReport(protocol="amneziawg", driver="kernel", trouble=troubles[0])
        return attrs.evolve(report, engines=(engine,))

    async with paired(tmp_path) as bare:
        pair = with_care(bare)
        await pair.helm.store.run(enrol_sample_device, 1)
        alter_reports(monkeypatch, change)
        async with pair.helm.context.hub.open_subscriber() as subscriber, linked(pair):
            assert (await event_of(subscriber, "engine_trouble"))["node"] == pair.node.id
            with trio.fail_after(5):
                while not (alert := await pair.helm.store.read(standing_alert, "engine_trouble", pair.node.id)):
                    await trio.testing.wait_all_tasks_blocked(0.001)
            assert "amneziawg: no interface" in alert.text
            assert pair.links.board.of(pair.node.id).machine is not None, "the node says how its machine is"
            troubles[0] = ""
            await event_of(subscriber, "engine_mended")
            with trio.fail_after(5):
                while await pair.helm.store.read(standing_alert, "engine_trouble", pair.node.id):
                    await trio.testing.wait_all_tasks_blocked(0.001)


async def test_node_that_drifts_is_put_right_and_helm_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_until_next_reading", lambda *_: 0.02)
    async with paired(tmp_path) as pair:
        phone = await pair.helm.store.run(enrol_sample_device, 1)
        async with pair.helm.context.hub.open_subscriber() as subscriber, linked(pair):
            await applied(pair, lambda: served(pair) == [phone.id])
            # As after a snapshot of the machine was put back, or somebody's hand in its files.
            await pair.buoy.state.replace(attrs.evolve(pair.buoy.node.desired, peers={}))
            assert (await event_of(subscriber, "drifted"))["node"] == pair.node.id
            await applied(pair, lambda: served(pair) == [phone.id])


async def test_flood_of_one_node_is_cut_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meter, "BURST", 5.0)
    monkeypatch.setattr(meter, "RATE", 0.0)
    async with paired(tmp_path) as pair:
        phone = await pair.helm.store.run(enrol_sample_device, 1)
        async with pair.helm.context.hub.open_subscriber() as subscriber, linked(pair):
            await watched(pair)
            for at in range(1, 100):
                pair.feed.publish(EventKind.HANDSHAKE, at=at, device_id=phone.id, detail="")
            await event_of(subscriber, "flood")
        rows = pair.helm.context.ingest.backlog.take(1000).events
        assert len([row for row in rows if row.kind == "handshake"]) <= 5
        assert [row.kind for row in rows].count("gap") >= 1


async def test_event_of_a_fast_clock_happens_when_helm_hears_it(tmp_path: Path) -> None:
    async with paired(tmp_path) as pair:
        phone = await pair.helm.store.run(enrol_sample_device, 1)
        future = now_us() + 3600 * 1_000_000
        async with pair.helm.context.hub.open_subscriber() as subscriber, linked(pair):
            await watched(pair)
            pair.feed.publish(EventKind.HANDSHAKE, at=future, device_id=phone.id, detail="")
            assert (await event_of(subscriber, "handshake"))["at"] < rfc3339(future)
