"""The batch calls: whole buffers of datagrams and packets, as segmentation offload gives and takes them."""

import random
from ipaddress import IPv6Address, ip_network

import pytest

from pharos.wire.awg.admission import MAX_QUEUED
from pharos.wire.awg.batches import MAX_BATCH_BYTES, MAX_BATCH_SEGMENTS, SlicedBuffer
from pharos.wire.awg.config import PeerConfig
from pharos.wire.awg.device import HANDSHAKES_PER_TICK
from pharos.wire.awg.generate import generate
from pharos.wire.awg.icmp import Echo, build_echo
from pharos.wire.awg.messages import TRANSPORT_HEADER
from pharos.wire.awg.params import PLAIN, Generation, ObfuscationParameters
from pharos.wire.awg.replay import ReplayWindow
from pharos.wire.awg.sending import OutgoingBuffer
from pharos.wire.awg.timing import REJECT_AFTER_MESSAGES
from pharos.wire.errors import LocalProtocolError
from tests.wire.awg.innerpackets import in_rows
from tests.wire.awg.simulated import Network, connected_pair, packet_between, unconnected_pair

STRANGER = ("203.0.113.66", 666)
SHIFTED = ObfuscationParameters(s4=20, h4="1000-2000")
PROTECTED = ObfuscationParameters(
    s1=20, s2=21, s3=22, s4=23, h4="1000-2000", header_protection_key=bytes(range(32)), random_trailers=True
)
parameter_sets = pytest.mark.parametrize("parameters", [PLAIN, SHIFTED, PROTECTED], ids=["plain", "2.0", "3.1"])


class Road:
    """From one host's packets to the other's, batch by batch."""

    def __init__(self, network, sender, receiver):
        self.network, self.sender, self.receiver = network, sender, receiver
        self.outgoing = OutgoingBuffer()
        self.buffer, self.plain = SlicedBuffer(), SlicedBuffer()

    def seal(self, packets, *, rows=False):
        device, now = self.sender.device, self.network.now
        if rows:
            for first in range(0, len(packets), MAX_BATCH_SEGMENTS):
                device.send_rows(in_rows(packets[first : first + MAX_BATCH_SEGMENTS]), self.outgoing, now)
        else:
            device.send_packets(packets, self.outgoing, now)
        return self.outgoing.take()

    def open(self, data, segment, *, source=None):
        self.buffer.data[: len(data)] = data
        source = source or self.sender.address
        device = self.receiver.device
        opened = device.receive_datagrams(self.buffer, len(data), segment, source, self.plain, self.network.now)
        if opened.rows is not None:
            assert opened.rows.views() == opened.packets[: len(opened.rows)]
        return [bytes(packet) for packet in opened.packets]

    def carry(self, packets, *, rows=False):
        batches = self.seal(packets, rows=rows)
        return [packet for batch in batches for packet in self.open(batch.data, batch.segment)]


def road(parameters=PLAIN):
    network, client, server = connected_pair(parameters=parameters)
    return Road(network, client, server)


def packets_of(way, sizes):
    return [packet_between(way.sender, way.receiver, bytes([number & 255]) * (size - 28)) for number, size in sizes]


@parameter_sets
def test_packets_in_rows_travel_as_batches_of_one_size_and_arrive_in_order(parameters):
    way = road(parameters)
    packets = packets_of(way, enumerate([1420] * 100 + [700]))
    assert len(packets[0]) == 1420
    batches = way.seal(packets, rows=True)
    overhead = 32 + parameters.s4
    assert [batch.segment for batch in batches] == [1420 + overhead] * len(batches)
    assert all(len(batch.data) <= MAX_BATCH_BYTES for batch in batches)
    assert all(len(batch.data) <= MAX_BATCH_SEGMENTS * batch.segment for batch in batches)
    assert len(batches) == -(-101 // (MAX_BATCH_BYTES // (1420 + overhead)))
    assert {batch.address for batch in batches} == {way.receiver.address}
    opened = [packet for batch in batches for packet in way.open(batch.data, batch.segment)]
    assert opened == packets


@parameter_sets
def test_packets_of_any_sizes_arrive_in_order(parameters):
    way = road(parameters)
    sizes = random.Random(1)
    packets = packets_of(way, enumerate(sizes.choice([28, 29, 44, 52, 700, 1404, 1419, 1420]) for _ in range(300)))
    assert way.carry(packets) == packets
    assert way.carry(packets, rows=False) == packets
    assert way.network.status(way.receiver, way.sender).received_bytes == (
        way.network.status(way.sender, way.receiver).sent_bytes
    )


def test_a_stream_of_small_packets_shares_batches():
    way = road()
    batches = way.seal(packets_of(way, enumerate([52] * 130)))
    assert [len(batch.data) // batch.segment for batch in batches] == [64, 64, 2]
    assert {batch.segment for batch in batches} == {32 + 64}


def test_packets_in_rows_that_need_filling_are_filled():
    way = road()
    packets = packets_of(way, enumerate([1390] * 10 + [100]))
    batches = way.seal(packets, rows=True)
    assert [batch.segment for batch in batches] == [32 + 1392]
    assert [packet for batch in batches for packet in way.open(batch.data, batch.segment)] == packets


def test_the_senders_buffer_is_not_written_to():
    way = road()
    packets = [bytearray(packet) for packet in packets_of(way, enumerate([100, 1420, 1420]))]
    copies = [bytes(packet) for packet in packets]
    assert way.carry([memoryview(packet) for packet in packets]) == copies
    assert packets == copies


def test_packets_for_several_peers_go_each_its_way():
    network, client, server = connected_pair()
    other = network.add_host(3)
    network.introduce(client, other, endpoint=True)
    network.introduce(other, client, endpoint=False)
    client.device.initiate_handshake(other.public_key, network.now)
    network.collect(client)
    network.run(1)
    to_server, to_other = Road(network, client, server), Road(network, client, other)
    nobody = packet_between(server, client)
    packets = []
    for number in range(6):
        target = (server, other)[number // 2 % 2]
        packets += [packet_between(client, target, bytes([number]) * 50), nobody]
    batches = to_server.seal([*packets, b"", b"\x45"])
    opened = {server.address: [], other.address: []}
    for batch in batches:
        way = to_server if batch.address == server.address else to_other
        opened[batch.address] += way.open(batch.data, batch.segment)
    assert opened[server.address] == [packets[number] for number in (0, 2, 8, 10)]
    assert opened[other.address] == [packets[number] for number in (4, 6)]


def test_packets_wait_for_a_session_and_keep_their_order():
    network, client, server = unconnected_pair()
    way = Road(network, client, server)
    packets = packets_of(way, enumerate([1420] * 20))
    assert way.seal(packets, rows=True) == []
    network.collect(client)
    network.run(1)
    assert server.packets == packets


def test_a_packet_that_no_datagram_holds_is_dropped():
    way = road()
    way.sender.device.set_mtu(70_000)
    huge = bytearray(packets_of(way, enumerate([1420]))[0]) + bytes(64_200)
    assert way.seal([huge]) == []
    assert way.seal([huge] * 5, rows=True) == []
    assert way.seal([huge[:65_475]])[0].segment == 65_507
    assert way.carry(packets_of(way, enumerate([100]))) == packets_of(way, enumerate([100]))


def test_what_is_played_again_or_damaged_is_left_out_of_the_batch():
    way = road()
    packets = packets_of(way, enumerate([500] * 10))
    (batch,) = way.seal(packets)
    segment, data = batch.segment, bytearray(batch.data)
    data[3 * segment + 20] ^= 1
    data[5 * segment + 8] ^= 1  # Another counter.
    data[7 * segment : 8 * segment] = data[6 * segment : 7 * segment]
    opened = way.open(data, segment)
    assert opened == [packets[number] for number in (0, 1, 2, 4, 6, 8, 9)]
    assert way.open(data, segment) == []
    # The one that was overwritten and the two that were damaged are still good.
    assert way.open(batch.data, segment) == [packets[number] for number in (3, 5, 7)]


@parameter_sets
@pytest.mark.parametrize("victims", [{0}, {6}, {9}, {2, 7}, set(range(10))], ids=str)
def test_what_is_damaged_takes_nothing_with_it(parameters, victims):
    way = road(parameters)
    packets = packets_of(way, enumerate([1420] * 10))
    (batch,) = way.seal(packets, rows=True)
    segment, data = batch.segment, bytearray(batch.data)
    for victim in victims:
        data[(victim + 1) * segment - 1] ^= 1
    assert way.open(data, segment) == [packet for number, packet in enumerate(packets) if number not in victims]
    assert way.open(data, segment) == []
    assert way.open(batch.data, segment) == [packets[victim] for victim in sorted(victims)]


@pytest.mark.parametrize("strange", [0, 4, 9])
def test_a_source_that_is_not_the_peers_takes_nothing_with_it(strange):
    way = road()
    packets = packets_of(way, enumerate([1420] * 10))
    packets[strange] = packets[strange][:12] + bytes([203, 0, 113, 9]) + packets[strange][16:]
    assert way.carry(packets, rows=True) == packets[:strange] + packets[strange + 1 :]


def opened_after_a_forged_counter(hasty):
    """What still arrives after a datagram with a forged counter far ahead."""
    way = road()
    if hasty:
        for _, session in way.receiver.device._context.sessions.values():
            genuine = session.decrypt_into

            def decrypt_into(nonce, sealed, associated, room, session=session, genuine=genuine):
                # Asks the window before it authenticates.
                session.replay.accept(int.from_bytes(nonce[4:], "little"))
                genuine(nonce, sealed, associated, room)

            session.decrypt_into = decrypt_into
    packets = packets_of(way, enumerate([100] * 2))
    (batch,) = way.seal(packets)
    forged = bytearray(batch.data[: batch.segment])
    forged[8:16] = (2**40).to_bytes(8, "little")
    way.open(forged, batch.segment)
    return way.open(batch.data, batch.segment)


def test_a_forged_counter_does_not_move_the_window():
    assert len(opened_after_a_forged_counter(hasty=False)) == 2
    assert opened_after_a_forged_counter(hasty=True) == []  # So the test would notice.


def test_counters_end_below_the_largest_window_of_any_peer():
    way = road()
    (session,) = [session for _, session in way.sender.device._context.sessions.values()]
    packets = packets_of(way, enumerate([100] * 2))
    session.sent_count = REJECT_AFTER_MESSAGES - 1
    # A batch may run past the end; the receiver takes no more than the last that counts.
    assert way.carry(packets) == packets[:1]
    assert way.seal(packets) == []


def test_reordered_and_lost_segments_are_still_told_apart(monkeypatch):
    def arrived(shuffle):
        way = road()
        packets = packets_of(way, enumerate([64] * 64))
        (batch,) = way.seal(packets)
        data, segment = bytes(batch.data), batch.segment
        order = [number for number in range(64) if number % 5]
        shuffle(order)
        mixed = b"".join(data[number * segment : (number + 1) * segment] for number in order)
        twice = way.open(mixed, segment) + way.open(mixed, segment)
        assert set(twice) == {packets[number] for number in order}
        return len(twice)

    assert arrived(random.Random(1).shuffle) == arrived(list.reverse) == arrived(list.sort) == 51
    monkeypatch.setattr(ReplayWindow, "accept", lambda self, counter: True)
    assert arrived(random.Random(1).shuffle) > 51  # So the test would notice.


@parameter_sets
def test_a_strangers_batch_leaves_no_trace(parameters):
    way = road(parameters)
    way.receiver.device.take_output()
    noise = random.Random(1)
    assert way.open(b"", 0, source=STRANGER) == []
    way.receiver.device.receive_datagram(b"", STRANGER, way.network.now)
    for size in (1, 31, 32, 148, 1452, 9000, 65_507):
        for segment in {1, 32, 148, 1452, size}:
            if size // segment < 4000:
                assert way.open(noise.randbytes(size), segment, source=STRANGER) == []
    output = way.receiver.device.take_output()
    assert (output.batches, output.packets, output.events) == ([], [], [])
    assert way.network.status(way.receiver, way.sender).endpoint == way.sender.address


def test_a_batch_moves_the_peer_once():
    way = road()
    packets = packets_of(way, enumerate([200] * 30))
    (batch,) = way.seal(packets)
    assert way.open(batch.data, batch.segment, source=STRANGER) == packets
    (event,) = way.receiver.device.take_output().events
    assert (event.endpoint, event.previous) == (STRANGER, way.sender.address)


def test_both_families_share_a_batch():
    network, client, server = connected_pair()
    inner = (ip_network(client.inner), ip_network("fd00::2/128"))
    network.introduce(server, client, endpoint=False, allowed_ips=inner)
    network.introduce(client, server, endpoint=True, allowed_ips=(ip_network(server.inner), ip_network("fd00::1/128")))
    way = Road(network, client, server)
    packets = []
    for number in range(10):
        packets.append(packet_between(client, server, bytes(20)))
        source = IPv6Address("fd00::2" if number % 3 else "fd00::3")
        packets.append(build_echo(Echo(source=source, destination=IPv6Address("fd00::1"), identifier=1, sequence=1)))
    assert way.carry(packets) == [packet for packet in packets if b"\x00\x03" not in packet[8:24] or packet[0] == 0x45]


def test_room_that_is_too_small_is_refused():
    way = road()
    with pytest.raises(LocalProtocolError, match="10 bytes of room"):
        way.sender.device.receive_datagrams(way.buffer, 1452, 1452, STRANGER, SlicedBuffer(10), 1.0)


def test_handshakes_wait_for_the_tick_and_the_queue_is_bounded():
    network = Network()
    server = network.add_host(1)
    clients = [network.add_host(number) for number in range(2, 42)]
    buffer, plain = SlicedBuffer(), SlicedBuffer()
    for number, client in enumerate(clients):
        network.introduce(client, server, endpoint=True)
        server.device.set_peer(PeerConfig(public_key=client.public_key), 0.0)
        client.device.initiate_handshake(server.public_key, 0.0)
        ((datagram, _),) = client.device.take_output().datagrams
        buffer.data[number * 148 : (number + 1) * 148] = datagram
    assert server.device.receive_datagrams(buffer, 40 * 148, 148, STRANGER, plain, 0.0).packets == []
    assert server.device.take_output().batches == []
    answered = []
    while server.device.next_deadline() < 0:
        server.device.tick(0.0)
        answered.append(len(server.device.take_output().batches))
    assert answered == [HANDSHAKES_PER_TICK, HANDSHAKES_PER_TICK, 40 - 2 * HANDSHAKES_PER_TICK]


def test_the_queue_of_handshakes_is_bounded():
    _, client, server = unconnected_pair()
    client.device.initiate_handshake(server.public_key, 0.0)
    ((datagram, _),) = client.device.take_output().datagrams
    buffer, plain = SlicedBuffer(), SlicedBuffer()
    buffer.data[:148] = datagram
    for number in range(2 * MAX_QUEUED):
        # So slowly that the imagined queue is always empty; the real one is what nobody works off.
        server.device.receive_datagrams(buffer, 148, 148, STRANGER, plain, float(number))
    assert len(server.device._admission.queue) <= MAX_QUEUED
    replies = server.device.take_output().datagrams
    assert replies
    assert {len(reply) for reply, _ in replies} == {64}


def test_a_buffer_is_used_again_after_it_was_taken():
    way = road()
    packets = packets_of(way, enumerate([1420] * 200))
    assert way.carry(packets, rows=True) == packets
    chunks = len(way.outgoing._chunks)
    for _ in range(5):
        assert way.carry(packets, rows=True) == packets
    assert len(way.outgoing._chunks) == chunks
    assert way.outgoing.size == 0


def test_the_header_is_the_one_that_is_asked_for():
    way = road(SHIFTED)
    (batch,) = way.seal(packets_of(way, enumerate([64] * 50)))
    headers = [TRANSPORT_HEADER.unpack_from(datagram, 20) for datagram in batch.split()]
    assert all(1000 <= header <= 2000 for header, _, _ in headers)
    assert len({header for header, _, _ in headers}) > 30
    counters = [counter for _, _, counter in headers]
    assert counters == list(range(counters[0], counters[0] + 50))


@pytest.mark.parametrize("generation", list(Generation))
def test_every_generation_carries_batches(generation):
    way = road(generate(Network(seed=5).random, generation))
    packets = packets_of(way, enumerate([1300] * 60 + [40]))
    assert way.carry(packets, rows=True) == packets
    assert way.carry(packets) == packets
