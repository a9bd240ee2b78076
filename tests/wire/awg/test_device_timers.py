"""Two devices over minutes and hours of virtual time."""

import itertools
import random

import pytest

from pharos.wire.awg.events import HandshakeCompleted, HandshakeGaveUp, SessionEnded
from pharos.wire.awg.timers import NEVER
from tests.wire.awg.simulated import LATENCY, connected_pair, unconnected_pair


def times_of(network, host, size):
    return [round(sent.at, 2) for sent in network.sent if sent.source == host.address and len(sent.datagram) == size]


def cut(sent):
    return []


def whole(sent):
    return [LATENCY]


def test_an_idle_tunnel_is_silent_and_lets_go_of_its_keys():
    network, client, server = connected_pair()
    before = len(network.sent)
    network.run(3600)
    assert len(network.sent) == before
    for host in (client, server):
        assert len(host.heard(SessionEnded)) == 1
        assert not host.device._context.sessions
        assert host.device.next_deadline() == NEVER
    (ended_at,) = [at for at, event in client.events if isinstance(event, SessionEnded)]
    assert ended_at == pytest.approx(180 + 2 * LATENCY)


def test_keys_are_gone_after_540_seconds():
    network, client, server = connected_pair()
    network.run(538)
    assert client.device._context.sessions
    network.run(3)
    assert not client.device._context.sessions
    assert not server.device._context.sessions


def test_the_initiator_rekeys_at_120_seconds_when_it_sends():
    network, client, server = connected_pair()
    for _ in range(130):
        network.send(client, server)
        network.run(1)
    assert times_of(network, client, 148) == [0.0, 121.0]
    assert len(server.packets) == 130
    assert len(client.heard(HandshakeCompleted)) == len(server.heard(HandshakeCompleted)) == 2


def test_the_responder_does_not_rekey_by_age():
    network, client, server = connected_pair()
    for _ in range(160):
        network.send(server, client)
        network.run(1)
    assert times_of(network, server, 148) == []
    assert len(client.packets) == 160


def test_the_initiator_rekeys_when_it_receives_near_the_end():
    network, client, server = connected_pair()
    network.run(163)
    network.send(server, client)
    network.run(2)
    assert times_of(network, client, 148) == [0.0]  # At 164 s: its keepalive will see to it.
    network, client, server = connected_pair()
    network.run(165)
    for _ in range(3):
        network.send(server, client)
        network.run(1)
    assert times_of(network, client, 148) == [0.0, 166.01]
    assert len(client.packets) == 3


def packets_at_age(age, reject_after=180.0):
    network, client, server = connected_pair()
    for host in (client, server):
        for _, session in host.device._context.sessions.values():
            session.expires_at = session.created_at + reject_after
    network.run(age - 1)
    network.filter = lambda sent: [] if len(sent.datagram) in (148, 92) else [LATENCY]
    network.send(server, client)
    network.run(1)
    return len(client.packets)


def test_a_session_carries_nothing_after_180_seconds():
    assert packets_at_age(179) == 1
    assert packets_at_age(180.5) == 0
    assert packets_at_age(180.5, reject_after=300) == 1  # So the test would notice.


def test_a_packet_under_way_at_the_end_is_refused():
    network, client, server = connected_pair()
    network.run(178.9)
    network.filter = lambda sent: [0.5]
    network.send(server, client)
    network.run(0.6)
    assert client.packets == []


def test_initiations_are_repeated_every_5_seconds_and_given_up_after_90():
    network, client, server = unconnected_pair()
    network.filter = cut
    network.send(client, server)
    network.run(300)
    times = times_of(network, client, 148)
    assert len(times) == 18
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert all(5 <= gap <= 5.34 for gap in gaps)
    assert len(set(gaps)) > 3  # Jitter.
    ((gave_up_at, event),) = client.events
    assert event == HandshakeGaveUp(peer=server.public_key, attempts=18)
    assert 90 <= gave_up_at <= 96.1


def test_staged_packets_are_dropped_when_given_up_and_the_next_begins_anew():
    network, client, server = unconnected_pair()
    network.filter = cut
    network.send(client, server, b"stale")
    network.run(100)
    network.filter = whole
    sent = network.send(client, server, b"fresh")
    network.run(1)
    assert server.packets == [sent]


def test_packets_keep_a_failing_handshake_trying():
    network, client, server = unconnected_pair()
    network.filter = cut
    for _ in range(20):
        network.send(client, server)
        network.run(10)
    assert not client.heard(HandshakeGaveUp)
    assert len(times_of(network, client, 148)) > 36


def test_received_data_is_answered_by_a_keepalive_after_10_seconds():
    network, client, server = connected_pair()
    network.send(server, client)
    network.run(60)
    # The first keepalive confirmed the session at 0.02 s.
    assert times_of(network, client, 32) == [0.02, 11.01]


def test_data_that_goes_back_saves_the_keepalive():
    network, client, server = connected_pair()
    network.send(server, client)
    network.run(5)
    network.send(client, server)
    network.run(9)
    assert times_of(network, client, 32) == [0.02]


def test_more_data_while_a_keepalive_is_due_earns_another():
    network, client, server = connected_pair()
    network.send(server, client)
    network.run(5)
    network.send(server, client)
    network.run(60)
    assert times_of(network, client, 32) == [0.02, 11.01, 21.01]


def test_a_keepalive_is_not_answered():
    network, client, server = connected_pair(persistent_keepalive=25.0)
    server_sent = len(network.sizes(server))
    network.introduce(server, client, endpoint=False)
    network.run(100)
    assert len(network.sizes(server)) == server_sent


def test_data_without_an_answer_brings_a_new_handshake_after_15_seconds():
    network, client, server = connected_pair()
    forgetful = server.device
    for public_key in [status.public_key for status in forgetful.statuses(network.now)]:
        forgetful.remove_peer(public_key)  # The server was restarted: it knows its peers, but no session.
    network.introduce(server, client, endpoint=False)
    network.send(client, server, b"lost")
    network.run(14.9)
    assert times_of(network, client, 148) == [0.0]
    network.run(1)
    assert len(times_of(network, client, 148)) == 2
    sent = network.send(client, server, b"arrives")
    network.run(1)
    assert server.packets == [sent]


def test_a_persistent_keepalive_makes_and_keeps_the_tunnel():
    network, client, _ = unconnected_pair(persistent_keepalive=25.0)
    network.run(1000)
    assert times_of(network, client, 148)[0] == 0.0
    sent = sorted(sent.at for sent in network.sent)
    assert max(later - earlier for earlier, later in itertools.pairwise(sent)) <= 25.1
    assert network.status(client, network.hosts[1]).session_age is not None


def test_a_persistent_keepalive_outlives_a_long_cut():
    network, client, server = connected_pair(persistent_keepalive=25.0)
    network.filter = cut
    network.run(2000)
    assert client.heard(SessionEnded)
    network.filter = whole
    network.run(60)
    assert network.status(client, server).session_age is not None


def test_a_persistent_keepalive_can_be_turned_off():
    network, client, server = connected_pair(persistent_keepalive=25.0)
    for host, other, endpoint in ((client, server, True), (server, client, False)):
        network.introduce(host, other, endpoint=endpoint, persistent_keepalive=0.0)
    before = len(network.sent)
    network.run(100)
    assert len(network.sent) == before


def test_a_handshake_asked_for_too_early_follows_when_it_may():
    network, client, server = connected_pair()
    client.device.initiate_handshake(server.public_key, network.now)
    network.collect(client)
    network.run(3.9)
    assert times_of(network, client, 148) == [0.0]
    network.run(0.2)
    assert times_of(network, client, 148) == [0.0, 5.0]


def test_the_wall_clock_may_go_back():
    network, client, server = connected_pair()
    start = network.wall_clock
    client.device._context.timestamps._wall_clock = lambda: start() - 10**15
    network.run(200)
    sent = network.send(client, server)
    network.run(1)
    assert server.packets == [sent]


@pytest.mark.parametrize("seed", range(3))
def test_a_day_of_bad_weather(seed):
    weather = random.Random(seed)
    network, client, server = connected_pair(persistent_keepalive=25.0)
    network.filter = lambda sent: [] if weather.random() < 0.3 else [weather.uniform(0.01, 2.0)]
    for _ in range(300):
        network.run(weather.uniform(0, 60))
        network.send(client, server)
        network.send(server, client)
    network.filter = whole
    network.run(30)
    client.packets.clear()
    server.packets.clear()
    network.send(client, server)
    network.send(server, client)
    network.run(20)
    assert client.packets
    assert server.packets
    for host in (client, server):
        assert len(host.device._context.sessions) <= 3
        assert len(host.device._context.pending) <= 1
        assert len(host.device._context.deadlines._heap) < 10
