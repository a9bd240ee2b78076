"""What strangers and peers send, as fuzz targets: datagrams at a device, packets through a tunnel and beyond."""

from __future__ import annotations

import functools
import ipaddress
import random
from collections import Counter

from pharos.wire.awg.batches import SlicedBuffer
from pharos.wire.awg.coalesce import Coalescer
from pharos.wire.awg.cookies import MacStamper
from pharos.wire.awg.generate import generate
from pharos.wire.awg.icmp import checksum
from pharos.wire.awg.messages import MACS_BYTES, MessageKind
from pharos.wire.awg.params import Generation
from tests.support.offload import MAX_CUT_BYTES, cut
from tests.wire.awg.dressing import dress, message_of
from tests.wire.awg.innerpackets import Segment
from tests.wire.awg.simulated import Host, Network, connected_pair

STRANGER = ("203.0.113.66", 666)
LEAST_PACKET = 20


def stranger(data: bytes) -> None:
    """No datagram of a stranger raises, leaves a trace or is answered, but for a cookie reply smaller than it.

    The first byte picks the scene, the second what is done with the rest: sent as it is, dressed as a message, with a
    true mac1 as well, or laid over a true datagram.
    """
    if len(data) < 2:
        return
    network, hosts = scene(data[0] % len(GENERATIONS))
    # A second for each, so that no input is under the load of those before.
    network.now += 1
    for host in hosts:
        datagram = _datagram(network, host, data[1], data[2:])
        device = host.device
        before = (device.statuses(0.0), len(device._context.sessions), len(device._context.pending))
        device.receive_datagram(datagram, STRANGER, network.now)
        output = device.take_output()
        assert (output.packets, output.events) == ([], [])
        assert sum(len(answer) for answer, _ in output.datagrams) < max(1, len(datagram))
        assert (device.statuses(0.0), len(device._context.sessions), len(device._context.pending)) == before


def inner_packet(data: bytes) -> None:
    """No packet of a peer raises at either end, and none comes out from an address the peer is not allowed."""
    if not data:
        return
    network, (client, server) = scene(data[0] % len(GENERATIONS))
    network.now += 0.001
    client.device.send_packet(data[1:], network.now)
    for datagram, _ in client.device.take_output().datagrams:
        server.device.receive_datagram(datagram, client.address, network.now)
    output = server.device.take_output()
    for packet in output.packets:
        assert packet[0] >> 4 == 4
        assert ipaddress.IPv4Address(packet[12:16]) == client.inner
    server.packets.clear()


GENERATIONS = tuple(Generation)


@functools.cache
def scene(number: int) -> tuple[Network, tuple[Host, Host]]:
    """Two connected ends that speak a generation."""
    chosen = generate(random.Random(number).randbytes, GENERATIONS[number])
    # Sessions that end by age would be a trace of their own.
    network, client, server = connected_pair(parameters=chosen)
    network.send(client, server, bytes(40))
    network.run(1)
    return network, (client, server)


def _datagram(network: Network, host: Host, choice: int, rest: bytes) -> bytes:
    framing = host.device._context.framing
    kinds = tuple(MessageKind)
    if choice < 64:
        return rest
    if choice < 128:
        kind = kinds[choice % 4]
        return dress(framing, kind, message_of(framing, kind, rest))
    if choice < 192:
        kind = kinds[choice % 2]
        message = message_of(framing, kind, rest)[:-MACS_BYTES]
        return dress(framing, kind, MacStamper(host.public_key).stamp(message, network.now))
    genuine = network.sent[choice % len(network.sent)].datagram
    pattern = (rest or b"\0").ljust(len(genuine), b"\0")
    return bytes(left ^ right for left, right in zip(genuine, pattern, strict=False))


def joined(data: bytes) -> None:
    """Packets that are joined to be forwarded come out as they went in once they are cut again, damage and all.

    One sum is taken of a whole flow, so that damage of two packets may cancel out; payloads stay whatever happens.
    """
    packets, rest = [], data
    while len(rest) > 2:
        size = LEAST_PACKET + int.from_bytes(rest[:2], "big") % 1480
        packet = rest[2 : 2 + size].ljust(LEAST_PACKET, b"\0")
        rest = rest[2 + size :]
        if _length(packet) == len(packet):
            packets.append(packet)
    frames = Coalescer(udp=True).join([memoryview(bytearray(packet)) for packet in packets])
    out: list[bytes] = []
    for pieces in frames:
        frame = SlicedBuffer(sum(map(len, pieces)))
        frame.view[:] = b"".join(pieces)
        out += map(bytes, cut(frame, len(frame), SlicedBuffer(MAX_CUT_BYTES)))
    assert Counter(map(_unchecked, out)) == Counter(map(_unchecked, packets))
    if sum(map(_is_damaged, packets)) < 2:
        assert Counter(map(_meaning, out)) == Counter(map(_meaning, packets))


def _length(packet: bytes) -> int:
    """Return what a packet says its length is; the device lets no other out."""
    if packet[0] >> 4 == 6:
        return 40 + int.from_bytes(packet[4:6], "big")
    return int.from_bytes(packet[2:4], "big") if packet[0] >> 4 == 4 else 0


def record(packet: bytes) -> bytes:
    """Write a packet as ``joined`` reads it."""
    return (len(packet) - LEAST_PACKET).to_bytes(2, "big") + packet


def streams() -> tuple[bytes, ...]:
    """Return flows that can be joined, as seeds."""
    kinds = [(version, tcp) for version in (4, 6) for tcp in (True, False)]
    flows = [Segment(payload=bytes(range(250)), version=version, tcp=tcp).pieces(100) for version, tcp in kinds]
    packets = [[bytes(segment.build()) for segment in flow] for flow in flows]
    # Found by fuzzing: a datagram whose length and checksum have changed places has the right sum.
    first, second, *_ = packets[1]
    swapped = second[:24] + second[26:28] + second[24:26] + second[28:]
    return tuple(b"".join(map(record, flow)) for flow in [*packets, [first, swapped]])


def _meaning(packet: bytes) -> bytes:
    """Return what has to stay: a new identification brings a new sum, and zero has two spellings there."""
    if packet[0] >> 4 == 4:
        packet = packet[:4] + bytes(2) + packet[6:10] + bytes(2) + packet[12:]
    return packet.replace(b"\xff\xff", bytes(2))


def _unchecked(packet: bytes) -> bytes:
    """Return what has to stay whatever the checksums are."""
    start, field = _checksum_of(packet)
    if field and start + field + 2 <= len(packet):
        packet = packet[: start + field] + bytes(2) + packet[start + field + 2 :]
    return _meaning(packet)


def _is_damaged(packet: bytes) -> bool:
    """Whether a checksum of a packet is wrong."""
    start, field = _checksum_of(packet)
    if not field:
        return False
    addresses = packet[12:20] if start == 20 else packet[8:40]
    protocol = packet[9] if start == 20 else packet[6]
    pseudo = addresses + (len(packet) - start).to_bytes(4, "big") + protocol.to_bytes(4, "big")
    return bool(checksum(pseudo + packet[start:])) or (start == 20 and bool(checksum(packet[:20])))


def _checksum_of(packet: bytes) -> tuple[int, int]:
    """Return where the transport header begins, and its checksum in there; 0 if it has none."""
    plain = packet[0] == 0x45
    if not plain and packet[0] >> 4 != 6:
        return 0, 0
    fields = {6: 16, 17: 6}
    return (20, fields.get(packet[9], 0)) if plain else (40, fields.get(packet[6], 0))
