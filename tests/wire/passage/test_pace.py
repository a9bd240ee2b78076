from hypothesis import given
from hypothesis import strategies as st

from pharos.wire.passage.pace import FRAME_BURST, FRAME_RATE, FramePace
from pharos.wire.passage.records import MAX_DATA, REKEY_EVERY
from pharos.wire.rpc.limits import MAX_MESSAGE
from tests.support.strategies import quick

# passage.md §3: the fastest that bulk went through one passage, octets per second.
FULL_SPEED = 34e6


def test_an_honest_device_at_full_speed_is_never_made_to_wait() -> None:
    pace, now = FramePace(), 1000.0
    for _ in range(2 * REKEY_EVERY):
        assert pace.take(now) == 0
        now += MAX_DATA / FULL_SPEED


def test_the_largest_message_fits_a_burst() -> None:
    pace = FramePace()
    assert all(pace.take(5.0) == 0 for _ in range(MAX_MESSAGE // MAX_DATA + 1))


@quick
@given(gaps=st.lists(st.floats(0, 0.1), max_size=300), rate=st.floats(1, 1000), burst=st.floats(1, 100))
def test_whoever_waits_as_told_reads_no_more_than_burst_and_rate(gaps: list[float], rate: float, burst: float) -> None:
    pace, now = FramePace(rate, burst), 0.0
    for number, gap in enumerate(gaps):
        now += gap
        assert number <= burst + rate * now + 1e-6
        now += pace.take(now)


def test_a_quiet_second_earns_a_burst_and_no_more() -> None:
    pace = FramePace()
    pace.take(0.0)
    taken = 0
    while pace.take(3600.0) == 0:
        taken += 1
    assert FRAME_BURST - 1 <= taken <= FRAME_BURST + 1
    assert FRAME_BURST == FRAME_RATE
