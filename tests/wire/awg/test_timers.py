import attrs
from hypothesis import given
from hypothesis import strategies as st

from pharos.wire.awg.timers import NEVER, DeadlineQueue, PeerTimers


@attrs.define(eq=False)
class FakePeer:
    timers: PeerTimers = attrs.Factory(PeerTimers)
    wakes_at: float = NEVER


def arm(queue, peer, deadline):
    peer.timers.keepalive = deadline
    queue.schedule(peer, deadline)


def fire(queue, now):
    fired = []
    for peer in queue.due(now):
        peer.timers.keepalive = NEVER
        fired.append(peer)
    return fired


def test_peers_fire_in_order_of_their_deadlines():
    queue, early, late = DeadlineQueue(), FakePeer(), FakePeer()
    arm(queue, late, 20.0)
    arm(queue, early, 10.0)
    assert queue.next_deadline() == 10.0
    assert fire(queue, 9.9) == []
    assert fire(queue, 20.0) == [early, late]
    assert queue.next_deadline() == NEVER


def test_a_deadline_moved_back_costs_no_entry_and_fires_at_its_time():
    queue, peer = DeadlineQueue(), FakePeer()
    for deadline in range(10, 1000):
        arm(queue, peer, float(deadline))
    assert len(queue._heap) == 1
    assert fire(queue, 10.0) == []
    assert queue.next_deadline() == 999.0
    assert fire(queue, 999.0) == [peer]


def test_a_deadline_moved_forward_fires_early_and_once():
    queue, peer = DeadlineQueue(), FakePeer()
    arm(queue, peer, 100.0)
    arm(queue, peer, 5.0)
    assert fire(queue, 5.0) == [peer]
    assert fire(queue, 100.0) == []


def test_a_forgotten_peer_never_fires():
    queue, peer = DeadlineQueue(), FakePeer()
    arm(queue, peer, 5.0)
    queue.forget(peer)
    assert fire(queue, 1000.0) == []
    assert queue.next_deadline() == NEVER


def test_superseded_deadlines_are_swept_out():
    queue, peers = DeadlineQueue(), [FakePeer() for _ in range(50)]
    now = 0.0
    for _ in range(200):
        for peer in peers:
            peer.timers.forget = now + 540.0
            queue.schedule(peer, peer.timers.forget)
            arm(queue, peer, now + 10.0)
        now += 10.0
        assert len(fire(queue, now)) == len(peers)
        assert len(queue._heap) <= 2 * len(peers) + 1
    for peer in peers:
        queue.forget(peer)
    assert len(queue._heap) <= 1
    assert fire(queue, NEVER) == []


@given(st.lists(st.tuples(st.integers(0, 3), st.floats(0, 50), st.booleans()), max_size=60))
def test_no_peer_is_ever_late(steps):
    queue, now = DeadlineQueue(), 0.0
    peers = [FakePeer() for _ in range(4)]
    for number, delay, clear in steps:
        if clear:
            peers[number].timers.keepalive = NEVER
        else:
            arm(queue, peers[number], now + delay)
        assert queue.next_deadline() <= min(peer.timers.earliest() for peer in peers)
        now += 1.0
        fire(queue, now)
        assert all(peer.timers.earliest() > now for peer in peers)
