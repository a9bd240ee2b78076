import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pharos.wire.awg.generate import generate, quic_initial
from pharos.wire.awg.messages import CORE_BYTES, KEEPALIVE_BYTES, MessageKind
from pharos.wire.awg.params import PLAIN, Generation, ObfuscationParameters
from tests.support.strategies import quick

obfuscated = st.sampled_from([generation for generation in Generation if generation])
seeds = st.integers(0, 2**32)


@quick
@given(seeds, obfuscated)
def test_generated_parameters_are_good_and_survive_a_round_trip(seed, generation):
    parameters = generate(random.Random(seed).randbytes, generation)
    assert parameters.generation is generation
    assert ObfuscationParameters.from_mapping(parameters.as_mapping()) == parameters
    assert 4 <= parameters.jc <= 10
    for kind in MessageKind:
        header = parameters.header_range(kind)
        assert 5 <= header.low <= header.high < 2**31


@quick
@given(seeds, obfuscated)
def test_no_generated_handshake_has_a_size_of_wireguards_or_of_a_transport_message(seed, generation):
    parameters = generate(random.Random(seed).randbytes, generation)
    for kind, size in CORE_BYTES.items():
        if parameters.padding(kind) or kind is not MessageKind.COOKIE_REPLY:
            padded = size + parameters.padding(kind)
            assert padded not in CORE_BYTES.values()
            # Inner packets are filled up to a multiple of 16.
            assert (padded - parameters.s4 - KEEPALIVE_BYTES) % 16 != 0


@quick
@given(seeds)
def test_ranges_of_generation_2_are_wide(seed):
    parameters = generate(random.Random(seed).randbytes, Generation.V2_0)
    assert all(parameters.header_range(kind).span > 2**28 for kind in MessageKind)


def test_generated_sets_differ_and_wireguard_needs_none():
    source = random.Random(3).randbytes
    assert len({generate(source, Generation.V3_1) for _ in range(20)}) == 20
    assert generate(source, Generation.WIREGUARD) == PLAIN


@pytest.mark.parametrize("seed", range(5))
def test_the_quic_initial_has_the_length_it_says(seed):
    source = random.Random(seed).randbytes
    datagram = quic_initial(source).build(source, unix_time=0, counter=0)
    assert len(datagram) == 1200
    assert datagram[0] & 0b1111_0000 == 0b1100_0000  # Long header, fixed bit, Initial (RFC 9000 §17.2).
    assert datagram[1:6] == b"\0\0\0\1\x08"  # Version 1, a connection id of eight bytes.
    assert datagram[14:16] == b"\0\0"  # No source connection id, no token.
    assert int.from_bytes(datagram[16:18], "big") == 0x4000 | len(datagram[18:])  # RFC 9000 §16.
