import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pharos.wire.awg.ipackets import MAX_SPEC_CHARACTERS, IPacket, Part, Tag, TemplateError, parse_ipacket
from tests.support.strategies import quick

source = random.Random(7).randbytes

statics = st.binary(min_size=1, max_size=40).map(lambda octets: Part(Tag.STATIC, len(octets), octets))
drawn = st.builds(Part, st.sampled_from([Tag.RANDOM, Tag.LETTERS, Tag.DIGITS]), st.integers(1, 300))
words = st.sampled_from([Part(Tag.TIME, 4), Part(Tag.COUNTER, 4)])
ipackets = st.lists(statics | drawn | words, min_size=1, max_size=8).map(lambda parts: IPacket(tuple(parts)))


@quick
@given(ipackets)
def test_a_template_survives_its_text_and_makes_as_many_bytes_as_it_says(packet):
    assert parse_ipacket(str(packet)) == packet
    assert len(packet.build(source, unix_time=2**33, counter=2**32)) == packet.size


def test_each_tag_makes_its_bytes():
    packet = parse_ipacket("<b 0xC0fF><t><c><r 3><rc 40><rd 40>")
    built = packet.build(source, unix_time=0x01020304, counter=0xA0B0C0D0)
    assert built[:10] == bytes.fromhex("c0ff 01020304 a0b0c0d0")
    assert re.fullmatch(rb"[a-zA-Z]{40}", built[13:53])
    assert re.fullmatch(rb"[0-9]{40}", built[53:])
    assert len({packet.build(source, unix_time=0, counter=0) for _ in range(5)}) == 5


def test_every_letter_and_digit_is_drawn_alike():
    letters = parse_ipacket("<rc 52000>").build(source, unix_time=0, counter=0)
    digits = parse_ipacket("<rd 10000>").build(source, unix_time=0, counter=0)
    # A modulo of a whole byte would draw the first 48 letters a fifth, and the first six digits a twenty-fifth too
    # often: some 1016 against 1000. Six standard deviations of a thousand are 190.
    for made, alphabet in ((letters, 52), (digits, 10)):
        counts = [made.count(octet) for octet in set(made)]
        assert len(counts) == alphabet
        assert 810 < min(counts) <= max(counts) < 1190


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "<>", "< t>", "<t >", "<t 4>", "<t", "t>", "<T>", "<t> <t>", "<t>x", "x<t>", "<t>\n"),
        *("<b>", "<b >", "<b 0x>", "<b 0xabc>", "<b abcd>", "<b 0Xab>", "<b 0xzz>", "<b 0xab cd>", "<b  0xab>"),
        *("<r>", "<r 0>", "<r 01>", "<r -1>", "<r 1.5>", "<r x>", "<r ٣>", "<r 999999>", "<rx 3>"),
        *("<d>", "<ds>", "<dz 4>", "<wt 5>", "<wr>"),
    ],
)
def test_what_the_grammar_does_not_say_is_refused(text):
    with pytest.raises(TemplateError):
        parse_ipacket(text)


def test_a_datagram_holds_65507_bytes_and_no_more():
    assert parse_ipacket("<r 65503><t>").size == 65_507
    for text in ("<r 65504><t>", "<r 65508>", "<r 60000><rc 60000>"):
        with pytest.raises(TemplateError, match="at most 65507 bytes"):
            parse_ipacket(text)
    assert parse_ipacket("<b 0xff>" * 65_507).size == 65_507
    with pytest.raises(TemplateError, match=f"from 1 to {MAX_SPEC_CHARACTERS} characters"):
        parse_ipacket("<b 0xff>" * 65_508)


def test_an_error_quotes_the_place_and_not_a_screenful():
    with pytest.raises(TemplateError) as caught:
        parse_ipacket("<r 5>" + "<x 9>" * 1000)
    assert caught.value.place == repr("…<x 9><x 9><x 9><x 9><x 9…")
