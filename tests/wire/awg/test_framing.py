import random

from hypothesis import given
from hypothesis import strategies as st

from pharos.wire.awg.framing import Framing
from pharos.wire.awg.messages import CORE_BYTES, KEEPALIVE_BYTES, MessageKind
from pharos.wire.awg.params import PLAIN, ObfuscationParameters, generate

seeds = st.integers(min_value=0, max_value=2**32)


def framing_of(seed, parameters=None):
    randbytes = random.Random(seed).randbytes
    return Framing(parameters or generate(randbytes), randbytes)


def message_of(framing, kind, body=b""):
    size = CORE_BYTES.get(kind, KEEPALIVE_BYTES + len(body))
    return framing.header(kind).to_bytes(4, "little") + body.ljust(size - 4, b"\x55")[: size - 4]


@given(seeds, st.sampled_from(MessageKind), st.binary(max_size=1400))
def test_what_is_wrapped_is_recognised_and_unwrapped(seed, kind, body):
    framing = framing_of(seed)
    message = message_of(framing, kind, body)
    datagram = framing.wrap(kind, message)
    assert len(datagram) == len(message) + framing.parameters.padding(kind)
    assert framing.classify(datagram) is kind
    assert framing.unwrap(kind, datagram) == message


@given(seeds, st.binary(max_size=1500))
def test_noise_is_classified_without_error(seed, noise):
    for framing in (framing_of(seed), framing_of(seed, PLAIN)):
        kind = framing.classify(noise)
        assert kind is None or framing.unwrap(kind, noise)[:4] == framing.header(kind).to_bytes(4, "little")


def test_a_message_of_other_parameters_is_junk():
    ours, theirs = framing_of(1), framing_of(2)
    for kind in MessageKind:
        assert ours.classify(theirs.wrap(kind, message_of(theirs, kind))) is None


def test_the_right_type_at_the_wrong_size_is_junk():
    framing = framing_of(0, PLAIN)
    initiation = message_of(framing, MessageKind.INITIATION)
    assert framing.classify(initiation) is MessageKind.INITIATION
    assert framing.classify(initiation + b"\0") is None
    assert framing.classify(initiation[:-1]) is None
    assert framing.classify(message_of(framing, MessageKind.TRANSPORT)[:-1]) is None


def test_a_transport_message_of_an_initiations_size_is_told_apart_by_its_type():
    framing = framing_of(3)
    size = CORE_BYTES[MessageKind.INITIATION] + framing.parameters.s1
    message = message_of(framing, MessageKind.TRANSPORT, bytes(size - KEEPALIVE_BYTES))
    assert len(message) == size
    assert framing.classify(message) is MessageKind.TRANSPORT


@given(seeds)
def test_junk_keeps_its_number_and_its_bounds(seed):
    framing = framing_of(seed)
    parameters = framing.parameters
    junk = framing.junk()
    assert len(junk) == parameters.jc
    assert all(parameters.jmin <= len(datagram) <= parameters.jmax for datagram in junk)


def test_junk_reaches_both_bounds_and_is_never_empty():
    framing = framing_of(0, ObfuscationParameters(jc=128, jmin=0, jmax=2))
    assert {len(datagram) for datagram in framing.junk()} == {1, 2}


def test_plain_wireguard_sends_no_junk():
    assert framing_of(0, PLAIN).junk() == []
