"""Two devices whose operators change everything they can while it storms; in the end packets go through again."""

import random

import pytest

from pharos.wire.awg.events import HandshakeCompleted
from pharos.wire.awg.generate import generate
from pharos.wire.awg.keys import generate_private_key
from pharos.wire.awg.params import Generation
from tests.wire.awg.simulated import LATENCY, unconnected_pair

STEPS = 60


class Unrest:
    """One run of changes, the same for the same seed."""

    def __init__(self, seed):
        self.dice = random.Random(seed)
        self.psk = bytes(32)
        self.network, self.client, self.server = unconnected_pair()
        self.hosts = (self.client, self.server)
        self.introduce()
        self.network.filter = self.weather

    def weather(self, sent):
        if self.dice.random() < 0.2:
            return []
        copies = 2 if self.dice.random() < 0.1 else 1
        return [LATENCY + self.dice.random() * 0.2 for _ in range(copies)]

    def introduce(self, **settings):
        settings |= {"preshared_key": self.psk, "persistent_keepalive": self.dice.choice([0.0, 5.0, 25.0])}
        self.network.introduce(self.client, self.server, endpoint=True, **settings)
        self.network.introduce(self.server, self.client, endpoint=False, **settings)

    def step(self):
        change = self.dice.choice(
            [self.talk] * 6
            + [self.other_parameters, self.other_secret, self.other_key, self.leave, self.roam, self.noise, self.limit]
        )
        change()
        self.network.run(self.dice.choice([0.0, 0.1, 1.0, 7.0, 40.0, 200.0]))

    def talk(self):
        for _ in range(self.dice.randrange(20)):
            host, other = self.dice.sample(self.hosts, 2)
            self.network.send(host, other, self.dice.randbytes(self.dice.randrange(1392)))

    def other_parameters(self):
        parameters = generate(self.dice.randbytes, self.dice.choice(list(Generation)))
        for host in self.hosts:
            host.device.set_parameters(parameters)
            host.device.set_mtu(self.dice.choice([1280, 1420]))

    def other_secret(self):
        self.psk = self.dice.randbytes(32)
        self.introduce()

    def other_key(self):
        host, other = self.dice.sample(self.hosts, 2)
        before = host.public_key
        host.device.set_private_key(generate_private_key(self.dice.randbytes), self.network.now)
        other.device.remove_peer(before)
        self.introduce()

    def leave(self):
        host, other = self.dice.sample(self.hosts, 2)
        host.device.remove_peer(other.public_key)
        self.talk()
        self.introduce()

    def roam(self):
        self.client.address = (f"198.51.100.{self.dice.randrange(10, 250)}", self.dice.randrange(1, 65536))

    def noise(self):
        for sent in self.dice.sample(self.network.sent, min(20, len(self.network.sent))):
            damaged = bytearray(sent.datagram)
            damaged[self.dice.randrange(len(damaged))] ^= self.dice.randrange(256)
            self.network.inject(bytes(damaged), ("203.0.113.66", 666), sent.destination)

    def limit(self):
        self.introduce(send_rate=self.dice.choice([0.0, 1e4, 1e6]), receive_rate=self.dice.choice([0.0, 1e4, 1e6]))

    def calm(self):
        """Let the storm pass; the limits go with it."""
        self.network.filter = lambda sent: [LATENCY]
        self.introduce()
        self.network.run(20)
        for host, other in (self.hosts, reversed(self.hosts)):
            self.network.send(host, other, b"wake up")
            self.network.run(20)


@pytest.mark.parametrize("seed", range(6))
def test_after_any_unrest_packets_go_through_again(seed):
    unrest = Unrest(seed)
    for _ in range(STEPS):
        unrest.step()
    unrest.calm()
    network, client, server = unrest.network, unrest.client, unrest.server
    for host in unrest.hosts:
        host.packets.clear()
    for host, other in ((client, server), (server, client)):
        sent = network.send(host, other, b"through")
        network.run(1)
        assert other.packets == [sent]
    assert client.heard(HandshakeCompleted)
    for host in unrest.hosts:
        context = host.device._context
        assert len(context.sessions) <= 3
        assert len(context.pending) <= 1
        assert len(context.deadlines._heap) < 20
        assert not context.outgoing.size
    network.run(2000)
    for host in unrest.hosts:
        # Keepalives may go on, but nothing of the unrest is left.
        assert len(host.device._context.sessions) <= 3
        assert host.device.take_output().batches == []
