from ipaddress import ip_address

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pharos.wire.awg.icmp import Echo, answer_echo, build_echo, checksum, parse_echo

V4 = Echo(source=ip_address("10.7.0.2"), destination=ip_address("10.7.0.1"), identifier=7, sequence=3, payload=b"data")
V6 = attrs.evolve(V4, source=ip_address("fd00::2"), destination=ip_address("fd00::1"))

echoes = st.one_of(
    *(
        st.builds(
            Echo,
            source=addresses,
            destination=addresses,
            identifier=st.integers(0, 65535),
            sequence=st.integers(0, 65535),
            payload=st.binary(max_size=64),
            reply=st.booleans(),
        )
        for addresses in (st.ip_addresses(v=4), st.ip_addresses(v=6))
    )
)


def test_an_ipv4_echo_is_what_a_kernel_sends():
    # Sums by hand: 4500+0020+4001+0a07+0002+0a07+0001 = 9932 and 0800+0007+0003+6461+7461 = e0cc, inverted.
    header = "450000200000000040" + "01" + "66cd" + "0a070002" + "0a070001"
    assert build_echo(V4).hex() == header + "0800" + "1f33" + "00070003" + "64617461"


def test_an_ipv6_echo_covers_its_pseudo_header():
    packet = build_echo(V6)
    assert packet[:8].hex() == "60000000000c3a40"
    pseudo = packet[8:40] + (12).to_bytes(4, "big") + bytes([0, 0, 0, 58])
    assert checksum(pseudo + packet[40:]) == 0


@given(echoes)
def test_an_echo_survives_a_round_trip(echo):
    assert parse_echo(build_echo(echo)) == echo


@given(echoes, st.data())
def test_a_damaged_message_is_not_an_echo(echo, data):
    packet = bytearray(build_echo(echo))
    # Every byte that a checksum covers in both families.
    position = data.draw(st.integers(len(packet) - 8 - len(echo.payload), len(packet) - 1))
    packet[position] ^= data.draw(st.sampled_from([1, 2, 4, 8, 16, 32, 64, 128]))
    assert parse_echo(bytes(packet)) is None


@given(st.binary(max_size=80), st.sampled_from([0x45, 0x46, 0x4F, 0x60]))
def test_noise_is_no_echo_and_no_error(noise, first):
    assert answer_echo(noise, [V4.destination]) is None
    parse_echo(bytes([first]) + noise)


@pytest.mark.parametrize("request_", [V4, V6], ids=["ipv4", "ipv6"])
def test_an_echo_for_us_is_answered(request_):
    answer = answer_echo(build_echo(request_), {request_.destination})
    assert parse_echo(answer) == attrs.evolve(
        request_, source=request_.destination, destination=request_.source, reply=True
    )


def test_nothing_else_is_answered():
    assert answer_echo(build_echo(V4), {V4.source}) is None
    assert answer_echo(build_echo(attrs.evolve(V4, reply=True)), {V4.destination}) is None
    fragment = bytearray(build_echo(V4))
    fragment[6] |= 0x20
    assert answer_echo(bytes(fragment), {V4.destination}) is None


def test_the_checksum_of_nothing_but_zeros_is_all_ones():
    assert checksum(bytes(8)) == 0xFFFF
    assert checksum(b"\xff\xff") == 0
    assert checksum(b"") == 0xFFFF
    assert checksum(b"\x01") == 0xFEFF
    silent = attrs.evolve(V4, identifier=0, sequence=0, payload=b"", reply=True)
    assert build_echo(silent)[20:] == bytes.fromhex("0000ffff00000000")
    assert parse_echo(build_echo(silent)) == silent
