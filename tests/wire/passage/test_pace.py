import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from pharos.wire.passage.beaconpace import BeaconPace
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


async def test_each_beacon_has_its_own_pace_for_calls_and_for_handshakes(
    autojump_clock: trio.testing.MockClock,
) -> None:
    pace, began = BeaconPace(rate=10, burst=2), trio.current_time()
    done: list[tuple[str, float]] = []

    async def call(beacon: str) -> None:
        await pace.wait_for_call(beacon)
        done.append((beacon, trio.current_time() - began))

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(call, "evil")
        nursery.start_soon(call, "good")
        nursery.start_soon(pace.wait_for_handshake, "evil")
    assert [at for beacon, at in done if beacon == "evil"] == pytest.approx([0, 0, 0.1, 0.2, 0.3])
    assert ("good", 0) in done


async def test_call_that_is_given_up_leaves_no_trace_but_its_time(autojump_clock: trio.testing.MockClock) -> None:
    pace, began = BeaconPace(rate=10, burst=1), trio.current_time()
    await pace.wait_for_call("gate")
    with trio.move_on_after(0.05) as patience:
        await pace.wait_for_call("gate")
    assert patience.cancelled_caught
    await pace.wait_for_call("gate")
    assert trio.current_time() - began == pytest.approx(0.2)
