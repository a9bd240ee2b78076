import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pharos.wire.awg.batches import MAX_BATCH_SEGMENTS
from pharos.wire.awg.framing import Framing
from pharos.wire.awg.messages import TRANSPORT_HEADER
from pharos.wire.awg.params import PLAIN, ObfuscationParameters
from pharos.wire.awg.protection import HeaderProtector
from pharos.wire.awg.session import NONCE
from pharos.wire.awg.strides import Nonces, strided
from tests.wire.awg.simulated import Network

MASKED = ObfuscationParameters(s1=20, s2=21, s3=22, s4=23, h4="1000-2000", header_protection_key=bytes(range(32)))


@given(st.integers(1, MAX_BATCH_SEGMENTS), st.integers(0, 50))
def test_fields_stand_as_far_apart_as_is_said_with_zeros_between(count, gap):
    buffer = bytearray(b"\xff" * (count * (7 + gap)))
    layout = strided(">BIH", 7 + gap, count)
    layout.pack_into(buffer, 0, *[1, 2, 3] * count)
    one = struct.pack(">BIH", 1, 2, 3)
    assert bytes(buffer[: layout.size]) == (one + bytes(gap)) * (count - 1) + one
    assert bytes(buffer[layout.size :]) == b"\xff" * gap


def test_nonces_of_a_batch_are_those_of_its_messages():
    nonces = Nonces()
    first = nonces.write(range(2**32 - 3, 2**32 + 5))
    assert [bytes(nonce) for nonce in first[:8]] == [NONCE.pack(counter) for counter in range(2**32 - 3, 2**32 + 5)]
    assert len(nonces.write(range(MAX_BATCH_SEGMENTS))) == MAX_BATCH_SEGMENTS


@given(st.lists(st.tuples(st.binary(min_size=12, max_size=12), st.binary(min_size=16, max_size=16)), min_size=1))
def test_many_headers_are_masked_as_each_by_itself(messages):
    messages = messages[:MAX_BATCH_SEGMENTS]
    protector = HeaderProtector(bytes(range(32)))
    masked = protector.apply_all([nonce for nonce, _ in messages], [header for _, header in messages])
    assert masked == [protector.apply(nonce, header) for nonce, header in messages]


@pytest.mark.parametrize("parameters", [PLAIN, ObfuscationParameters(s4=20, h4="1000-2000"), MASKED], ids=str)
def test_headers_that_are_written_are_read_again(parameters):
    framing = Framing(parameters, Network().random)
    stride, counters = framing.transport_least + 11, range(70, 80)
    buffer = bytearray(stride * len(counters))
    framing.put_headers(buffer, 0, stride, 0xCAFE, counters)
    kinds, indices, found = framing.read_headers(buffer, stride, len(counters))
    low, high = framing.transport_headers.low, framing.transport_headers.high
    assert all(low <= kind <= high for kind in kinds)
    assert (indices, found) == ((0xCAFE,) * 10, tuple(counters))
    # One by one it is the same.
    single = bytearray(stride)
    framing.put_header(single, 0, 0xCAFE, 99)
    assert [fields[0] for fields in framing.read_headers(single, stride, 1)][1:] == [0xCAFE, 99]
    assert len(TRANSPORT_HEADER.pack(0, 0, 0)) + framing.transport_offset < stride
