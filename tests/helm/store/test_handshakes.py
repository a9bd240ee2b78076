"""Live events are kept in order; the newest handshake of a device is the newest by the node's clock."""

from __future__ import annotations

from pharos.helm.store.handshakes import NodeEvent, add_events, newest_handshakes
from pharos.wire.ids import DeviceId, NodeId
from tests.support.helm import telemetry_in_memory

PHONE, LAPTOP = DeviceId("phone"), DeviceId("laptop")
ONE, TWO = NodeId("one"), NodeId("two")


def event(at: int, node: NodeId, device: DeviceId | None, kind: str = "handshake") -> NodeEvent:
    return NodeEvent(at=at, kind=kind, node_id=node, device_id=device, detail="d")


def test_newest_handshake_of_each_device_is_known_with_its_node() -> None:
    with telemetry_in_memory() as db:
        assert newest_handshakes(db) == {}
        add_events(db, [event(10, ONE, PHONE), event(30, TWO, PHONE), event(20, ONE, LAPTOP)])
        assert newest_handshakes(db) == {PHONE: (TWO, 30), LAPTOP: (ONE, 20)}


def test_late_report_of_an_older_handshake_changes_nothing() -> None:
    with telemetry_in_memory() as db:
        add_events(db, [event(30, ONE, PHONE)])
        add_events(db, [event(10, ONE, PHONE)])
        assert newest_handshakes(db) == {PHONE: (ONE, 30)}


def test_other_events_are_kept_and_are_no_handshakes() -> None:
    with telemetry_in_memory() as db:
        add_events(db, [event(10, ONE, PHONE, "connected"), event(11, ONE, None, "gap"), event(12, ONE, None)])
        assert newest_handshakes(db) == {}
        rows = db.execute("SELECT at, kind, node_id, device_id, detail FROM events ORDER BY sequence").fetchall()
        assert [tuple(row) for row in rows] == [
            (10, "connected", "one", "phone", "d"),
            (11, "gap", "one", None, "d"),
            (12, "handshake", "one", None, "d"),
        ]
