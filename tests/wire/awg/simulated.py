"""Devices on a network of virtual time: every datagram, loss and deadline in its order, nothing left to luck."""

import heapq
import itertools
import random
from collections.abc import Callable
from ipaddress import IPv4Address, ip_network

import attrs

from pharos.wire.awg.config import PeerConfig
from pharos.wire.awg.device import Device
from pharos.wire.awg.endpoint import Address
from pharos.wire.awg.events import Event, PeerStatus
from pharos.wire.awg.icmp import Echo, build_echo
from pharos.wire.awg.keys import generate_private_key
from pharos.wire.awg.params import PLAIN, ObfuscationParameters

WALL_START = 1_700_000_000
LATENCY = 0.01


@attrs.frozen
class Sent:
    """A datagram on its way."""

    at: float
    datagram: bytes
    source: Address
    destination: Address


Filter = Callable[[Sent], list[float]]
"""Delays of the copies that arrive; an empty list is a loss."""


@attrs.define(eq=False)
class Host:
    """A device at an address, and what it has brought forth."""

    device: Device
    address: Address
    inner: IPv4Address
    packets: list[bytes] = attrs.Factory(list)
    events: list[tuple[float, Event]] = attrs.Factory(list)

    @property
    def public_key(self) -> bytes:
        return self.device.public_key

    def heard(self, kind: type) -> list:
        return [event for _, event in self.events if isinstance(event, kind)]


class Network:
    def __init__(self, seed: int = 1) -> None:
        self.now = 0.0
        self.random = random.Random(seed).randbytes
        self.filter: Filter = lambda sent: [LATENCY]
        self.sent: list[Sent] = []
        self.hosts: list[Host] = []
        self._flying: list[tuple[float, int, Sent]] = []
        self._ties = itertools.count()

    def wall_clock(self) -> int:
        return WALL_START * 10**9 + round(self.now * 10**9)

    def add_host(
        self, number: int, *, parameters: ObfuscationParameters = PLAIN, private_key: bytes | None = None
    ) -> Host:
        device = Device(
            private_key=private_key or generate_private_key(self.random),
            random=self.random,
            wall_clock=self.wall_clock,
            parameters=parameters,
        )
        host = Host(device, (f"198.51.100.{number}", 51820), IPv4Address(f"10.7.0.{number}"))
        self.hosts.append(host)
        return host

    def introduce(self, host: Host, other: Host, *, endpoint: bool, **settings: object) -> None:
        """Make ``other`` a peer of ``host``, allowed its inner address."""
        config = {
            "public_key": other.public_key,
            "allowed_ips": (ip_network(other.inner),),
            "endpoint": other.address if endpoint else None,
        } | settings
        host.device.set_peer(PeerConfig(**config), self.now)
        self.collect(host)

    def status(self, host: Host, other: Host) -> PeerStatus:
        return host.device.status(other.public_key, self.now)

    def send(self, host: Host, other: Host, payload: bytes = b"") -> bytes:
        """Have ``host`` send a packet to ``other`` through the tunnel; returns the packet."""
        packet = packet_between(host, other, payload)
        host.device.send_packet(packet, self.now)
        self.collect(host)
        return packet

    def collect(self, host: Host) -> None:
        """Carry out what a device wants done; needed only after touching the device by hand."""
        output = host.device.take_output()
        host.packets += output.packets
        host.events += [(self.now, event) for event in output.events]
        for datagram, destination in output.datagrams:
            self.inject(datagram, host.address, destination)

    def inject(self, datagram: bytes, source: Address, destination: Address) -> None:
        sent = Sent(self.now, datagram, source, destination)
        self.sent.append(sent)
        for delay in self.filter(sent):
            heapq.heappush(self._flying, (self.now + delay, next(self._ties), sent))

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while True:
            deadlines = [host.device.next_deadline() for host in self.hosts]
            arrival = self._flying[0][0] if self._flying else float("inf")
            moment = min(arrival, *deadlines)
            if moment > end:
                break
            self.now = max(self.now, moment)
            if arrival <= moment:
                _, _, sent = heapq.heappop(self._flying)
                for host in self.hosts:
                    if host.address == sent.destination:
                        host.device.receive_datagram(sent.datagram, sent.source, self.now)
                        self.collect(host)
            for host in self.hosts:
                if host.device.next_deadline() <= self.now:
                    host.device.tick(self.now)
                    self.collect(host)
        self.now = end

    def sizes(self, host: Host) -> list[int]:
        """Of the datagrams that left a host."""
        return [len(sent.datagram) for sent in self.sent if sent.source == host.address]


def packet_between(host: Host, other: Host, payload: bytes = b"") -> bytes:
    return build_echo(Echo(source=host.inner, destination=other.inner, identifier=1, sequence=1, payload=payload))


def connected_pair(*, parameters: ObfuscationParameters = PLAIN, **settings: object) -> tuple[Network, Host, Host]:
    """A client that knows where its server is and has just completed a handshake with it."""
    network, client, server = unconnected_pair(parameters=parameters, **settings)
    client.device.initiate_handshake(server.public_key, network.now)
    network.collect(client)
    network.run(1)
    return network, client, server


def unconnected_pair(*, parameters: ObfuscationParameters = PLAIN, **settings: object) -> tuple[Network, Host, Host]:
    network = Network()
    client = network.add_host(2, parameters=parameters)
    server = network.add_host(1, parameters=parameters)
    network.introduce(client, server, endpoint=True, **settings)
    network.introduce(server, client, endpoint=False, **settings)
    return network, client, server
