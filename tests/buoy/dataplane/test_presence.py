"""A device is there while it has a connection, and for a little longer."""

from __future__ import annotations

import attrs

from pharos.buoy.dataplane.presence import LINGER, Presence
from pharos.wire.convert import EventKind
from pharos.wire.ids import DeviceId

PHONE = DeviceId("phone")
BEGINS = [EventKind.HANDSHAKE, EventKind.CONNECTED]


@attrs.define
class Told:
    events: list[tuple[EventKind, str]] = attrs.field(factory=list)

    def __call__(self, kind: EventKind, *, at: int, device_id: DeviceId, detail: str) -> None:
        assert (at, device_id) == (at, PHONE)
        self.events.append((kind, detail))

    def kinds(self) -> list[EventKind]:
        return [kind for kind, _ in self.events]


def test_many_short_connections_are_one_visit() -> None:
    told = Told()
    presence = Presence(told)
    for second in range(0, 60, 3):
        presence.begin(PHONE, source="192.0.2.7", at=second)
        presence.end(PHONE, now=second + 1)
        presence.review(now=second + 2, at=second)
    assert told.kinds() == BEGINS
    assert presence.last_seen[PHONE] == 57
    presence.review(now=58 + LINGER, at=70)
    assert told.events[-1] == (EventKind.DISCONNECTED, "silent")
    presence.begin(PHONE, source="192.0.2.7", at=80)
    assert told.kinds() == [*BEGINS, EventKind.DISCONNECTED, *BEGINS]


def test_device_stays_while_one_of_its_connections_does() -> None:
    told = Told()
    presence = Presence(told)
    presence.begin(PHONE, source="a", at=0)
    presence.begin(PHONE, source="b", at=1)
    presence.end(PHONE, now=2)
    presence.review(now=100, at=100)
    assert told.kinds() == BEGINS
    assert told.events[0] == (EventKind.HANDSHAKE, "a")


def test_device_that_was_taken_away_is_gone_at_once_and_for_its_reason() -> None:
    told = Told()
    presence = Presence(told)
    presence.begin(PHONE, source="a", at=0)
    presence.forget(PHONE, reason="revoked", at=1)
    presence.end(PHONE, now=2)
    presence.review(now=100, at=100)
    assert told.events[2:] == [(EventKind.DISCONNECTED, "revoked")]
    presence.forget(PHONE, at=3)
    assert len(told.events) == 3
