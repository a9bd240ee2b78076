"""What an engine shows or tells becomes what the agent hears: who came, who is there, who went and why."""

from __future__ import annotations

import attrs
import pytest

from pharos.buoy.dataplane.base import AwgEndpoint, AwgPeer
from pharos.buoy.dataplane.roster import REJECT_AFTER, Roster, Sighting, silence_of
from pharos.wire.awg.events import HandshakeCompleted, PeerCounted, PeerEndpointChanged, SessionEnded
from pharos.wire.awg.params import PLAIN, ObfuscationParameters
from pharos.wire.awg.ranges import Range
from pharos.wire.convert import EventKind
from pharos.wire.ids import DeviceId
from tests.buoy.dataplane.plans import device, plan_of

HANDSHAKE, CONNECTED, DISCONNECTED = EventKind.HANDSHAKE, EventKind.CONNECTED, EventKind.DISCONNECTED
START = 1_700_000_000
HOME = ("198.51.100.7", 40000)
SECOND = 1_000_000_000


@attrs.define
class Playing:
    """A roster with a clock of its own: ``time`` is seconds since it began."""

    engines: int = 1
    time: float = 0.0
    heard: list[tuple[EventKind, DeviceId, str, float]] = attrs.field(factory=list)
    roster: Roster = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.roster = Roster(self.engines, self._on_event)

    @property
    def at_ns(self) -> int:
        return round((START + self.time) * SECOND)

    def _on_event(self, kind: EventKind, *, at: int, device_id: DeviceId, detail: str) -> None:
        self.heard.append((kind, device_id, detail, at / 1_000_000 - START))

    def take(self) -> list[tuple[EventKind, DeviceId, str, float]]:
        taken, self.heard = self.heard, []
        return taken

    def adopt(self, *peers: AwgPeer, reasons: dict[DeviceId, str] | None = None) -> None:
        self.roster.adopt(plan_of(*peers), reasons or {}, at_ns=self.at_ns)

    def see(self, *sightings: Sighting, engine: int = 0) -> None:
        self.roster.see(engine, sightings, now=self.time, at_ns=self.at_ns)

    def review(self) -> None:
        self.roster.review(now=self.time, at_ns=self.at_ns)

    def hear(self, event: HandshakeCompleted | PeerCounted | SessionEnded | PeerEndpointChanged) -> None:
        self.roster.hear(event, now=self.time, at_ns=self.at_ns)

    def handshake(self, number: int = 0) -> HandshakeCompleted:
        return HandshakeCompleted(peer=device(number).public_key, endpoint=HOME, initiator=False, at_ns=self.at_ns)


def sight(number: int = 0, *, shaken: float | None = None, received: int = 0, sent: int = 0) -> Sighting:
    return Sighting(
        public_key=device(number).public_key,
        endpoint=None if shaken is None else HOME,
        last_handshake_ns=0 if shaken is None else round((START + shaken) * SECOND),
        received=received,
        sent=sent,
    )


WHERE = "198.51.100.7:40000"


def test_a_handshake_that_has_moved_is_told_and_the_first_one_connects() -> None:
    play = Playing()
    play.adopt(device(0))
    play.see(sight())
    assert play.take() == []
    play.time = 10
    play.see(sight(shaken=9.5))
    assert play.take() == [(HANDSHAKE, "d0", WHERE, 9.5), (CONNECTED, "d0", WHERE, 9.5)]
    play.see(sight(shaken=9.5))
    assert play.take() == []
    play.time = 130
    play.see(sight(shaken=129.5))
    assert play.take() == [(HANDSHAKE, "d0", WHERE, 129.5)]


def test_a_device_without_a_handshake_for_three_minutes_has_gone() -> None:
    play = Playing()
    play.adopt(device(0))
    play.see(sight(shaken=0))
    play.take()
    play.time = REJECT_AFTER - 0.1
    play.review()
    assert play.take() == []
    play.time = REJECT_AFTER
    play.review()
    play.review()
    assert play.take() == [(DISCONNECTED, "d0", "silent", REJECT_AFTER)]
    play.see(sight(shaken=179))
    assert play.take() == [(HANDSHAKE, "d0", WHERE, 179), (CONNECTED, "d0", WHERE, 179)]


def test_a_session_that_outlived_the_agent_is_connected_without_a_handshake() -> None:
    play = Playing(time=100)
    play.adopt(device(0), device(1))
    play.see(sight(0, shaken=20), sight(1, shaken=-90))
    assert play.take() == [(CONNECTED, "d0", WHERE, 20)]
    play.time = 200
    play.review()
    assert play.take() == [(DISCONNECTED, "d0", "silent", 200)]


def test_a_handshake_of_the_second_in_which_the_device_joined_is_told() -> None:
    play = Playing(time=100.9)
    play.adopt(device(0))
    play.time = 101
    play.see(sight(shaken=100))
    assert play.take() == [(HANDSHAKE, "d0", WHERE, 100), (CONNECTED, "d0", WHERE, 100)]


def test_who_is_taken_away_is_told_with_the_reason_and_forgotten() -> None:
    play = Playing()
    play.adopt(device(0), device(1))
    play.see(sight(0, shaken=0, received=5), sight(1, shaken=0))
    play.take()
    play.adopt(device(1), reasons={DeviceId("d0"): "expired"})
    assert play.take() == [(DISCONNECTED, "d0", "expired", 0)]
    assert [counters.device_id for counters in play.roster.counters()] == ["d1"]
    # The engine's own word comes when nobody knows any more whose key it was.
    play.hear(SessionEnded(peer=device(0).public_key))
    play.adopt()
    assert play.take() == [(DISCONNECTED, "d1", "removed", 0)]


def test_a_device_with_a_new_key_is_gone_until_that_is_heard_and_its_octets_go_on() -> None:
    play = Playing()
    play.adopt(device(0))
    play.see(sight(shaken=0, received=100, sent=10))
    play.take()
    changed = device(0, public_key=device(1).public_key)
    play.adopt(changed)
    assert play.take() == [(DISCONNECTED, "d0", "removed", 0)]
    play.see(sight(1, shaken=1, received=7, sent=1))
    assert [kind for kind, *_ in play.take()] == [HANDSHAKE, CONNECTED]
    (counters,) = play.roster.counters()
    assert (counters.received, counters.sent) == (107, 11)


def test_keys_that_change_hands_belong_to_their_new_owners() -> None:
    play = Playing()
    one, two = device(0), device(1)
    play.adopt(one, two)
    play.adopt(
        attrs.evolve(one, public_key=two.public_key),
        attrs.evolve(two, public_key=one.public_key),
    )
    play.hear(play.handshake(0))
    assert {device_id for _, device_id, *_ in play.take()} == {"d1"}
    play.hear(play.handshake(1))
    assert {device_id for _, device_id, *_ in play.take()} == {"d0"}


def test_a_peer_that_changed_otherwise_stays_connected() -> None:
    play = Playing()
    play.adopt(device(0))
    play.see(sight(shaken=0))
    play.take()
    play.adopt(device(0, rate_limit=8))
    assert play.take() == []


@pytest.mark.parametrize("after", [[], [sight()]], ids=["without the peer", "without its session"])
def test_an_engine_that_began_anew_has_lost_its_sessions_and_sums_go_on(after: list[Sighting]) -> None:
    play = Playing()
    play.adopt(device(0))
    play.see(sight(shaken=0, received=100, sent=10))
    play.take()
    play.time = 5
    play.see(*after)
    assert play.take() == [(DISCONNECTED, "d0", "silent", 5)]
    play.see(sight(shaken=6, received=150, sent=20))
    assert [kind for kind, *_ in play.take()] == [HANDSHAKE, CONNECTED]
    (counters,) = play.roster.counters()
    assert (counters.received, counters.sent, counters.last_handshake) == (250, 30, (START + 6) * 1_000_000)


def test_events_of_our_engine_say_the_same_and_what_is_seen_besides_is_not_told_twice() -> None:
    play = Playing()
    play.adopt(device(0))
    play.time = 3
    shaken = play.handshake()
    play.hear(shaken)
    assert play.take() == [(HANDSHAKE, "d0", WHERE, 3), (CONNECTED, "d0", WHERE, 3)]
    play.hear(shaken)
    play.see(sight(shaken=3))
    play.hear(PeerCounted(peer=device(0).public_key, received_bytes=9, sent_bytes=8))
    play.hear(PeerEndpointChanged(peer=device(0).public_key, endpoint=HOME, previous=None))
    play.hear(play.handshake(1))
    assert play.take() == []
    (counters,) = play.roster.counters()
    assert (counters.received, counters.sent) == (9, 8)
    play.time = 90
    play.hear(SessionEnded(peer=device(0).public_key))
    assert play.take() == [(DISCONNECTED, "d0", "silent", 90)]


def test_a_device_is_where_its_last_handshake_was() -> None:
    play = Playing(engines=2)
    play.adopt(device(0), device(1))
    play.see(sight(0, shaken=0, received=10), sight(1, shaken=0))
    play.time = 5
    play.see(sight(0, shaken=4, received=3), sight(1), engine=1)
    assert play.roster.connected_at(1) == (device(0),)
    assert play.roster.connected_at(0) == (device(1),)
    assert {counters.device_id: counters.received for counters in play.roster.counters()} == {"d0": 13, "d1": 0}
    assert DISCONNECTED not in [kind for kind, *_ in play.take()]
    # The older one is not the one that counts.
    play.see(sight(0), sight(1, shaken=0))
    assert play.take() == []
    play.see(engine=1)
    assert play.take() == [(DISCONNECTED, "d0", "silent", 5)]


def test_nobody_is_served_by_a_plan_without_endpoints() -> None:
    play = Playing()
    play.adopt(device(0))
    play.see(sight(shaken=0))
    play.take()
    play.roster.adopt(plan_of(device(0), endpoints=()), {}, at_ns=play.at_ns)
    assert play.take() == [(DISCONNECTED, "d0", "removed", 0)]
    assert play.roster.counters() == []


def test_sessions_last_as_long_as_the_parameters_say() -> None:
    slow = ObfuscationParameters(reject_after_time=Range(200, 240))
    endpoints = tuple(AwgEndpoint(port=port, parameters=each) for port, each in ((1, PLAIN), (2, slow)))
    assert silence_of(plan_of(endpoints=endpoints)) == 240
    assert silence_of(plan_of(endpoints=endpoints[:1])) == REJECT_AFTER
    assert silence_of(plan_of(endpoints=())) == REJECT_AFTER
