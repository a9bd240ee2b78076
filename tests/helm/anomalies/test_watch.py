"""The watch over a real record: found once, told with its evidence, and never again once it is resolved."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
import trio.testing

from pharos.helm.alerts.acts import move_alert
from pharos.helm.anomalies import watch as module
from pharos.helm.anomalies.habits import HABIT_DAYS, UPLOAD
from pharos.helm.anomalies.places import open_places
from pharos.helm.anomalies.rules import DENIED_DEVICE, IMPOSSIBLE_TRAVEL, MANY_NETWORKS
from pharos.helm.anomalies.tries import BRUTE_FORCE, TRIES, Door, Tries
from pharos.helm.anomalies.watch import Watch, run_anomalies
from pharos.helm.errors import BusyError
from pharos.helm.live.board import now_us
from pharos.helm.model.alerts import Alert
from pharos.helm.model.telemetry import Metric, NodeEvent
from pharos.helm.store.alerts import ALERTS
from pharos.helm.store.database import Database, Store
from pharos.helm.store.handshakes import add_events
from pharos.helm.store.samples import add_counts
from pharos.helm.store.sessions import apply_events
from pharos.wire.ids import DeviceId, NodeId
from pharos.wire.units import GIB, MIB
from tests.helm.anomalies.test_places import BERLIN, write_file
from tests.support.helm import enrol_sample_device, open_helm, revoke_sample_device, sample_act

MINUTE, HOUR, DAY = 60_000_000, 3_600_000_000, 86_400_000_000
ONE, TWO = NodeId("one"), NodeId("two")
HOME, CAFE = "203.0.113.5:1", "198.51.100.7:1"
SYDNEY = {
    "city": {"names": {"en": "Sydney"}},
    "location": {"latitude": -33.87, "longitude": 151.21, "accuracy_radius": 20},
}


def connected(
    db: Database, device: DeviceId, begun: int, minutes: int, endpoint: str = HOME, node: NodeId = ONE
) -> None:
    """Have a node tell of a handshake each two minutes, as it does."""
    events = [
        NodeEvent(at=begun + n * MINUTE, kind="handshake", node_id=node, device_id=device, detail=endpoint)
        for n in range(0, minutes + 1, 2)
    ]
    apply_events(db, add_events(db, events))


def alerts(db: Database) -> list[Alert]:
    return [ALERTS.load(row) for row in db.execute(f"SELECT {ALERTS.all_columns} FROM alerts ORDER BY id")]


async def resolve(store: Store, alert: Alert, *, at: int) -> None:
    await store.run(move_alert, sample_act(at=at), alert.id, alert.version, "resolve")


async def test_copied_profile_is_found_once_and_again_only_if_it_goes_on(tmp_path: Path) -> None:
    now = now_us()
    async with open_helm(tmp_path) as helm:
        device = await helm.store.run(enrol_sample_device, 1, "phone")
        await helm.store.record(connected, device.id, now - HOUR, 30)
        await helm.store.record(connected, device.id, now - HOUR + 4 * MINUTE, 20, CAFE, TWO)
        watch = Watch(helm.store, Tries())
        await watch.look(now)
        await watch.look(now + MINUTE)
        (alert,) = await helm.store.read(alerts)
        assert (alert.kind, alert.noun, alert.subject) == (MANY_NETWORKS, "device", device.id)
        assert "device phone connected from 203.0.113.5 and from 198.51.100.7" in alert.text
        assert {alert.evidence["first_node"], alert.evidence["second_node"]} == {ONE, TWO}
        await resolve(helm.store, alert, at=now)
        # A helm that starts anew looks back over a day and sees the same sessions.
        await Watch(helm.store, Tries()).look(now + MINUTE)
        assert len(await helm.store.read(alerts)) == 1
        later = now + 10 * MINUTE
        await helm.store.record(connected, device.id, later, 20)
        await helm.store.record(connected, device.id, later, 20, CAFE, TWO)
        await watch.look(later + 20 * MINUTE)
        assert len(await helm.store.read(alerts)) == 2


async def test_device_that_a_node_serves_after_its_revocation_is_found(tmp_path: Path) -> None:
    async with open_helm(tmp_path) as helm:
        device = await helm.store.run(enrol_sample_device, 1, "phone")
        revoked = await helm.store.run(revoke_sample_device, device.id)
        await helm.store.record(connected, device.id, revoked.updated_at - HOUR, 58)
        watch = Watch(helm.store, Tries())
        await watch.look(revoked.updated_at + MINUTE)
        assert await helm.store.read(alerts) == []
        # The session began long ago, and simply goes on.
        await helm.store.record(connected, device.id, revoked.updated_at, 10)
        await watch.look(revoked.updated_at + 11 * MINUTE)
        (alert,) = await helm.store.read(alerts)
        assert (alert.kind, alert.subject, alert.evidence["node"]) == (DENIED_DEVICE, device.id, ONE)


async def test_travel_is_looked_for_where_a_file_says_where_addresses_are(tmp_path: Path) -> None:
    now = now_us()
    path = write_file(tmp_path / "geo.mmdb", {"203.0.113.0/24": BERLIN, "198.51.100.0/24": SYDNEY})
    async with open_helm(tmp_path) as helm:
        await helm.store.record(connected, DeviceId("gone"), now - 3 * HOUR, 10)
        await helm.store.record(connected, DeviceId("gone"), now - 2 * HOUR, 10, CAFE)
        assert await Watch(helm.store, Tries()).look(now) == []
        with open_places(path) as places:
            (found,) = await Watch(helm.store, Tries(), places).look(now)
        assert (found.kind, found.evidence["second_place"]) == (IMPOSSIBLE_TRAVEL, "Sydney")


async def test_upload_of_one_day_is_compared_with_all_nodes_and_days_before(tmp_path: Path) -> None:
    now = now_us()
    device = DeviceId("phone")
    async with open_helm(tmp_path) as helm:
        for day in range(1, HABIT_DAYS + 5):
            for node in (ONE, TWO):
                await helm.store.record(
                    add_counts, node, {(device, Metric.RECEIVED): 10 * MIB}, at=now - day * DAY - 2 * HOUR
                )
        for node in (ONE, TWO):
            await helm.store.record(add_counts, node, {(device, Metric.RECEIVED): GIB}, at=now - HOUR)
        (found,) = await Watch(helm.store, Tries()).look(now)
        assert (found.kind, found.subject) == (UPLOAD, device)
        assert found.evidence == {"bytes": 2 * GIB, "median": 20 * MIB, "most": 20 * MIB, "days": HABIT_DAYS}


async def test_refused_tries_that_could_not_be_written_down_are_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = Tries()
    async with open_helm(tmp_path) as helm:
        watch = Watch(helm.store, tries)
        for n in range(TRIES):
            tries.refused(Door.LOGIN, "ada", n)

        def busy(*_: object) -> None:
            raise BusyError("busy")

        with monkeypatch.context() as patched:
            patched.setattr(module, "write_down", busy)
            with pytest.raises(BusyError):
                await watch.look(now_us())
        await watch.look(now_us())
        (alert,) = await helm.store.read(alerts)
        assert (alert.kind, alert.subject) == (BRUTE_FORCE, "login:ada")


async def test_watch_goes_on_when_the_record_is_busy_and_without_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOK_EVERY", 0.01)
    looks = 0
    looked = trio.Event()

    async def look(_watch: Watch, _now: int) -> list[object]:
        nonlocal looks
        looks += 1
        await trio.lowlevel.checkpoint()
        if looks == 1:
            raise BusyError("busy")
        looked.set()
        return []

    monkeypatch.setattr(Watch, "look", look)
    async with open_helm(tmp_path) as helm, trio.open_nursery() as nursery:
        nursery.start_soon(run_anomalies, helm.store, Tries(), str(tmp_path / "absent.mmdb"))
        await looked.wait()
        nursery.cancel_scope.cancel()
