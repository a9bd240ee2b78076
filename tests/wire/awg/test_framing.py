import random
from collections import Counter

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pharos.wire.awg.framing import FIRST_WIDTH, Framing
from pharos.wire.awg.generate import generate
from pharos.wire.awg.messages import CORE_BYTES, KEEPALIVE_BYTES, TRANSPORT_HEADER, MessageKind
from pharos.wire.awg.params import PLAIN, Generation, ObfuscationParameters
from pharos.wire.awg.ranges import Range
from tests.wire.awg import reference_framing
from tests.wire.awg.dressing import classify, dress, message_of, undress

seeds = st.integers(min_value=0, max_value=2**32)
generations = st.sampled_from(Generation)
KEY = bytes(range(32))
PROTECTED = ObfuscationParameters(s1=16, s2=17, s3=18, s4=19, header_protection_key=KEY)


def framing_of(seed, parameters=None, generation=Generation.V1_0):
    randbytes = random.Random(seed).randbytes
    return Framing(parameters or generate(randbytes, generation), randbytes)


@given(seeds, generations, st.sampled_from(MessageKind), st.binary(max_size=1400))
def test_what_is_wrapped_is_recognised_and_unwrapped(seed, generation, kind, body):
    framing = framing_of(seed, generation=generation)
    message = message_of(framing, kind, body)
    datagram = dress(framing, kind, message)
    trailer = len(datagram) - len(message) - framing.parameters.padding(kind)
    assert trailer == 0 or (trailer > 0 and framing.trailers)
    found, unwrapped = undress(framing, datagram)
    assert found is kind
    assert unwrapped[4:] == message[4:]
    # A transport message draws its type field when it is put in place.
    assert int.from_bytes(unwrapped[:4], "little") in framing.parameters.header_range(kind)


@given(seeds, generations, st.binary(max_size=1500))
def test_noise_is_classified_without_error(seed, generation, noise):
    framing = framing_of(seed, generation=generation)
    kind, message = undress(framing, noise)
    if kind is not None:
        assert int.from_bytes(message[:4], "little") in framing.parameters.header_range(kind)


def test_a_message_of_other_parameters_is_junk():
    for generation in (Generation.V1_0, Generation.V3_1):
        ours, theirs = framing_of(1, generation=generation), framing_of(2, generation=generation)
        for kind in MessageKind:
            assert classify(ours, dress(theirs, kind, message_of(theirs, kind))) is None


def test_the_right_type_at_the_wrong_size_is_junk():
    framing = framing_of(0, PLAIN)
    initiation = message_of(framing, MessageKind.INITIATION)
    assert classify(framing, initiation) is MessageKind.INITIATION
    assert classify(framing, initiation + b"\0") is None
    assert classify(framing, initiation[:-1]) is None
    assert classify(framing, message_of(framing, MessageKind.TRANSPORT)[:-1]) is None


def test_a_trailer_is_cut_off_by_those_who_expect_one():
    framing = framing_of(0, ObfuscationParameters(random_trailers=True))
    message = message_of(framing, MessageKind.INITIATION)
    assert undress(framing, message + b"trailer") == (MessageKind.INITIATION, message)
    assert classify(framing, message[:-1]) is None


def test_a_transport_message_of_an_initiations_size_is_told_apart_by_its_type():
    framing = framing_of(3)
    size = CORE_BYTES[MessageKind.INITIATION] + framing.parameters.s1
    message = message_of(framing, MessageKind.TRANSPORT, bytes(size - KEEPALIVE_BYTES))
    assert len(message) == size
    assert classify(framing, message) is MessageKind.TRANSPORT


def test_handshake_kinds_go_before_transport_where_both_fit():
    # The type of a transport message stands at 12 here, in the middle of an initiation, where junk can be anything.
    framing = framing_of(0, ObfuscationParameters(s4=12, h4="1000-2000"))
    datagram = bytearray(CORE_BYTES[MessageKind.INITIATION])
    datagram[12:16] = (1500).to_bytes(4, "little")
    assert classify(framing, datagram) is MessageKind.TRANSPORT
    datagram[:4] = (1).to_bytes(4, "little")
    assert classify(framing, datagram) is MessageKind.INITIATION


def test_headers_come_from_the_whole_of_their_range():
    framing = framing_of(1, ObfuscationParameters(h1=5, h4=Range(10, 13)))
    assert Counter(framing.header(MessageKind.TRANSPORT) for _ in range(400)).keys() == {10, 11, 12, 13}
    assert framing.header(MessageKind.INITIATION) == 5


def test_protection_leaves_nothing_of_a_message_in_the_clear():
    framing = framing_of(1, PROTECTED)
    for kind in MessageKind:
        message = message_of(framing, kind, bytes(40))
        first, second = dress(framing, kind, message), dress(framing, kind, message)
        offset = framing.parameters.padding(kind)
        # A key stream of its own for each: the same message never looks the same.
        assert first[offset : offset + 16] != message[:16]
        assert first[offset : offset + 16] != second[offset : offset + 16]
        assert undress(framing, first) == undress(framing, second) == (kind, message)


def test_the_reference_is_chacha20():
    # RFC 8439 §2.4.2, whose block counter begins at 1: https://www.rfc-editor.org/rfc/rfc8439#section-2.4.2
    stream = reference_framing.chacha20(bytes(range(32)), bytes.fromhex("000000000000004a00000000"), 128)
    plaintext = b"Ladies and Gentlemen of the class of '99: If I could offer you o"
    ciphertext = "6e2e359a2568f98041ba0728dd0d6981e97e7aec1d4360c20a27afccfd9fae0bf91b65c5524733ab8f593dabcd62b357"
    assert reference_framing.xor(stream[64:112], plaintext[:48]).hex() == ciphertext


@given(seeds, generations, st.sampled_from(MessageKind), st.binary(max_size=200))
@settings(max_examples=60)
def test_what_we_send_is_what_the_reference_reads(seed, generation, kind, body):
    framing = framing_of(seed, generation=generation)
    message = message_of(framing, kind, body)
    datagram = dress(framing, kind, message)
    found, unwrapped = reference_framing.classify(framing.parameters, datagram)
    assert found == kind
    assert unwrapped[4:] == message[4:]
    assert (found, unwrapped) == undress(framing, datagram)


@given(seeds, generations, st.integers(0, 200), st.booleans())
@settings(max_examples=60)
def test_noise_is_read_as_the_reference_reads_it(seed, generation, size, whole):
    # Ranges so wide that noise has a chance: every fourth type field, at the size of a message or near it.
    quarter = 2**30
    parameters = attrs.evolve(
        generate(random.Random(seed).randbytes, generation or Generation.V1_0),
        **{f"h{kind.value}": Range((kind - 1) * quarter + 5, kind * quarter - 1) for kind in MessageKind},
    )
    framing = framing_of(seed, parameters)
    sizes = [core + parameters.padding(kind) for kind, core in CORE_BYTES.items()]
    noise = random.Random(seed ^ 1).randbytes(sizes[size % 3] if whole else size)
    found, message = reference_framing.classify(parameters, noise)
    assert undress(framing, noise) == (found, message)


def test_protection_of_a_transport_message_covers_its_header_only():
    framing = framing_of(1, PROTECTED)
    message = message_of(framing, MessageKind.TRANSPORT, bytes(100))
    datagram = dress(framing, MessageKind.TRANSPORT, message)
    assert datagram[19 + TRANSPORT_HEADER.size :] == message[TRANSPORT_HEADER.size :]


def test_trailers_fill_up_to_the_width_of_the_path():
    framing = framing_of(1, ObfuscationParameters(random_trailers=True))
    message = message_of(framing, MessageKind.RESPONSE)
    sizes = {len(framing.wrap(MessageKind.RESPONSE, message)) for _ in range(200)}
    assert len(message) <= min(sizes)
    assert 400 < max(sizes) <= FIRST_WIDTH
    assert max(len(framing.wrap(MessageKind.RESPONSE, message, width=1400)) for _ in range(100)) > FIRST_WIDTH
    assert len(framing.wrap(MessageKind.RESPONSE, message, width=20)) == 92


def test_packets_are_filled_as_the_generation_says_and_never_past_the_mtu():
    plain = framing_of(1, PLAIN)
    assert [plain.filling(size, 1420, 500) for size in (0, 1, 16, 17, 1415, 1420, 1500)] == [0, 15, 0, 15, 5, 0, 0]
    padded = framing_of(1, ObfuscationParameters(content_padding_addition="10-20", random_trailers=True))
    assert {padded.filling(40, 1420, 500) for _ in range(300)} == set(range(10, 21))
    assert max(padded.filling(1415, 1420, 500) for _ in range(50)) == 5
    trailed = framing_of(1, ObfuscationParameters(random_trailers=True))
    drawn = [trailed.filling(100, 1420, 200) for _ in range(500)]
    assert (min(drawn), max(drawn)) == (0, 200 - 100 - KEEPALIVE_BYTES)
    assert trailed.filling(300, 1420, 200) == 0


@given(seeds, generations)
def test_the_opening_keeps_its_number_its_order_and_its_bounds(seed, generation):
    framing = framing_of(seed, generation=generation)
    parameters = framing.parameters
    opening = framing.opening(unix_time=1_700_000_000, counter=7)
    count = len(parameters.ipackets)
    assert [len(datagram) for datagram in opening[:count]] == [packet.size for packet in parameters.ipackets]
    assert len(opening) == count + parameters.jc
    assert all(parameters.jmin <= len(datagram) <= parameters.jmax for datagram in opening[count:])


def test_i_packets_carry_the_time_and_count_on():
    framing = framing_of(0, ObfuscationParameters(i1="<b 0xaa><t>", i3="<c>", i5="<c>"))
    opening = framing.opening(unix_time=1, counter=2**32 - 2)
    assert opening == [b"\xaa\0\0\0\x01", b"\xff\xff\xff\xff", b"\0\0\0\0"]


def test_junk_reaches_both_bounds_and_is_never_empty():
    framing = framing_of(0, ObfuscationParameters(jc=128, jmin=0, jmax=2))
    assert {len(datagram) for datagram in framing.opening(unix_time=0, counter=0)} == {1, 2}


def test_plain_wireguard_sends_nothing_before():
    assert framing_of(0, PLAIN).opening(unix_time=0, counter=0) == []


@pytest.mark.parametrize("size", [0, 1, 12, 31])
def test_what_is_shorter_than_any_message_is_junk(size):
    for parameters in (PLAIN, PROTECTED):
        assert classify(framing_of(0, parameters), bytes(size)) is None
