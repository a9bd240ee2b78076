"""Who may wait at the door: never more than the bounds say, and nothing is remembered of those who left."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pharos.wire.rpc import admission
from pharos.wire.rpc.admission import Admission, Bounds, Digest, Place, Refusal, source_of

FILES = 1024


def admit(door: Admission, host: str, *, now: float = 0.0) -> Place:
    place = door.admit(host, 3, now)
    assert isinstance(place, Place)
    return place


def test_one_address_has_its_places_and_no_more() -> None:
    door = Admission(Bounds(), descriptors=FILES)
    places = [admit(door, "192.0.2.1") for _ in range(admission.PENDING_PER_SOURCE)]
    assert door.admit("192.0.2.1", 3, 0.0) is Refusal.SOURCE
    admit(door, "192.0.2.2")
    places[7].leave()
    admit(door, "192.0.2.1")


def test_place_is_left_once() -> None:
    door = Admission(Bounds(), descriptors=FILES)
    with admit(door, "192.0.2.1") as place:
        place.leave()
        assert (door.unauthenticated, door.sources) == (0, 0)
        admit(door, "192.0.2.1")
    assert (door.unauthenticated, door.sources) == (1, 1)


def test_newcomer_displaces_the_oldest_of_whoever_has_most() -> None:
    door = Admission(Bounds(pending_per_source=3, unauthenticated=5), descriptors=FILES)
    gone: list[str] = []
    for name, host in (("a1", "::a:0:0:0:1"), ("b1", "192.0.2.1"), ("b2", "192.0.2.1"), ("b3", "192.0.2.1")):
        admit(door, host).displaced = lambda name=name: gone.append(name)  # type: ignore[misc]
    admit(door, "192.0.2.9")
    assert gone == []
    admit(door, "192.0.2.10")
    assert gone == ["b1"]
    assert door.unauthenticated == 5
    # b has two now, and still most.
    admit(door, "192.0.2.11")
    assert gone == ["b1", "b2"]


def test_flood_displaces_a_hundred_a_second_and_the_rest_are_refused() -> None:
    door = Admission(Bounds(), descriptors=FILES)

    def knock(start: int, count: int, now: float) -> Counter[object]:
        hosts = [f"10.{(start + n) >> 16}.{(start + n) >> 8 & 255}.{(start + n) & 255}" for n in range(count)]
        return Counter(isinstance(door.admit(host, 3, now), Place) for host in hosts)

    assert knock(0, 200, 0.0) == {True: 200}
    assert knock(1000, 5000, 0.0) == {True: 100, False: 4900}
    assert knock(10000, 5000, 1.0) == {True: 100, False: 4900}
    assert door.unauthenticated == 200


def test_slow_attack_on_all_places_keeps_nobody_out() -> None:
    """Ten addresses come back as soon as their handshakes time out; the proof that it would: without displacement."""

    def newcomer_gets_in(**bounds: float) -> bool:
        door = Admission(Bounds(**bounds), descriptors=FILES)  # type: ignore[arg-type]
        for round_ in range(3):
            held = [admit(door, f"192.0.2.{n % 10}", now=round_ * 5.0) for n in range(200)]
            if not isinstance(door.admit("198.51.100.7", 3, round_ * 5.0 + 1.0), Place):
                return False
            for place in held:
                place.leave()
        return True

    assert newcomer_gets_in()
    assert not newcomer_gets_in(displacement_burst=0.0, displacement_rate=0.0)


def test_descriptors_above_the_reserve_are_the_daemons_own() -> None:
    door = Admission(Bounds(), descriptors=FILES)
    last = FILES - 1 - admission.RESERVED_FILES
    assert isinstance(door.admit("192.0.2.1", last, 0.0), Place)
    assert door.admit("192.0.2.1", last + 1, 0.0) is Refusal.FILES
    # A limit that is lower than the reserve leaves three quarters.
    assert Bounds().last_descriptor(64) == 47


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("2001:db8:0:1::1", "2001:db8:0:1:ffff::2", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        # No IPv6 prefix is the same as an IPv4 address: their lengths differ.
        ("192.0.2.1", "c000:201::", False),
    ],
)
@pytest.mark.row(34)
def test_source_is_an_ipv4_address_or_the_half_of_an_ipv6_one(one: str, other: str, same: bool) -> None:
    assert (source_of(one) == source_of(other)) is same


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 11), st.integers(0, 100)), max_size=200))
def test_bounds_hold_and_nothing_is_forgotten_or_kept(steps: list[tuple[bool, int, int]]) -> None:
    door = Admission(Bounds(pending_per_source=4, unauthenticated=9), descriptors=FILES)
    standing: list[tuple[int, Place]] = []
    for number, (comes, who, which) in enumerate(steps):
        if comes:
            place = door.admit(f"192.0.2.{who}", 3, float(number // 20))
            if isinstance(place, Place):
                entry = (who, place)

                def displaced(entry: tuple[int, Place] = entry) -> None:
                    standing.remove(entry)

                place.displaced = displaced
                standing.append(entry)
        elif standing:
            standing.pop(which % len(standing))[1].leave()
        counts = Counter(who for who, _ in standing)
        assert door.unauthenticated == len(standing) <= 9
        assert max(counts.values(), default=0) <= 4
        assert door.sources == len(counts)
    for _, place in standing:
        place.leave()
    assert (door.unauthenticated, door.sources) == (0, 0)


def test_flood_of_events_is_a_line_a_minute() -> None:
    digest = Digest()
    assert digest.note("floods", "x", 100.0) == "1 floods; the last: x"
    assert [digest.note("floods", "y", 100.0 + n / 100) for n in range(5000)] == [None] * 5000
    assert digest.note("fires", "z", 170.0) == "5000 floods, 1 fires; the last: z"
    assert digest.note("fires", "z", 171.0) is None
