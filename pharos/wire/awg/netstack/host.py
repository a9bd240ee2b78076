"""One host of a network, without I/O: IP packets in, and what they mean to TCP, UDP and ICMP; IP packets out.

It answers echoes, refuses what nobody listens for, and puts fragments together. With ``anywhere`` it stands for every
address there is, as the exit of a tunnel does.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from ipaddress import ip_address
from typing import Final, Protocol

import attrs

from pharos.wire.awg.checksum import header_sum
from pharos.wire.awg.icmp import Echo, answer_echo, build_echo, parse_echo
from pharos.wire.awg.netstack.fragments import Reassembler
from pharos.wire.awg.netstack.icmperror import (
    IcmpError,
    Problem,
    build_icmp_error,
    deserves_answer,
    error_of,
    is_unicast,
    parse_icmp_error,
)
from pharos.wire.awg.netstack.ip import ICMP, ICMPV6, TCP, UDP, IpPacket, build_fragments, build_ip, parse_ip
from pharos.wire.awg.netstack.pathmtu import PathMtus
from pharos.wire.awg.netstack.tcp.config import TcpConfig
from pharos.wire.awg.netstack.tcp.flow import Flow
from pharos.wire.awg.netstack.tcp.reset import reset_for
from pharos.wire.awg.netstack.tcp.segment import ACK, RST, SYN, Segment, parse_segment
from pharos.wire.awg.netstack.tcptable import TcpTable
from pharos.wire.awg.netstack.udp import UdpDatagram, build_udp, parse_udp
from pharos.wire.awg.randomness import Random

ERRORS_PER_SECOND: Final = 100
"""Errors and resets that one address gets, so that nobody has us send as much as he does (RFC 4443 §2.4 f)."""
_ERRORS_AT_ONCE: Final = 50
_MAX_STRANGERS: Final = 1024
"""Addresses whose answers are counted, oldest out: more than a node's tunnel has peers."""
_WHOLE: Final = 0x3FFF
_LOOPBACK6: Final = bytes(15) + b"\x01"


class Above(Protocol):
    """Who uses a host."""

    def take_syn(self, flow: Flow, segment: Segment, packet: bytes, now: float) -> bool:
        """Take what begins a connection, to accept it now or later; False: nobody listens there."""
        ...

    def take_datagram(self, datagram: UdpDatagram, packet: bytes, now: float) -> bool:
        """Take a datagram; False: nobody receives there."""
        ...

    def take_error(self, error: IcmpError) -> bool:
        """Take what became of a datagram; False: we sent none of the kind."""
        ...

    def take_reply(self, echo: Echo) -> None: ...


class Host:
    """``now`` is any clock in seconds that does not go back. What there is to send `take_output` gives."""

    def __init__(
        self, *, addresses: Collection[bytes], tcp: TcpTable, above: Above, random: Random, anywhere: bool = False
    ) -> None:
        """``addresses`` are packed; the MTU is that of ``tcp``."""
        self.set_addresses(addresses)
        self.tcp = tcp
        self.paths = PathMtus(tcp.config.mtu)
        self._above = above
        self._random = random
        self._anywhere = anywhere
        self._reassembler = Reassembler()
        self._budgets: dict[bytes, _Budget] = {}
        self._output: list[bytes] = []

    def set_addresses(self, addresses: Collection[bytes]) -> None:
        """Be the host of these from now on. Packed, all of them."""
        self.addresses = frozenset(addresses)
        self._inner = frozenset(map(ip_address, addresses))

    def config_for(self, remote: bytes, now: float) -> TcpConfig:
        """Return what a connection to a packed address goes by."""
        return self.tcp.config_for(self.paths.get(remote, now))

    # -- in

    def receive(self, packets: Sequence[bytes], now: float) -> None:
        """Take packets. Those that are damaged, or not for us, are dropped."""
        find, tcp = self.tcp.find, self.tcp
        for packet in packets:
            # Nearly everything is a segment of a connection: what it takes to know that is looked at first.
            if len(packet) >= 40:
                if packet[0] == 0x45 and packet[9] == TCP:
                    start, key, plain = 20, packet[12:24], not header_sum(packet[:20])
                    plain = plain and packet[2:4] == len(packet).to_bytes(2, "big")
                    plain = plain and not int.from_bytes(packet[6:8], "big") & _WHOLE
                elif packet[0] >> 4 == 6 and packet[6] == TCP:
                    start, key = 40, packet[8:44]
                    plain = packet[4:6] == (len(packet) - 40).to_bytes(2, "big")
                else:
                    plain = False
                if plain and (entry := find(key)) is not None:
                    segment = parse_segment(packet, start)
                    if segment is None:
                        continue
                    if not tcp.makes_way(entry, segment):
                        tcp.receive(entry, segment, now)
                        continue
            self._receive(packet, now)

    def _receive(self, data: bytes, now: float, *, again: bool = False) -> None:
        packet = parse_ip(data)
        if packet is None or not self._is_ours(packet.destination) or not is_unicast(packet.source):
            return
        if packet.fragment is not None:
            whole = None if again else self._reassembler.receive(packet, now)
            if whole is not None:
                self._receive(whole, now, again=True)
            return
        if packet.hop_limit <= 1 and packet.destination not in self.addresses:
            self._complain(packet, Problem.TIME_EXCEEDED, now)
        elif packet.protocol == TCP:
            self._receive_segment(packet, now)
        elif packet.protocol == UDP:
            datagram = parse_udp(packet)
            if datagram is not None and not self._above.take_datagram(datagram, packet.data, now):
                self._complain(packet, Problem.PORT_UNREACHABLE, now)
        elif packet.protocol in (ICMP, ICMPV6):
            self._receive_icmp(packet, now)
        else:
            self._complain(packet, Problem.PROTOCOL_UNREACHABLE, now)

    def _receive_segment(self, packet: IpPacket, now: float) -> None:
        segment = parse_segment(packet.data, packet.start)
        if segment is None:
            return
        flow = Flow(
            local=packet.destination,
            local_port=segment.destination_port,
            remote=packet.source,
            remote_port=segment.source_port,
        )
        entry = self.tcp.find(packet.source + packet.destination + packet.data[packet.start : packet.start + 4])
        if entry is not None and not self.tcp.makes_way(entry, segment):
            self.tcp.receive(entry, segment, now)
            return
        wanted = segment.flags & (SYN | ACK | RST) == SYN and segment.source_port and segment.destination_port
        if wanted and self._above.take_syn(flow, segment, packet.data, now):
            return
        self.refuse(flow, segment, now)

    def _receive_icmp(self, packet: IpPacket, now: float) -> None:
        if (packet.protocol == ICMP) != (packet.version == 4):
            return
        error = parse_icmp_error(packet)
        if error is not None:
            self._take_error(error, now)
            return
        plain = build_ip(packet.source, packet.destination, packet.protocol, packet.payload)
        reply = answer_echo(plain, self._inner)
        if reply is not None:
            self._send_payload(packet.destination, packet.source, packet.protocol, reply[-len(packet.payload) :], now)
        elif packet.destination in self.addresses and (echo := parse_echo(plain)) is not None and echo.reply:
            self._above.take_reply(echo)

    def _take_error(self, error: IcmpError, now: float) -> None:
        """Believe what is about something that we did send: anybody can make up the rest (RFC 5927)."""
        if error.protocol == TCP:
            ports = error.destination_port << 16 | error.source_port
            entry = self.tcp.find(error.destination + error.source + ports.to_bytes(4, "big"))
            if entry is None or not entry.connection.is_outstanding(error.sequence):
                return
            if error.problem is not Problem.TOO_BIG:
                entry.connection.unreachable(error_of(error.problem))
            elif error.mtu < self.paths.mtu:
                self.paths.learn(error.destination, error.mtu, now)
                entry.connection.set_mss(error.mtu)
            self.tcp.change(entry)
        elif self._above.take_error(error) and error.problem is Problem.TOO_BIG:
            self.paths.learn(error.destination, error.mtu, now)

    # -- out

    def send_datagram(self, datagram: UdpDatagram, now: float) -> None:
        """Send a datagram, cut in pieces where the path takes less."""
        self._send_payload(datagram.source, datagram.destination, UDP, build_udp(datagram), now)

    def send_echo(self, echo: Echo, now: float) -> None:
        """Send an echo request."""
        packet = build_echo(echo)
        start, protocol = (20, ICMP) if echo.source.version == 4 else (40, ICMPV6)
        self._send_payload(echo.source.packed, echo.destination.packed, protocol, packet[start:], now)

    def complain(self, problem: Problem, about: bytes, now: float) -> None:
        """Tell the sender of a packet why it goes no further; within bounds."""
        packet = parse_ip(about)
        if packet is not None:
            self._complain(packet, problem, now)

    def refuse(self, flow: Flow, segment: Segment, now: float) -> None:
        """Answer a segment that belongs to no connection; within bounds."""
        if self._allow(flow.remote, now) and (packet := reset_for(flow, segment)) is not None:
            self._output.append(packet)

    def take_output(self, now: float, room: int) -> list[bytes]:
        """Return packets to send now: at most about ``room`` of TCP's, whose others wait for the next time."""
        output, self._output = self._output, []
        return output + self.tcp.take(now, room)

    def _send_payload(self, source: bytes, destination: bytes, protocol: int, payload: bytes, now: float) -> None:
        self._output += build_fragments(
            source,
            destination,
            protocol,
            payload,
            mtu=self.paths.get(destination, now),
            identification=int.from_bytes(self._random(4), "big"),
        )

    def _complain(self, packet: IpPacket, problem: Problem, now: float) -> None:
        source = packet.destination
        if source not in self.addresses:
            # We speak for ourselves where we can; else in the name of who was not reached.
            source = next((own for own in self.addresses if len(own) == len(source)), source)
        if deserves_answer(packet) and self._allow(packet.source, now):
            self._output.append(build_icmp_error(problem, packet.data, source))

    def _allow(self, stranger: bytes, now: float) -> bool:
        """Whether somebody gets another answer yet: each has so many a second."""
        budget = self._budgets.get(stranger)
        if budget is None:
            if len(self._budgets) >= _MAX_STRANGERS:
                del self._budgets[next(iter(self._budgets))]
            budget = self._budgets[stranger] = _Budget(at=now)
        return budget.allow(now)

    def _is_ours(self, destination: bytes) -> bool:
        if destination in self.addresses:
            return True
        if not self._anywhere or not is_unicast(destination):
            return False
        return destination[0] != 127 if len(destination) == 4 else destination != _LOOPBACK6


@attrs.define
class _Budget:
    at: float
    left: float = _ERRORS_AT_ONCE

    def allow(self, now: float) -> bool:
        self.left = min(float(_ERRORS_AT_ONCE), self.left + max(0.0, now - self.at) * ERRORS_PER_SECOND)
        self.at = now
        if self.left < 1:
            return False
        self.left -= 1
        return True
