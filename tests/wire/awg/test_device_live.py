"""What an operator changes while a device runs: keys, peers, faces, rates."""

import itertools
from ipaddress import ip_network

import attrs
import pytest

from pharos.wire.awg.batches import SlicedBuffer
from pharos.wire.awg.config import PeerConfig
from pharos.wire.awg.device import Device
from pharos.wire.awg.events import HandshakeCompleted, SessionEnded
from pharos.wire.awg.generate import generate
from pharos.wire.awg.keys import generate_private_key
from pharos.wire.awg.limits import MIN_BURST_BYTES
from pharos.wire.awg.params import PLAIN, Generation, ObfuscationParameters
from pharos.wire.awg.ranges import Range
from pharos.wire.awg.sending import OutgoingBuffer
from pharos.wire.errors import LocalProtocolError, ParameterError
from tests.wire.awg.innerpackets import in_rows
from tests.wire.awg.simulated import Network, connected_pair, packet_between, unconnected_pair

SECOND_FACE = 7
OTHER = generate(Network(seed=7).random, Generation.V3_1)


# Keys


def test_a_new_private_key_ends_every_session_and_keeps_the_peers():
    network, client, server = connected_pair()
    configs = server.device.configs()
    private_key = generate_private_key(network.random)
    server.device.set_private_key(private_key, network.now)
    network.collect(server)
    assert server.heard(SessionEnded)
    assert server.device.configs() == configs
    network.send(client, server)
    network.run(1)
    assert server.packets == []  # It is nobody the client knows.
    network.introduce(client, server, endpoint=True)
    sent = network.send(client, server)
    network.run(6)
    assert server.packets == [sent]


def test_the_private_key_that_is_there_already_changes_nothing():
    network, client, server = connected_pair()
    server.device.set_private_key(server.device._context.static.scalar, network.now)
    sent = network.send(client, server)
    network.run(1)
    assert server.packets == [sent]


def test_a_device_that_becomes_its_own_peer_forgets_that_peer():
    network, client, server = connected_pair()
    server.device.set_private_key(client.device._context.static.scalar, network.now)
    assert server.device.public_key == client.public_key
    assert server.device.configs() == []
    with pytest.raises(ParameterError, match="private_key of 3 bytes"):
        server.device.set_private_key(b"abc", network.now)


def test_cookies_are_made_with_the_key_of_the_hour():
    network, _, server = unconnected_pair()
    before = server.device._admission._macs
    server.device.set_private_key(generate_private_key(network.random), network.now)
    assert server.device._admission._macs is not before


# Peers


def test_a_peer_is_told_as_it_is_now():
    network, client, server = connected_pair()
    (config,) = server.device.configs()
    assert config.endpoint == client.address  # It was given none.
    assert attrs.evolve(config, endpoint=None) == PeerConfig(
        public_key=client.public_key, allowed_ips=(ip_network(client.inner),)
    )
    thief = network.add_host(3)
    network.introduce(server, thief, endpoint=False, allowed_ips=(ip_network(client.inner), ip_network("10.9.0.0/16")))
    assert server.device.config(client.public_key).allowed_ips == ()
    assert len(server.device.config(thief.public_key).allowed_ips) == 2
    with pytest.raises(LocalProtocolError):
        server.device.config(bytes(32))


def test_peers_come_and_go_while_others_talk():
    network, client, server = connected_pair()
    for number in range(200):
        passing = generate_private_key(network.random)
        other = Device(private_key=passing, random=network.random, wall_clock=network.wall_clock)
        server.device.set_peer(PeerConfig(public_key=other.public_key, persistent_keepalive=5.0), network.now)
        network.send(client, server, bytes([number]))
        network.run(0.1)
        server.device.remove_peer(other.public_key)
    assert len(server.packets) == 200
    assert len(server.heard(HandshakeCompleted)) == 1


def test_a_queue_of_deadlines_does_not_keep_those_who_left():
    network = Network()
    server = network.add_host(1)
    keys = [Device(private_key=generate_private_key(network.random), random=network.random, wall_clock=int).public_key]
    for _ in range(100):
        for key in keys:
            server.device.set_peer(PeerConfig(public_key=key, endpoint=("192.0.2.1", 1)), 0.0)
            server.device.initiate_handshake(key, 0.0)
            server.device.remove_peer(key)
    assert len(server.device._context.deadlines._heap) <= 2
    assert not server.device._context.pending


def test_a_persistent_keepalive_may_be_a_range():
    network, client, server = connected_pair(persistent_keepalive=Range(10, 20))
    network.introduce(server, client, endpoint=False, persistent_keepalive=0.0)
    network.run(100)
    times = [sent.at for sent in network.sent if sent.source == client.address and len(sent.datagram) == 32]
    gaps = [later - earlier for earlier, later in itertools.pairwise(times[1:])]
    assert all(10 <= gap <= 20.1 for gap in gaps)
    assert max(gaps) - min(gaps) > 1


@pytest.mark.parametrize("keepalive", [-1.0, 65536.0, Range(0, 5), Range(9, 5), Range(5, 65536)])
def test_a_persistent_keepalive_out_of_range_is_refused(keepalive):
    with pytest.raises(ParameterError, match="persistent_keepalive = "):
        PeerConfig(public_key=bytes(32), persistent_keepalive=keepalive)


# Faces


def served_on_two_faces():
    """A server with a second face, and a client each that speaks like one of them."""
    network = Network()
    server = network.add_host(1)
    server.device.set_face(SECOND_FACE, OTHER)
    clients = [network.add_host(2), network.add_host(3, parameters=OTHER)]
    for client in clients:
        network.introduce(client, server, endpoint=True)
        network.introduce(server, client, endpoint=False)
    return network, server, clients


def exchange(network, server, client, face, now):
    """Carry everything between a client and one face of the server by hand; returns the faces that answered."""
    faces = set()
    for _ in range(6):
        for datagram, _ in client.device.take_output().datagrams:
            server.device.receive_datagram(datagram, client.address, now, face=face)
        output = server.device.take_output()
        server.packets += output.packets
        server.events += [(now, event) for event in output.events]
        for batch in output.batches:
            faces.add(batch.face)
            for datagram in batch.split():
                client.device.receive_datagram(datagram, server.address, now)
    return faces


def test_a_peer_is_answered_on_the_face_it_was_heard_on():
    network, server, (plain, dressed) = served_on_two_faces()
    for client, face in ((plain, 0), (dressed, SECOND_FACE)):
        packet = packet_between(client, server)
        client.device.send_packet(packet, 0.0)
        assert exchange(network, server, client, face, 0.0) == {face}
        assert server.packets.pop() == packet
        outgoing = OutgoingBuffer()
        server.device.send_packets([packet_between(server, client)], outgoing, 0.0)
        (batch,) = outgoing.take()
        assert batch.face == face
        client.device.take_output()
        client.device.receive_datagram(bytes(batch.data), server.address, 0.0)
        assert client.device.take_output().packets == [packet_between(server, client)]


def test_the_wrong_face_hears_nothing():
    network, server, (plain, dressed) = served_on_two_faces()
    for client, wrong in ((plain, SECOND_FACE), (dressed, 0)):
        client.device.send_packet(packet_between(client, server), 0.0)
        assert exchange(network, server, client, wrong, 0.0) == set()
    assert server.packets == []


def test_a_peer_may_change_its_face_within_a_session():
    network, server, (plain, _) = served_on_two_faces()
    plain.device.send_packet(packet_between(plain, server), 0.0)
    exchange(network, server, plain, 0, 0.0)
    plain.device.set_parameters(OTHER)
    packet = packet_between(plain, server, b"dressed now")
    plain.device.send_packet(packet, 1.0)
    exchange(network, server, plain, SECOND_FACE, 1.0)
    assert server.packets[-1] == packet
    server.device.send_packet(packet_between(server, plain), 1.0)
    (batch,) = server.device.take_output().batches
    assert batch.face == SECOND_FACE
    assert len(server.heard(HandshakeCompleted)) == 1


def test_an_initiator_begins_on_the_face_it_was_told():
    network, client, server = unconnected_pair()
    client.device.set_face(SECOND_FACE, OTHER)
    network.introduce(client, server, endpoint=True, face=SECOND_FACE)
    client.device.initiate_handshake(server.public_key, 0.0)
    assert {batch.face for batch in client.device.take_output().batches} == {SECOND_FACE}
    server.device.set_face(3, OTHER)
    client.device.initiate_handshake(server.public_key, 10.0)
    for datagram, _ in client.device.take_output().datagrams:
        server.device.receive_datagram(datagram, client.address, 10.0, face=3)
    assert [batch.face for batch in server.device.take_output().batches] == [3]


def test_a_face_that_is_taken_away_leaves_its_peers_to_the_main_one():
    network, server, (_, dressed) = served_on_two_faces()
    dressed.device.send_packet(packet_between(dressed, server), 0.0)
    exchange(network, server, dressed, SECOND_FACE, 0.0)
    server.device.remove_face(SECOND_FACE)
    server.device.remove_face(SECOND_FACE)
    server.device.send_packet(packet_between(server, dressed), 1.0)
    (batch,) = server.device.take_output().batches
    assert batch.face == 0
    with pytest.raises(LocalProtocolError):
        server.device.remove_face(0)


def test_the_timers_are_those_of_the_main_face():
    network = Network()
    server = network.add_host(1)
    server.device.set_face(SECOND_FACE, ObfuscationParameters(rekey_timeout=30))
    assert server.device._context.timing.rekey_timeout.low == 5
    server.device.set_parameters(ObfuscationParameters(rekey_timeout=30))
    assert server.device._context.timing.rekey_timeout.low == 30
    server.device.set_parameters(PLAIN)
    assert server.device._context.timing.rekey_timeout.low == 5


# Rates


def passed(way, rates, *, seconds=4.0, offered=3_000_000):
    """Inner bytes a second that pass one way when twice as many as ``offered`` are tried."""
    network, client, server = connected_pair()
    network.introduce(client, server, endpoint=True, **rates)
    buffer, plain, outgoing = SlicedBuffer(), SlicedBuffer(), OutgoingBuffer()
    packets = [packet_between(client, server, bytes(1372))] * 40
    source, target = (client, server) if way == "send" else (server, client)
    if way == "receive":
        packets = [packet_between(server, client, bytes(1372))] * 40
    rows = in_rows(packets)
    total, steps = 0, round(offered * seconds / (40 * 1400))
    for step in range(steps):
        now = network.now + seconds * step / steps
        source.device.send_rows(rows, outgoing, now)
        for batch in outgoing.take():
            buffer.data[: len(batch.data)] = batch.data
            opened = target.device.receive_datagrams(buffer, len(batch.data), batch.segment, source.address, plain, now)
            total += sum(map(len, opened.packets))
    return total / seconds


@pytest.mark.parametrize("way", ["send", "receive"])
def test_a_rate_limit_holds_each_way(way):
    limited = passed(way, {f"{way}_rate": 500_000.0})
    burst = MIN_BURST_BYTES / 4.0
    assert 500_000 * 0.9 <= limited <= 500_000 + burst
    assert passed(way, {}) > 2_900_000  # So the test would notice.
    assert passed(way, {f"{way}_rate": 10_000_000.0}) > 2_900_000


def test_a_limit_that_stays_as_it_is_gives_no_new_burst():
    network, client, server = connected_pair()
    outgoing = OutgoingBuffer()
    packets = [packet_between(client, server, bytes(1372))] * 400
    sealed = []
    for _ in range(3):
        network.introduce(client, server, endpoint=True, send_rate=10_000.0)
        client.device.send_packets(packets, outgoing, network.now)
        sealed.append(sum(len(batch.split()) for batch in outgoing.take()))
    assert sealed == [MIN_BURST_BYTES // 1400, 0, 0]
    network.introduce(client, server, endpoint=True)
    client.device.send_packets(packets, outgoing, network.now)
    assert sum(len(batch.split()) for batch in outgoing.take()) == 400


def test_a_negative_rate_is_refused():
    for key in ("send_rate", "receive_rate"):
        with pytest.raises(ParameterError, match=f"{key} = -1"):
            PeerConfig(public_key=bytes(32), **{key: -1.0})


# Clocks


def test_a_clock_that_goes_back_stops_nothing():
    network, client, server = connected_pair()
    for now in (1000.0, 400.0, 1000.5, 0.0, 1001.0):
        for host, other in ((client, server), (server, client)):
            host.device.send_packet(packet_between(host, other), now)
            host.device.initiate_handshake(other.public_key, now)
            host.device.tick(now)
            for datagram, _ in host.device.take_output().datagrams:
                other.device.receive_datagram(datagram, host.address, now)
    network.now = 1002.0
    network.run(30)
    client.packets.clear()
    sent = network.send(server, client)
    network.run(10)
    assert client.packets == [sent]
