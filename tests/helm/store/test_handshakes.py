"""Live events are kept in order; the newest handshake of a device is the newest by the node's clock."""

from __future__ import annotations

from pharos.helm.store.database import Database
from pharos.helm.store.handshakes import NodeEvent, add_events, handshakes_at, newest_handshakes, prune_events
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
            (11, "gap", "one", "", "d"),
            (12, "handshake", "one", "", "d"),
        ]


def test_repeated_event_counts_once() -> None:
    with telemetry_in_memory() as db:
        first = [event(10, ONE, PHONE), event(11, ONE, None, "gap")]
        assert add_events(db, first) == first
        fresh = event(10, TWO, PHONE)
        assert add_events(db, [*first, fresh, fresh]) == [fresh]
        assert db.execute("SELECT COUNT(*) FROM events").fetchone()[0] == 3


def test_handshakes_at_a_node_are_those_of_this_node() -> None:
    with telemetry_in_memory() as db:
        add_events(db, [event(10, ONE, PHONE), event(30, TWO, PHONE), event(20, ONE, LAPTOP)])
        assert handshakes_at(db, ONE) == {PHONE: 10, LAPTOP: 20}


def left(db: Database) -> list[int]:
    return [row[0] for row in db.execute("SELECT at FROM events ORDER BY sequence")]


def test_events_go_in_the_order_in_which_they_came_whatever_their_node_says_the_time_is() -> None:
    with telemetry_in_memory() as db:
        for at, received_at in ((9_999, 1), (5, 2), (1, 30)):
            add_events(db, [event(at, ONE, PHONE)], received_at=received_at)
        assert [prune_events(db, before=10, limit=1) for _ in range(3)] == [1, 1, 0]
        assert left(db) == [1]


def test_no_more_events_stay_than_there_may_be() -> None:
    with telemetry_in_memory() as db:
        add_events(db, [event(at, ONE, PHONE) for at in range(10)], received_at=100)
        while prune_events(db, before=0, limit=3, most=4):
            pass
        assert left(db) == [6, 7, 8, 9]
