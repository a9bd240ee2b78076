"""What strangers send: nothing raises, nothing is answered but by a cookie under load, nothing is kept."""

import logging

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pharos.wire.awg import handshake
from pharos.wire.awg.admission import Arrived
from pharos.wire.awg.cookies import COOKIE_LIFETIME, MacChecker, MacStamper
from pharos.wire.awg.device import Device
from pharos.wire.awg.framing import Framing
from pharos.wire.awg.generate import generate
from pharos.wire.awg.keys import generate_private_key
from pharos.wire.awg.load import BUSY_BACKLOG
from pharos.wire.awg.messages import MessageKind
from pharos.wire.awg.params import PLAIN, Generation, ObfuscationParameters
from tests.wire.awg.dressing import classify, dress
from tests.wire.awg.simulated import LATENCY, Network, connected_pair, unconnected_pair

STRANGER = ("203.0.113.66", 666)
OBFUSCATED = generate(Network(seed=7).random)


def traces(device):
    context = device._context
    return (
        dict(context.sessions),
        dict(context.pending),
        len(context.deadlines._heap),
        len(device._peers.routes._cache),
        device.statuses(0.0),
    )


def assert_silent(device, datagrams, now=1.0):
    before = traces(device)
    for datagram in datagrams:
        device.receive_datagram(datagram, STRANGER, now)
    output = device.take_output()
    assert (output.datagrams, output.packets, output.events) == ([], [], [])
    assert traces(device) == before


# Nearly every datagram that is long enough is a transport message here, by its type.
WIDE = ObfuscationParameters(h1=5, h2=6, h3=7, h4="8-4294967295", random_trailers=True)
NEWEST = generate(Network(seed=7).random, Generation.V3_1)


@pytest.fixture(scope="module", params=[PLAIN, OBFUSCATED, WIDE, NEWEST], ids=["plain", "1.0", "wide", "3.1"])
def scene(request):
    """A connected pair with a captured datagram of each kind."""
    network, client, server = connected_pair(parameters=request.param)
    network.send(client, server, bytes(40))
    network.run(1)
    return network, client, server


@pytest.mark.row(75)
@given(st.lists(st.binary(max_size=1500), max_size=5))
def test_noise_dies_in_silence(scene, noise):
    for host in scene[1:]:
        assert_silent(host.device, noise)


@pytest.mark.row(75)
@given(st.sampled_from(MessageKind), st.binary(max_size=200), st.integers(0, 2**32 - 1))
def test_noise_with_the_right_type_dies_in_silence(scene, kind, noise, index):
    # With a wide H range junk will look like this by chance.
    _, client, server = scene
    framing = client.device._context.framing
    size = {1: 148, 2: 92, 3: 64}.get(kind, max(32, len(noise)))
    message = framing.header(kind).to_bytes(4, "little") + index.to_bytes(4, "little") + noise
    datagram = dress(framing, kind, message.ljust(size, b"\0")[:size])
    assert classify(framing, datagram) is kind
    for host in (client, server):
        assert_silent(host.device, [datagram])


@pytest.mark.row(75)
@given(st.data())
@settings(max_examples=200)
def test_a_damaged_copy_of_a_true_datagram_dies_in_silence(scene, data):
    network, client, server = scene
    genuine = data.draw(st.sampled_from([sent for sent in network.sent if len(sent.datagram) >= 32])).datagram
    change = data.draw(st.sampled_from(["flip", "cut", "grow", "as it is"]))
    damaged = bytearray(genuine)
    if change == "flip":
        damaged[data.draw(st.integers(0, len(genuine) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    elif change == "cut":
        del damaged[data.draw(st.integers(0, len(genuine) - 1)) :]
    elif change == "grow":
        damaged += data.draw(st.binary(min_size=1, max_size=20))
    for host in (client, server):
        assert_silent(host.device, [bytes(damaged)], now=network.now)


def test_what_is_meant_for_others_dies_in_silence(scene):
    network, client, server = scene
    bystander = network.add_host(9, parameters=server.device.parameters)
    network.introduce(bystander, client, endpoint=False)
    network.introduce(bystander, server, endpoint=False)
    assert_silent(bystander.device, [sent.datagram for sent in network.sent], now=network.now)
    # What one has sent is nothing it can receive.
    for host in (client, server):
        own = [sent.datagram for sent in network.sent if sent.source == host.address]
        assert_silent(host.device, own, now=network.now)


def test_strangers_leave_no_log_line(scene, caplog):
    network, client, server = scene
    with caplog.at_level(logging.DEBUG):
        for host in (client, server):
            assert_silent(host.device, [sent.datagram for sent in network.sent] + [bytes(1000)], now=network.now)
    assert not caplog.records


def exchanges_spent_on_junk(monkeypatch):
    """DH operations that initiations without a right mac1 cost us."""
    spent = []
    genuine = handshake.exchange
    monkeypatch.setattr(handshake, "exchange", lambda *keys: spent.append(keys) or genuine(*keys))
    network = Network()
    server = network.add_host(1)
    framing = Framing(PLAIN, network.random)
    header = framing.header(MessageKind.INITIATION).to_bytes(4, "little")
    assert_silent(server.device, [header + network.random(144) for _ in range(50)])
    return len(spent)


def test_no_key_exchange_is_spent_before_mac1(monkeypatch):
    assert exchanges_spent_on_junk(monkeypatch) == 0
    monkeypatch.setattr(MacChecker, "mac1_matches", lambda self, message: True)
    assert exchanges_spent_on_junk(monkeypatch) > 0  # So the test would notice.


def strangers_initiations(network, server, count, parameters=PLAIN):
    """Initiations by somebody who knows the server's public key, each from a key of its own making."""
    stranger = Device(
        private_key=generate_private_key(network.random), random=network.random, wall_clock=network.wall_clock
    )
    framing = Framing(parameters, network.random)
    local, remote = stranger._context.static, handshake.meet(stranger._context.static, server.public_key)
    message, _ = handshake.create_initiation(
        local,
        remote,
        header=framing.header(MessageKind.INITIATION),
        index=0x01020304,
        ephemeral=stranger._context.new_ephemeral(),
        timestamp=bytes(12),
    )
    message = MacStamper(server.public_key).stamp(message, 0.0)
    return [framing.wrap(MessageKind.INITIATION, message)] * count


@pytest.mark.row(75)
def test_a_stranger_with_our_key_is_not_answered():
    network = Network()
    server = network.add_host(1)
    assert_silent(server.device, strangers_initiations(network, server, 10))


def flooded(rate=1500, parameters=PLAIN):
    """A server under a flood of well-formed initiations from one address, and an honest client."""
    network, client, server = unconnected_pair(parameters=parameters)
    flood = strangers_initiations(network, server, 1, parameters)[0]

    def keep_flooding(seconds):
        for _ in range(round(seconds * 100)):
            for _ in range(rate // 100):
                network.inject(flood, STRANGER, server.address)
            network.run(0.01)

    keep_flooding(1)
    return network, client, server, keep_flooding


def test_a_flood_is_met_with_cookies_and_honest_peers_get_through():
    network, client, server, keep_flooding = flooded(rate=6000)
    replies = [sent for sent in network.sent if sent.destination == STRANGER]
    assert {len(sent.datagram) for sent in replies} == {64}
    assert 5800 < len(replies) <= 6000 - BUSY_BACKLOG + 1
    sent = network.send(client, server, b"through the flood")
    keep_flooding(5.5)
    assert server.packets == [sent]
    # A cookie first, and with it the second initiation was let in.
    sizes = [len(sent.datagram) for sent in network.sent if sent.destination == client.address]
    assert sizes == [64, 92]


def test_without_its_cookie_an_honest_peer_stays_outside():
    # The same, but the client never sees the reply: so the test above would notice a server that lets all in.
    network, client, server, keep_flooding = flooded()
    network.filter = lambda sent: [] if sent.destination == client.address else [LATENCY]
    network.send(client, server)
    keep_flooding(5.5)
    assert server.packets == []
    assert not server.events


def test_a_session_is_not_disturbed_by_a_flood():
    network, client, server = connected_pair()
    for datagram in strangers_initiations(network, server, 500):
        network.inject(datagram, STRANGER, server.address)
    sent = [network.send(client, server, bytes([number])) for number in range(50)]
    network.run(1)
    assert server.packets == sent


def test_a_flood_leaves_no_state():
    network, _, server, _ = flooded()
    assert not server.device._context.sessions
    assert not server.device._admission._limiter._buckets  # Only addresses that proved they receive get one.
    network.run(2)
    assert_silent(server.device, strangers_initiations(network, server, 1), now=network.now)


def test_one_network_cannot_spend_all_handshakes_with_its_cookie():
    network, _, server, _ = flooded()
    initiation = strangers_initiations(network, server, 1)[0]
    macs = server.device._admission._macs
    stamper = MacStamper(server.public_key)
    stamper.stamp(initiation[:-32], network.now)
    stamper.accept_reply(macs.make_reply(initiation, STRANGER, network.now, header=3), network.now)
    stamped = stamper.stamp(initiation[:-32], network.now)
    admission = server.device._admission
    arrived = Arrived(MessageKind.INITIATION, stamped, len(stamped), STRANGER, server.device._context.framing)
    admitted = [admission.admit(arrived, network.now) for _ in range(20)]
    assert admitted == [True] * 5 + [False] * 15
    assert server.device.take_output().datagrams == []


def test_an_old_cookie_is_exchanged_for_a_new_one():
    network, client, server, keep_flooding = flooded()
    network.send(client, server)
    keep_flooding(5.5)
    network.run(COOKIE_LIFETIME)
    keep_flooding(1)
    client.device.initiate_handshake(server.public_key, network.now)
    network.collect(client)
    keep_flooding(5.5)
    assert [len(sent.datagram) for sent in network.sent if sent.destination == client.address][-2:] == [64, 92]


def test_a_cookie_reply_from_a_stranger_is_ignored():
    network, client, server = unconnected_pair()
    network.filter = lambda sent: []
    network.send(client, server)
    index = network.sent[-1].datagram[4:8]
    network.filter = lambda sent: [LATENCY]
    network.inject(b"\x03\0\0\0" + index + network.random(56), STRANGER, client.address)
    network.run(6)
    assert server.packets


def test_a_cookie_for_our_response_is_kept_too():
    network, client, server = unconnected_pair()
    network.send(client, server)
    network.run(1.5 * LATENCY)
    response = network.sent[-1].datagram
    busy = client.device._admission._macs.make_reply(response, server.address, network.now, header=3)
    network.inject(busy, client.address, server.address)
    network.run(6)
    client.device.initiate_handshake(server.public_key, network.now)
    network.collect(client)
    network.run(1)
    responses = [sent.datagram for sent in network.sent if len(sent.datagram) == 92]
    assert [datagram[-16:] == bytes(16) for datagram in responses] == [True, False]
