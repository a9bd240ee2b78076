import random

from hypothesis import given
from hypothesis import strategies as st

from pharos.wire.awg.params import PLAIN, ObfuscationParameters
from pharos.wire.awg.ranges import Range
from pharos.wire.awg.timing import Span, Timing, to_span

draw = random.Random(1).randbytes


def test_the_defaults_are_wireguards():
    timing = Timing.of(PLAIN)
    assert timing == Timing()
    assert timing.rekey_after.draw(draw) == 120
    assert timing.session_lifetime == 180
    assert timing.draw_rekey_on_receive(draw) == 165
    assert timing.draw_no_answer(draw) == 15
    assert timing.forget_after == 540
    assert timing.max_attempts == Range(18, 18)


def test_the_ends_that_keep_out_of_trouble_are_taken():
    timing = Timing.of(
        ObfuscationParameters(reject_after_time="100-200", rekey_timeout="4-8", keepalive_timeout="9-12")
    )
    assert timing.session_lifetime == 200
    assert timing.forget_after == 600
    assert timing.initiation_gap == 4
    drawn = [timing.draw_rekey_on_receive(draw) for _ in range(300)]
    assert 100 - 9 - 4 <= min(drawn) < 100
    assert 170 < max(drawn) <= 200 - 9 - 4


def test_ranges_that_do_not_fit_each_other_make_no_negative_time():
    timing = Timing.of(ObfuscationParameters(reject_after_time=5, rekey_timeout=50, keepalive_timeout=100))
    assert timing.draw_rekey_on_receive(draw) == 0


@given(st.floats(0, 1000), st.floats(0, 1000))
def test_a_span_is_drawn_from_within(low, length):
    span = Span(low, low + length)
    assert low <= span.draw(draw) <= low + length + 0.001


def test_a_number_a_range_and_a_span_are_spans():
    assert to_span(5.0) == to_span(Range(5, 5)) == to_span(Span(5.0, 5.0)) == Span(5.0, 5.0)
