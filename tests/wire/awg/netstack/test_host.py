"""A host and its packets, without a clock or a link."""

from __future__ import annotations

import random
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pharos.wire.awg.icmp import Echo, build_echo, parse_echo
from pharos.wire.awg.netstack.fragments import MAX_BYTES
from pharos.wire.awg.netstack.host import ERRORS_PER_SECOND, Host
from pharos.wire.awg.netstack.icmperror import IcmpError, Problem, build_icmp_error, parse_icmp_error
from pharos.wire.awg.netstack.ip import HOP_BY_HOP, TCP, UDP, build_fragments, build_ip, parse_ip
from pharos.wire.awg.netstack.tcp.config import TcpConfig
from pharos.wire.awg.netstack.tcp.flow import Flow
from pharos.wire.awg.netstack.tcp.segment import ACK, RST, SYN, PacketWriter, Segment, parse_segment
from pharos.wire.awg.netstack.tcp.states import State
from pharos.wire.awg.netstack.tcptable import TcpEntry, TcpTable
from pharos.wire.awg.netstack.udp import UdpDatagram, build_udp

OURS = {4: ip_address("10.7.0.2").packed, 6: ip_address("fd07::2").packed}
PEER = {4: ip_address("192.0.2.1").packed, 6: ip_address("2001:db8::1").packed}
VERSIONS = pytest.mark.parametrize("version", [4, 6])
MTU = 1400


class Recorder:
    """Takes what port 80 of TCP and port 53 of UDP get."""

    def __init__(self) -> None:
        self.syns: list[tuple[Flow, Segment]] = []
        self.datagrams: list[UdpDatagram] = []
        self.errors: list[IcmpError] = []
        self.replies: list[Echo] = []

    def take_syn(self, flow: Flow, segment: Segment, packet: bytes, now: float) -> bool:
        if flow.local_port != 80:
            return False
        self.syns.append((flow, segment))
        return True

    def take_datagram(self, datagram: UdpDatagram, packet: bytes, now: float) -> bool:
        if datagram.destination_port != 53:
            return False
        self.datagrams.append(datagram)
        return True

    def take_error(self, error: IcmpError) -> bool:
        self.errors.append(error)
        return True

    def take_reply(self, echo: Echo) -> None:
        self.replies.append(echo)


def make_host(*, anywhere: bool = False) -> tuple[Host, Recorder]:
    recorder = Recorder()
    randbytes = random.Random(1).randbytes
    table = TcpTable(TcpConfig(mtu=MTU), randbytes)
    host = Host(addresses=OURS.values(), tcp=table, above=recorder, random=randbytes, anywhere=anywhere)
    return host, recorder


def sent(host: Host, now: float = 0.0) -> list[bytes]:
    return host.take_output(now, 1000)


def flow_to(version: int, port: int = 80) -> Flow:
    """Return a flow as the peer sees it."""
    return Flow(local=PEER[version], local_port=40_000, remote=OURS[version], remote_port=port)


def datagram(version: int, port: int, data: bytes = b"data") -> bytes:
    body = build_udp(UdpDatagram(PEER[version], 40_000, OURS[version], port, data))
    return build_ip(PEER[version], OURS[version], UDP, body)


def dialled(host: Host, version: int) -> tuple[TcpEntry, Segment]:
    """Dial the peer; return the connection and the SYN that was sent."""
    flow = Flow(local=OURS[version], local_port=50_000, remote=PEER[version], remote_port=443)
    entry = host.tcp.dial(flow, host.tcp.config, lambda: None, 0.0)
    (packet,) = sent(host)
    return entry, parse_segment(packet, 20 if version == 4 else 40)


@VERSIONS
def test_a_datagram_for_somebody_is_handed_on(version: int):
    host, above = make_host()
    host.receive([datagram(version, 53)], 0.0)
    assert [item.data for item in above.datagrams] == [b"data"]
    assert sent(host) == []


@VERSIONS
def test_a_datagram_for_nobody_is_answered_by_an_error(version: int):
    host, _ = make_host()
    host.receive([datagram(version, 54)], 0.0)
    (packet,) = sent(host)
    error = parse_icmp_error(parse_ip(packet))
    assert (error.problem, error.destination_port) == (Problem.PORT_UNREACHABLE, 54)


@VERSIONS
def test_a_datagram_in_fragments_is_handed_on_once(version: int):
    host, above = make_host()
    body = build_udp(UdpDatagram(PEER[version], 40_000, OURS[version], 53, bytes(5000)))
    packets = build_fragments(PEER[version], OURS[version], UDP, body, mtu=1280, identification=1)
    host.receive(packets[::-1], 0.0)
    assert [len(item.data) for item in above.datagrams] == [5000]


@VERSIONS
def test_what_is_for_others_is_dropped(version: int):
    host, above = make_host()
    body = build_udp(UdpDatagram(OURS[version], 40_000, PEER[version], 53, b"data"))
    host.receive([build_ip(OURS[version], PEER[version], UDP, body)], 0.0)
    assert above.datagrams == []
    assert sent(host) == []


@VERSIONS
def test_a_host_of_everywhere_takes_what_is_for_others(version: int):
    host, above = make_host(anywhere=True)
    body = build_udp(UdpDatagram(OURS[version], 40_000, PEER[version], 53, b"data"))
    host.receive([build_ip(OURS[version], PEER[version], UDP, body)], 0.0)
    assert len(above.datagrams) == 1


@VERSIONS
def test_a_host_of_everywhere_is_a_hop_to_traceroute(version: int):
    host, above = make_host(anywhere=True)
    third = ip_address("198.51.100.1" if version == 4 else "2001:db8:5::1").packed
    packet = bytearray(build_ip(PEER[version], third, UDP, build_udp(UdpDatagram(PEER[version], 1, third, 53, b""))))
    if version == 4:
        # What the hop limit loses, the checksum gains.
        packet[8] -= 63
        packet[10:12] = ((int.from_bytes(packet[10:12], "big") + (63 << 8)) % 0xFFFF).to_bytes(2, "big")
    else:
        packet[7] = 1
    host.receive([bytes(packet)], 0.0)
    (answer,) = sent(host)
    parsed = parse_ip(answer)
    assert parse_icmp_error(parsed).problem is Problem.TIME_EXCEEDED
    assert parsed.source == OURS[version]
    assert above.datagrams == []


@VERSIONS
def test_a_protocol_that_nobody_speaks_is_answered_by_an_error(version: int):
    host, _ = make_host()
    host.receive([build_ip(PEER[version], OURS[version], 132, bytes(20))], 0.0)
    (packet,) = sent(host)
    # It is about no flow of TCP or UDP, so that nobody could read it to one.
    assert parse_icmp_error(parse_ip(packet)) is None
    assert parse_ip(packet).payload[:2] == (b"\x03\x02" if version == 4 else b"\x04\x01")


@VERSIONS
def test_echoes_are_answered_and_replies_handed_on(version: int):
    host, above = make_host()
    echo = Echo(
        source=ip_address(PEER[version]), destination=ip_address(OURS[version]), identifier=1, sequence=2, payload=b"p"
    )
    host.receive([build_echo(echo)], 0.0)
    (packet,) = sent(host)
    answer = parse_echo(packet)
    assert (answer.reply, answer.destination, answer.payload) == (True, echo.source, b"p")
    reply = Echo(source=echo.source, destination=echo.destination, identifier=1, sequence=2, payload=b"p", reply=True)
    host.receive([build_echo(reply)], 0.0)
    assert above.replies == [reply]


@VERSIONS
def test_a_syn_is_handed_on_or_refused(version: int):
    host, above = make_host()
    for port in (80, 81):
        host.receive([PacketWriter(flow_to(version, port)).write(7, 0, SYN, 1000, b"")], 0.0)
    assert [flow for flow, _ in above.syns] == [flow_to(version).reversed()]
    (packet,) = sent(host)
    refusal = parse_segment(packet, 20 if version == 4 else 40)
    assert (refusal.flags, refusal.ack, refusal.source_port) == (RST | ACK, 8, 81)


@VERSIONS
def test_a_segment_of_no_connection_is_refused_and_a_reset_is_not(version: int):
    host, above = make_host()
    writer = PacketWriter(flow_to(version))
    host.receive([writer.write(7, 99, ACK, 1000, b""), writer.write(7, 0, RST, 0, b"")], 0.0)
    (packet,) = sent(host)
    assert parse_segment(packet, 20 if version == 4 else 40).flags == RST
    assert above.syns == []


def test_a_segment_behind_extension_headers_finds_its_connection():
    host, _ = make_host()
    entry, syn = dialled(host, 6)
    flow = entry.connection.flow
    packet = PacketWriter(flow.reversed()).write(77, (syn.seq + 1) & 0xFFFFFFFF, SYN | ACK, 1000, b"")
    options = bytes((TCP, 0)) + bytes(6)
    length = (len(packet) - 40 + len(options)).to_bytes(2, "big")
    behind = packet[:4] + length + bytes((HOP_BY_HOP,)) + packet[7:40] + options + packet[40:]
    host.receive([behind], 0.1)
    assert entry.connection.state is State.ESTABLISHED


@VERSIONS
def test_a_dial_ends_when_a_router_says_that_there_is_no_way(version: int):
    host, _ = make_host()
    entry, syn = dialled(host, version)
    about = PacketWriter(entry.connection.flow).write(syn.seq, 0, SYN, 1000, b"")
    host.receive([build_icmp_error(Problem.HOST_UNREACHABLE, about, PEER[version])], 0.1)
    assert entry.connection.failure is not None
    assert host.tcp.find(entry.key) is entry
    sent(host, 0.1)
    assert host.tcp.find(entry.key) is None


@VERSIONS
def test_an_error_about_what_was_not_sent_is_not_believed(version: int):
    host, above = make_host()
    entry, syn = dialled(host, version)
    about = PacketWriter(entry.connection.flow).write((syn.seq + 1000) & 0xFFFFFFFF, 0, SYN, 1000, b"")
    for problem in (Problem.HOST_UNREACHABLE, Problem.TOO_BIG):
        host.receive([build_icmp_error(problem, about, PEER[version], mtu=1280)], 0.1)
    assert entry.connection.failure is None
    assert host.paths.get(PEER[version], 0.1) == MTU
    assert above.errors == []


@VERSIONS
def test_what_a_router_says_of_a_path_is_kept_for_the_next_connection(version: int):
    host, _ = make_host()
    entry, syn = dialled(host, version)
    about = PacketWriter(entry.connection.flow).write(syn.seq, 0, SYN, 1000, b"")
    host.receive([build_icmp_error(Problem.TOO_BIG, about, PEER[version], mtu=1300)], 0.1)
    assert host.paths.get(PEER[version], 0.2) == 1300
    assert host.paths.get(PEER[version], 601.0) == MTU


def test_errors_to_strangers_are_bounded():
    host, _ = make_host()
    for _ in range(1000):
        host.receive([datagram(4, 54), PacketWriter(flow_to(4, 81)).write(7, 0, SYN, 1000, b"")], 0.0)
    assert len(sent(host)) <= ERRORS_PER_SECOND
    host.receive([datagram(4, 54)] * 1000, 1.0)
    assert len(sent(host, 1.0)) <= ERRORS_PER_SECOND


def test_a_stranger_who_has_had_his_answers_takes_none_from_others():
    host, _ = make_host()
    host.receive([datagram(4, 54)] * 1000, 0.0)
    sent(host)
    host.receive([datagram(4, 54), datagram(6, 54)], 0.0)
    assert [len(packet) > 60 for packet in sent(host)] == [True]


def test_answers_to_ever_new_strangers_are_counted_within_bounds():
    host, _ = make_host()
    for number in range(3000):
        source = ip_address(0x0B000000 + number).packed
        body = build_udp(UdpDatagram(source, 1, OURS[4], 54, b""))
        host.receive([build_ip(source, OURS[4], UDP, body)], 0.0)
    assert len(host._budgets) <= 1024


def test_connections_take_turns_where_there_is_little_room():
    host, _ = make_host()
    for port in range(10):
        flow = Flow(local=OURS[4], local_port=50_000 + port, remote=PEER[4], remote_port=443)
        host.tcp.dial(flow, host.tcp.config, lambda: None, 0.0)
    first = host.take_output(0.0, 4)
    assert len(first) == 4
    assert host.tcp.waits
    rest = host.take_output(0.0, 100)
    assert len({packet[20:22] for packet in first + rest}) == 10
    assert not host.tcp.waits


def test_deadlines_that_were_superseded_are_swept_out():
    host, _ = make_host()
    for number in range(200):
        flow = Flow(local=OURS[4], local_port=50_000 + number, remote=PEER[4], remote_port=443)
        entry = host.tcp.dial(flow, host.tcp.config, lambda: None, 0.0)
        sent(host)
        entry.connection.abort(0.0)
        host.tcp.touch(entry)
        sent(host)
    assert len(host.tcp) == 0
    assert len(host.tcp._deadlines) < 10


packets = st.one_of(
    st.binary(max_size=120),
    st.builds(
        lambda version, protocol, payload: build_ip(PEER[version], OURS[version], protocol, payload),
        st.sampled_from((4, 6)),
        st.sampled_from((0, 1, 6, 17, 43, 44, 58, 60)),
        st.binary(max_size=100),
    ),
    st.builds(
        lambda version, seq, ack, flags, window, payload: PacketWriter(flow_to(version)).write(
            seq, ack, flags, window, b"", payload
        ),
        st.sampled_from((4, 6)),
        st.integers(0, 2**32 - 1),
        st.integers(0, 2**32 - 1),
        st.integers(0, 63),
        st.integers(0, 65535),
        st.binary(max_size=40),
    ),
    st.builds(
        lambda version, problem, quoted: build_icmp_error(
            problem, build_ip(OURS[version], PEER[version], TCP, quoted), PEER[version], mtu=100
        ),
        st.sampled_from((4, 6)),
        st.sampled_from(Problem),
        st.binary(max_size=40),
    ),
)


@given(st.lists(packets, max_size=40), st.booleans())
def test_hostile_packets_raise_nothing_and_are_answered_by_no_more(batch: list[bytes], anywhere: bool):
    host, _ = make_host(anywhere=anywhere)
    entry, _ = dialled(host, 4)
    for now, packet in enumerate(batch):
        host.receive([packet], float(now))
        assert len(sent(host, float(now))) <= 2
    assert host._reassembler.held <= MAX_BYTES
    assert host.tcp.find(entry.key) in (entry, None)


@given(st.integers(0, 200), st.integers(0, 255), st.sampled_from((4, 6)))
def test_a_damaged_segment_changes_nothing(at: int, octet: int, version: int):
    host, _ = make_host()
    entry, syn = dialled(host, version)
    packet = bytearray(
        PacketWriter(entry.connection.flow.reversed()).write(77, (syn.seq + 1) & 0xFFFFFFFF, SYN | ACK, 1000, b"")
    )
    if packet[at % len(packet)] == octet:
        return
    packet[at % len(packet)] = octet
    host.receive([bytes(packet)], 0.1)
    # Of IPv6 the traffic class, the flow label and the hop limit are under no checksum, and mean nothing here.
    unprotected = version == 6 and (at % len(packet) in (0, 1, 2, 3, 7))
    assert entry.connection.state is State.SYN_SENT or unprotected
