"""Two devices on a simulated network: handshakes, packets, roaming, and what must be refused."""

from ipaddress import IPv6Address, ip_network

import attrs
import pytest

from pharos.wire.awg.events import HandshakeCompleted, PeerEndpointChanged, SessionEnded
from pharos.wire.awg.framing import Framing
from pharos.wire.awg.generate import generate
from pharos.wire.awg.icmp import Echo, build_echo
from pharos.wire.awg.params import PLAIN
from pharos.wire.awg.replay import ReplayWindow
from pharos.wire.errors import LocalProtocolError, ParameterError
from tests.wire.awg.simulated import (
    LATENCY,
    WALL_START,
    Network,
    connected_pair,
    packet_between,
    unconnected_pair,
)

OBFUSCATED = generate(Network(seed=7).random)
both_framings = pytest.mark.parametrize("parameters", [PLAIN, OBFUSCATED], ids=["plain", "obfuscated"])


@both_framings
def test_a_handshake_completes_at_both_ends(parameters):
    network, client, server = connected_pair(parameters=parameters)
    assert client.heard(HandshakeCompleted) == [
        HandshakeCompleted(
            peer=server.public_key,
            endpoint=server.address,
            initiator=True,
            at_ns=WALL_START * 10**9 + round(2 * LATENCY * 10**9),
        )
    ]
    (answered,) = server.heard(HandshakeCompleted)
    assert (answered.peer, answered.endpoint, answered.initiator) == (client.public_key, client.address, False)
    assert network.status(client, server).last_handshake_ns == client.heard(HandshakeCompleted)[0].at_ns
    assert network.status(server, client).session_age == pytest.approx(1 - LATENCY)


@both_framings
def test_packets_go_both_ways(parameters):
    network, client, server = connected_pair(parameters=parameters)
    for size in (0, 1, 15, 16, 17, 1391, 1392):
        sent = network.send(client, server, bytes([size & 255]) * size)
        network.run(1)
        assert server.packets.pop() == sent
        sent = network.send(server, client, bytes(size))
        network.run(1)
        assert client.packets.pop() == sent
    assert not client.packets
    assert not server.packets


def test_plain_datagrams_are_wireguards():
    network, client, server = connected_pair()
    network.send(client, server, bytes(4))  # 32 bytes of packet.
    network.send(client, server, bytes(5))  # 33, padded to 48.
    network.send(client, server, bytes(1392))  # 1420, the whole MTU: not padded past it.
    assert network.sizes(client) == [148, 32, 64, 80, 1452]
    assert network.sizes(server) == [92]
    assert [sent.datagram[0] for sent in network.sent[:3]] == [1, 2, 4]


def test_obfuscated_datagrams_have_no_size_or_type_of_wireguards():
    network, client, server = connected_pair(parameters=OBFUSCATED)
    flight = network.sizes(client)[: OBFUSCATED.jc + 1]
    assert all(OBFUSCATED.jmin <= size <= OBFUSCATED.jmax for size in flight[:-1])
    assert flight[-1] == 148 + OBFUSCATED.s1
    assert network.sizes(server) == [92 + OBFUSCATED.s2]
    transport = network.sent[-1].datagram
    assert int.from_bytes(transport[:4], "little") in OBFUSCATED.h4


def test_junk_goes_before_every_initiation_and_before_nothing_else():
    network, client, _ = unconnected_pair(parameters=OBFUSCATED)
    network.filter = lambda sent: []
    client.device.initiate_handshake(network.hosts[1].public_key, network.now)
    network.collect(client)
    network.run(11)
    initiations = [index for index, size in enumerate(network.sizes(client)) if size == 148 + OBFUSCATED.s1]
    assert initiations == [OBFUSCATED.jc, 2 * OBFUSCATED.jc + 1, 3 * OBFUSCATED.jc + 2]


@pytest.mark.parametrize(
    "theirs", [PLAIN, attrs.evolve(OBFUSCATED, s1=OBFUSCATED.s1 + 1), attrs.evolve(OBFUSCATED, h1=99)]
)
def test_wrong_obfuscation_is_met_with_silence(theirs):
    network, client, server = unconnected_pair(parameters=OBFUSCATED)
    client.device.set_parameters(theirs)
    network.send(client, server)
    network.run(20)
    assert network.sizes(server) == []
    assert server.events == []
    client.device.set_parameters(OBFUSCATED)
    network.run(10)
    assert len(server.packets) == 1


def test_the_first_packets_wait_for_the_handshake_and_keep_their_order():
    network, client, server = unconnected_pair()
    sent = [network.send(client, server, bytes([number])) for number in range(10)]
    network.run(1)
    assert server.packets == sent
    assert network.sizes(client).count(148) == 1


def test_the_oldest_staged_packets_give_way():
    network, client, server = unconnected_pair()
    sent = [network.send(client, server, number.to_bytes(2, "big")) for number in range(130)]
    network.run(1)
    assert server.packets == sent[2:]


def test_the_responder_stays_silent_until_the_initiator_confirmed():
    network, client, server = unconnected_pair()
    keepalives = []

    def lose_confirmation(sent):
        if len(sent.datagram) == 32:
            keepalives.append(sent)
            return []
        return [LATENCY]

    network.filter = lose_confirmation
    client.device.initiate_handshake(server.public_key, network.now)
    network.collect(client)
    network.run(1)
    assert client.heard(HandshakeCompleted)
    assert not server.heard(HandshakeCompleted)
    assert keepalives
    held = network.send(server, client)
    network.run(1)
    assert network.sizes(server) == [92]
    network.filter = lambda sent: [LATENCY]
    network.send(client, server)
    network.run(1)
    assert server.heard(HandshakeCompleted)
    assert client.packets == [held]


def test_both_ends_may_begin_at_the_same_moment():
    network, client, server = unconnected_pair()
    network.introduce(server, client, endpoint=True)
    for host, other in ((client, server), (server, client)):
        network.send(host, other, b"at once")
    network.run(1)
    assert len(client.packets) == len(server.packets) == 1
    for number in range(5):
        network.send(client, server, bytes([number]))
        network.send(server, client, bytes([number]))
    network.run(1)
    assert len(client.packets) == len(server.packets) == 6


def test_loss_and_reorder_cost_only_what_was_lost():
    network, client, server = connected_pair()
    count = 0

    def rough(sent):
        nonlocal count
        count += 1
        if count % 5 == 0:
            return []
        return [LATENCY * (1 + count % 7)] * (2 if count % 3 == 0 else 1)

    network.filter = rough
    sent = {network.send(client, server, bytes([number])) for number in range(100)}
    network.run(5)
    assert len(server.packets) == 80
    assert len(set(server.packets)) == 80
    assert set(server.packets) < sent


def test_a_handshake_survives_loss_of_any_of_its_messages():
    for lost in range(3):
        network, client, server = unconnected_pair()
        network.filter = lambda sent, network=network, lost=lost: [] if len(network.sent) == lost + 1 else [LATENCY]
        network.send(client, server)
        network.run(20)
        network.filter = lambda sent: [LATENCY]
        network.send(client, server)
        network.run(1)
        assert server.packets, f"message {lost} lost"


def replayed_packets(monkeypatch=None):
    network, client, server = connected_pair()
    if monkeypatch is not None:
        monkeypatch.setattr(ReplayWindow, "accept", lambda self, counter: True)
    network.send(client, server)
    datagram = network.sent[-1].datagram
    network.run(1)
    for _ in range(3):
        network.inject(datagram, client.address, server.address)
    network.run(1)
    return len(server.packets)


def test_a_replayed_packet_is_refused(monkeypatch):
    assert replayed_packets() == 1
    assert replayed_packets(monkeypatch) == 4  # Without the window; so the test would notice.


def test_a_replayed_initiation_is_refused():
    network, client, server = connected_pair()
    initiation = network.sent[0].datagram
    before = network.status(server, client)
    network.inject(initiation, ("203.0.113.66", 666), server.address)
    network.run(1)
    assert network.sizes(server) == [92]
    assert network.status(server, client).endpoint == client.address
    assert network.status(server, client).received_bytes == before.received_bytes


def test_an_initiation_on_the_heels_of_another_is_dropped():
    network, client, server = unconnected_pair()
    # The same key in a second program: a later timestamp, 10 ms after.
    twin = network.add_host(2, private_key=None)
    twin.device = type(client.device)(
        private_key=client.device._context.static.scalar,
        random=network.random,
        wall_clock=lambda: network.wall_clock() + 10**9,
    )
    network.introduce(twin, server, endpoint=True)
    client.device.initiate_handshake(server.public_key, network.now)
    network.collect(client)
    network.run(0.01)
    twin.device.initiate_handshake(server.public_key, network.now)
    network.collect(twin)
    network.run(0.015)
    assert network.sizes(server) == [92]


def test_a_wrong_preshared_key_makes_no_session():
    network, client, server = unconnected_pair(preshared_key=bytes([1]) * 32)
    network.introduce(client, server, endpoint=True, preshared_key=bytes([2]) * 32)
    network.send(client, server)
    network.run(30)
    assert not client.heard(HandshakeCompleted)
    assert not server.heard(HandshakeCompleted)
    assert not server.packets
    network.introduce(client, server, endpoint=True, preshared_key=bytes([1]) * 32)
    network.send(client, server)
    network.run(10)
    assert server.packets


def test_a_peer_that_is_not_known_is_met_with_silence():
    network, client, server = unconnected_pair()
    server.device.remove_peer(client.public_key)
    network.send(client, server)
    network.run(30)
    assert network.sizes(server) == []


def packets_after_removal(remove):
    network, client, server = connected_pair()
    network.send(client, server)
    network.run(1)
    remove(server.device, client.public_key)
    network.collect(server)
    server.packets.clear()
    for _ in range(10):
        network.send(client, server)
        network.send(server, client)
        network.run(10)
    return network, client, server


def test_a_removed_peer_is_dead_at_once():
    network, client, server = packets_after_removal(lambda device, key: device.remove_peer(key))
    assert server.packets == client.packets == []
    assert network.sizes(server) == [92]
    assert server.heard(SessionEnded) == [SessionEnded(peer=client.public_key)]
    assert len(server.heard(HandshakeCompleted)) == 1
    with pytest.raises(LocalProtocolError):
        network.status(server, client)
    # Forgetting the peer but not its session would leave it alive: so the test would notice.
    _, _, server = packets_after_removal(lambda device, key: device._peers._peers.pop(key))
    assert server.packets


def test_a_removed_peer_leaves_nothing_behind():
    network, client, server = connected_pair()
    network.send(server, client)
    server.device.remove_peer(client.public_key)
    context = server.device._context
    assert not context.sessions
    assert not context.pending
    assert server.device.statuses(network.now) == []
    network.run(1000)
    assert network.sizes(server) == [92, 64]
    server.device.remove_peer(client.public_key)


def test_a_removed_peer_can_come_back():
    network, client, server = connected_pair()
    server.device.remove_peer(client.public_key)
    network.run(10)
    network.introduce(server, client, endpoint=False)
    network.send(client, server)
    network.run(30)
    network.send(client, server)
    network.run(1)
    assert server.packets


def test_a_changed_preshared_key_ends_the_session_at_once():
    network, client, server = connected_pair()
    network.introduce(server, client, endpoint=False, preshared_key=bytes([9]) * 32)
    network.send(client, server)
    network.run(1)
    assert server.packets == []
    assert server.heard(SessionEnded)


def test_a_change_of_allowed_ips_keeps_the_session():
    network, client, server = connected_pair()
    network.introduce(server, client, endpoint=False, allowed_ips=(ip_network("10.7.0.0/30"),))
    network.send(client, server)
    network.run(1)
    assert len(server.packets) == 1
    assert len(server.heard(HandshakeCompleted)) == 1


def spoofed_packets(allowed):
    network, client, server = connected_pair()
    other = network.add_host(3)
    network.introduce(server, other, endpoint=False)
    if allowed:
        network.introduce(server, client, endpoint=False, allowed_ips=(ip_network("10.7.0.0/24"),))
        server.device.remove_peer(other.public_key)
    client.device.send_packet(packet_between(other, server), network.now)
    client.device.send_packet(build_echo(SPOOFED_V6), network.now)
    network.collect(client)
    network.run(1)
    return len(server.packets)


SPOOFED_V6 = Echo(source=IPv6Address("fd00::3"), destination=IPv6Address("fd00::1"), identifier=1, sequence=1)


def test_a_source_the_peer_is_not_allowed_is_dropped():
    assert spoofed_packets(allowed=False) == 0
    assert spoofed_packets(allowed=True) == 1  # So the test would notice.


def test_an_allowed_network_moves_to_whoever_took_it_last():
    network, client, server = connected_pair()
    thief = network.add_host(3)
    network.introduce(server, thief, endpoint=False, allowed_ips=(ip_network(client.inner),))
    network.send(client, server)
    network.run(1)
    assert server.packets == []
    server.device.remove_peer(thief.public_key)
    network.introduce(server, client, endpoint=False)
    network.send(client, server)
    network.run(1)
    assert len(server.packets) == 1


def test_ipv6_inside_the_tunnel():
    network, client, server = connected_pair()
    network.introduce(client, server, endpoint=True, allowed_ips=(ip_network("fd00::1/128"),))
    network.introduce(server, client, endpoint=False, allowed_ips=(ip_network("fd00::3/128"),))
    client.device.send_packet(build_echo(SPOOFED_V6), network.now)
    network.collect(client)
    network.run(1)
    assert server.packets == [build_echo(SPOOFED_V6)]


def test_a_packet_that_lies_about_its_length_is_dropped():
    network, client, server = connected_pair()
    packet = bytearray(packet_between(client, server, bytes(100)))
    for length in (0, 19, len(packet) + 17, 65535):
        packet[2:4] = length.to_bytes(2, "big")
        client.device.send_packet(bytes(packet), network.now)
    network.collect(client)
    network.run(1)
    assert server.packets == []
    packet[2:4] = (60).to_bytes(2, "big")
    client.device.send_packet(bytes(packet), network.now)
    network.collect(client)
    network.run(1)
    assert server.packets == [bytes(packet[:60])]


def test_what_is_no_packet_or_for_nobody_is_dropped():
    network, client, server = connected_pair()
    before = len(network.sent)
    for packet in (b"", b"\x45", b"\x60" + bytes(20), bytes(100), packet_between(server, client)):
        client.device.send_packet(packet, network.now)
    network.collect(client)
    assert len(network.sent) == before


def test_a_packet_for_a_peer_at_no_known_address_is_dropped():
    network, client, server = unconnected_pair()
    network.send(server, client)
    network.run(100)
    assert network.sent == []
    network.send(client, server)
    network.run(1)
    assert client.packets == []


def test_the_server_follows_a_client_that_roams():
    network, client, server = connected_pair()
    home, client.address = client.address, ("203.0.113.9", 1234)
    network.send(client, server)
    network.run(1)
    assert server.heard(PeerEndpointChanged)[1:] == [
        PeerEndpointChanged(peer=client.public_key, endpoint=client.address, previous=home)
    ]
    sent = network.send(server, client)
    network.run(1)
    assert client.packets == [sent]
    assert len(server.heard(HandshakeCompleted)) == 1


def test_nobody_roams_by_a_packet_that_does_not_authenticate_or_is_old():
    network, client, server = connected_pair()
    network.send(client, server)
    genuine = network.sent[-1].datagram
    network.run(1)
    for datagram in (genuine, genuine[:-1] + bytes([genuine[-1] ^ 1]), network.sent[0].datagram):
        network.inject(datagram, ("203.0.113.66", 666), server.address)
    network.run(1)
    assert network.status(server, client).endpoint == client.address


def test_an_endpoint_can_be_set_by_hand():
    network, client, server = connected_pair()
    server.address = ("203.0.113.1", 443)
    client.device.set_endpoint(server.public_key, server.address, network.now)
    network.collect(client)
    network.run(1)
    sent = network.send(server, client)
    network.run(1)
    assert client.packets == [sent]
    assert len(client.heard(HandshakeCompleted)) == 1
    with pytest.raises(ParameterError):
        client.device.set_endpoint(server.public_key, ("node.example", 1), network.now)


def test_bytes_are_counted_as_they_travel():
    network, client, server = connected_pair(parameters=OBFUSCATED)
    network.send(client, server, bytes(100))
    network.run(1)
    at_client, at_server = network.status(client, server), network.status(server, client)
    assert at_client.sent_bytes == at_server.received_bytes
    assert at_client.received_bytes == at_server.sent_bytes == 92 + OBFUSCATED.s2
    assert at_client.sent_bytes == sum(network.sizes(client)[OBFUSCATED.jc :])


def test_a_device_refuses_itself_as_a_peer():
    network, client, _ = unconnected_pair()
    with pytest.raises(ParameterError, match="this device's own"):
        network.introduce(client, client, endpoint=True)


def test_a_device_does_not_print_its_private_key():
    _, client, _ = unconnected_pair()
    private = client.device._context.static.scalar
    assert private.hex() not in repr(client.device) + repr(client.device._context.static)


def test_changed_parameters_serve_the_next_datagram():
    network, client, server = connected_pair()
    for host in (client, server):
        host.device.set_parameters(OBFUSCATED)
        assert isinstance(host.device._context.framing, Framing)
    sent = network.send(client, server)
    network.run(1)
    assert server.packets == [sent]
    assert int.from_bytes(network.sent[-1].datagram[:4], "little") in OBFUSCATED.h4
