from __future__ import annotations

from ipaddress import ip_address

import pytest

from pharos.buoy.dataplane.presence import LINGER, Presence
from pharos.buoy.roothelper.acts import SocketAddress, SocketPair
from pharos.buoy.xray.accesslog import Connected
from pharos.buoy.xray.joiner import Joiner
from pharos.wire.convert import EventKind
from pharos.wire.ids import DeviceId
from tests.buoy.xray.rig import Told

ALICE, BOB = DeviceId("alice"), DeviceId("bob")
CONNECTED, DISCONNECTED = EventKind.CONNECTED, EventKind.DISCONNECTED


def source(port: int, host: str = "203.0.113.7") -> SocketAddress:
    return SocketAddress(ip_address(host), port)


def pair(port: int, host: str = "203.0.113.7") -> SocketPair:
    return SocketPair(SocketAddress(ip_address("192.0.2.1"), 443), source(port, host))


class Scene:
    def __init__(self) -> None:
        self.told = Told()
        self.presence = Presence(self.told)
        self.joiner = Joiner(self.presence)
        self.now = 100.0

    def hear(self, device_id: DeviceId, port: int, host: str = "203.0.113.7") -> None:
        self.joiner.hear(Connected(device_id, source(port, host)), now=self.now, at=int(self.now * 1e6))

    def look(self, *pairs: SocketPair, after: float = 2.0) -> None:
        self.now += after
        self.joiner.look(pairs, asked_at=self.now, now=self.now)
        self.presence.review(now=self.now, at=int(self.now * 1e6))

    @property
    def seen(self) -> list[tuple[EventKind, str, str]]:
        return [one for one in self.told.events if one[0] is not EventKind.HANDSHAKE]


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_a_device_is_there_until_it_has_had_no_connection_for_a_while(scene: Scene) -> None:
    scene.hear(ALICE, 1)
    scene.look(pair(1))
    scene.look(pair(1))
    scene.look()
    assert scene.seen == [(CONNECTED, "alice", "203.0.113.7")]
    scene.look(after=LINGER - 0.1)
    assert len(scene.seen) == 1
    scene.look(after=0.2)
    assert scene.seen[1:] == [(DISCONNECTED, "alice", "silent")]
    assert len(scene.joiner) == 0


def test_one_connection_after_another_is_one_presence(scene: Scene) -> None:
    for port in range(1, 20):
        scene.hear(ALICE, port)
        scene.look(pair(port))
    assert len(scene.seen) == 1


def test_many_streams_in_one_connection_are_one(scene: Scene) -> None:
    scene.hear(ALICE, 1)
    scene.hear(ALICE, 1)
    assert len(scene.joiner) == 1
    scene.look()
    scene.look(after=LINGER + 1)
    assert scene.seen[-1] == (DISCONNECTED, "alice", "silent")


def test_a_look_that_began_before_a_connection_did_not_miss_it(scene: Scene) -> None:
    asked_at = scene.now
    scene.now += 0.1
    scene.hear(ALICE, 1)
    scene.joiner.look([], asked_at=asked_at, now=scene.now)
    assert len(scene.joiner) == 1


def test_an_address_that_is_used_again_is_the_latest_ones(scene: Scene) -> None:
    scene.hear(ALICE, 1)
    scene.hear(BOB, 1)
    assert scene.joiner.sockets_of({ALICE}, [pair(1)]) == ()
    assert scene.joiner.sockets_of({BOB}, [pair(1)]) == (pair(1),)
    scene.look(pair(1), after=LINGER + 1)
    assert scene.seen[-1] == (DISCONNECTED, "alice", "silent")


def test_sockets_are_those_of_the_devices_asked_for(scene: Scene) -> None:
    scene.hear(ALICE, 1)
    scene.hear(ALICE, 2)
    scene.hear(BOB, 3)
    there = [pair(1), pair(2), pair(3), pair(4)]
    assert scene.joiner.sockets_of({ALICE}, there) == (pair(1), pair(2))
    # Known to be Bob's is not Alice's, though they share an address; what nobody knows is.
    assert scene.joiner.sockets_of({ALICE}, there, elsewhere={ip_address("203.0.113.7")}) == (pair(1), pair(2), pair(4))


def test_who_is_taken_away_is_gone_at_once_and_once(scene: Scene) -> None:
    scene.hear(ALICE, 1)
    scene.joiner.forget(ALICE, reason="expired", at=5)
    scene.joiner.forget(BOB, at=5)
    scene.look(after=LINGER + 1)
    assert scene.seen[1:] == [(DISCONNECTED, "alice", "expired")]
    assert len(scene.joiner) == 0
