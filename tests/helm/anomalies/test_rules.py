"""What the rules find, and what they leave in peace."""

from __future__ import annotations

import ipaddress

import pytest

from pharos.helm.anomalies.facts import Address, Place, Sign, Stay, address_of, network_of
from pharos.helm.anomalies.habits import LEAST_DAYS, Upload, upload_above_habit
from pharos.helm.anomalies.rules import (
    DENIED_DEVICE,
    DENIED_GRACE,
    IMPOSSIBLE_TRAVEL,
    MANY_NETWORKS,
    OVERLAP,
    RETURN_WINDOW,
    RETURNS,
    Denied,
    denied_connected,
    distance_km,
    impossible_travel,
    many_networks,
    returning_networks,
)
from pharos.helm.anomalies.tries import BRUTE_FORCE, DENIED_MOST, DENIED_TRIES, MAX_NAMES, TRIES, WINDOW, Door, Tries
from pharos.wire.ids import DeviceId, NodeId
from pharos.wire.units import GIB, MIB

PHONE, LAPTOP = DeviceId("phone"), DeviceId("laptop")
MINUTE = 60 * 1_000_000
HOUR = 60 * MINUTE
HOME, CAFE, OFFICE = "203.0.113.5", "198.51.100.7", "192.0.2.1"
BERLIN = Place(52.52, 13.40, "Berlin, Germany", 20)
POTSDAM = Place(52.40, 13.06, "Potsdam, Germany", 20)
SYDNEY = Place(-33.87, 151.21, "Sydney, Australia", 20)


def stay(opened: int, seen: int, address: str, *, device: DeviceId = PHONE, node: str = "a") -> Stay:
    """Make a stay; times in minutes."""
    parsed = ipaddress.ip_address(address)
    return Stay(device, NodeId(node), opened * MINUTE, seen * MINUTE, parsed, network_of(parsed))


def sign(at: float, address: str, *, device: DeviceId = PHONE) -> Sign:
    parsed = ipaddress.ip_address(address)
    return Sign(device, round(at * MINUTE), network_of(parsed), parsed)


def test_profile_used_from_two_networks_at_once_is_found_with_both_addresses() -> None:
    (found,) = many_networks([stay(0, 60, HOME), stay(30, 50, CAFE, node="b")])
    assert (found.kind, found.subject, found.at) == (MANY_NETWORKS, PHONE, 50 * MINUTE)
    assert (found.evidence["first"], found.evidence["second"]) == (HOME, CAFE)
    assert (found.evidence["first_node"], found.evidence["second_node"]) == ("a", "b")


@pytest.mark.parametrize(
    "stays",
    [
        pytest.param([stay(0, 60, HOME), stay(61, 90, CAFE, node="b")], id="one after the other"),
        pytest.param([stay(0, 60, HOME), stay(57, 90, CAFE, node="b")], id="a rekey after the device moved on"),
        pytest.param([stay(0, 60, HOME), stay(10, 50, "203.0.113.77", node="b")], id="one household"),
        pytest.param([stay(0, 60, HOME), stay(10, 50, "2001:db8::1", node="b")], id="both versions of a home"),
        pytest.param([stay(0, 60, HOME), stay(10, 50, CAFE, device=LAPTOP, node="b")], id="two devices"),
    ],
)
def test_what_one_device_does_on_its_way_is_left_in_peace(stays: list[Stay]) -> None:
    assert list(many_networks(stays)) == []


def test_overlap_counts_from_the_limit_on_and_against_every_session_that_runs() -> None:
    limit = OVERLAP // MINUTE
    assert list(many_networks([stay(0, 60, HOME), stay(60 - limit, 90, CAFE, node="b")]))
    assert not list(many_networks([stay(0, 60, HOME), stay(61 - limit, 90, CAFE, node="b")]))
    # A short one in between does not hide the long one.
    assert list(many_networks([stay(0, 600, HOME), stay(5, 6, HOME, node="c"), stay(300, 400, CAFE, node="b")]))


def test_session_that_is_torn_between_two_networks_is_found_and_a_walk_is_not() -> None:
    torn = [sign(2 * n, HOME if n % 2 else CAFE) for n in range(RETURNS + 2)]
    (found,) = returning_networks(torn)
    assert (found.kind, found.subject, found.evidence["returns"]) == (MANY_NETWORKS, PHONE, RETURNS)
    walk = [sign(0, HOME), sign(2, CAFE), sign(4, HOME), sign(6, OFFICE), sign(8, CAFE)]
    assert list(returning_networks(walk)) == []
    slow = [sign(n * RETURN_WINDOW / MINUTE * 1.1, HOME if n % 2 else CAFE) for n in range(20)]
    assert list(returning_networks(slow)) == []


def locate(address: Address) -> Place | None:
    return {HOME: BERLIN, CAFE: SYDNEY, OFFICE: POTSDAM}.get(str(address))


def test_distance_is_that_along_the_ground() -> None:
    assert distance_km(BERLIN, SYDNEY) == pytest.approx(16_090, rel=0.01)
    assert distance_km(BERLIN, BERLIN) == 0


def test_nobody_is_in_sydney_an_hour_after_berlin() -> None:
    (found,) = impossible_travel([stay(0, 10, HOME), stay(70, 80, CAFE)], locate)
    assert (found.kind, found.subject) == (IMPOSSIBLE_TRAVEL, PHONE)
    assert (found.evidence["first_place"], found.evidence["second_place"]) == (BERLIN.label, SYDNEY.label)
    assert found.evidence["hours"] == 1
    assert "1.0 h later in Sydney, Australia" in found.text


@pytest.mark.parametrize(
    "stays",
    [
        pytest.param([stay(0, 10, HOME), stay(24 * 60, 25 * 60, CAFE)], id="a day's flight"),
        pytest.param([stay(0, 10, HOME), stay(11, 20, OFFICE)], id="the next town"),
        pytest.param([stay(0, 10, HOME), stay(11, 20, "198.18.0.1")], id="nobody knows where"),
        pytest.param([stay(0, 10, HOME), stay(11, 20, CAFE, device=LAPTOP)], id="somebody else's device"),
    ],
)
def test_travel_that_is_possible_is_left_in_peace(stays: list[Stay]) -> None:
    assert list(impossible_travel(stays, locate)) == []


def test_revoked_device_that_a_node_still_serves_is_found() -> None:
    since = 100 * MINUTE
    late = since + DENIED_GRACE + MINUTE
    denied = {PHONE: Denied("revoked", since)}
    (found,) = denied_connected([stay(0, late // MINUTE, HOME), stay(0, 50, CAFE)], denied)
    assert (found.kind, found.subject) == (DENIED_DEVICE, PHONE)
    assert "is revoked" in found.text
    assert list(denied_connected([stay(0, 101, HOME), stay(0, 999, HOME, device=LAPTOP)], denied)) == []


def usual(*days: int, today: int) -> Upload:
    return Upload(device_id=PHONE, today=today, days=days, until=HOUR)


def test_upload_far_above_habit_is_found_with_the_habit_beside_it() -> None:
    week = [100 * MIB] * LEAST_DAYS
    found = upload_above_habit(usual(*week, today=4 * GIB))
    assert found is not None
    assert found.evidence == {"bytes": 4 * GIB, "median": 100 * MIB, "most": 100 * MIB, "days": LEAST_DAYS}


@pytest.mark.parametrize(
    "upload",
    [
        pytest.param(usual(*[100 * MIB] * 3, today=4 * GIB), id="no habit yet"),
        pytest.param(usual(*[1 * MIB] * 9, today=500 * MIB), id="little in all"),
        pytest.param(usual(*[3 * GIB] * 9, today=20 * GIB), id="somebody who sends much every day"),
        pytest.param(usual(*[100 * MIB] * 8, 30 * GIB, today=40 * GIB), id="as large as once before"),
    ],
)
def test_usual_uploads_are_left_in_peace(upload: Upload) -> None:
    assert upload_above_habit(upload) is None


def test_many_refused_tries_at_one_name_are_found_once_and_named() -> None:
    tries = Tries()
    for n in range(TRIES - 1):
        tries.refused(Door.ADMIN, "ada", n * MINUTE // 2)
    assert tries.take() == []
    tries.refused(Door.ADMIN, "ada", TRIES * MINUTE // 2)
    (found,) = tries.take()
    assert (found.kind, found.subject, found.evidence["tries"]) == (BRUTE_FORCE, "admin:ada", TRIES)
    assert tries.take() == []


def test_tries_by_many_names_are_found_as_the_door_s_and_slow_ones_are_not() -> None:
    tries = Tries()
    for n in range(TRIES):
        tries.refused(Door.LOGIN, f"user{n}", n)
    (found,) = tries.take()
    assert (found.subject, found.evidence["name"]) == ("login:", "")
    for n in range(TRIES):
        tries.refused(Door.ENROLMENT, "x", n * WINDOW)
    assert tries.take() == []


def test_denied_device_that_asks_again_and_again_is_found_and_names_are_harmless() -> None:
    tries = Tries()
    for n in range(DENIED_MOST):
        tries.refused(Door.DENIED, PHONE, n)
    (found,) = tries.take()
    assert (found.kind, found.subject, found.noun) == (DENIED_TRIES, PHONE, "device")
    for n in range(TRIES):
        tries.refused(Door.LOGIN, "a\n\x1b[2J" + "x" * 1000, n)
    (found,) = tries.take()
    assert found.subject.isprintable()
    assert len(found.subject) < 100


def test_flood_of_names_takes_bounded_memory_and_hides_nobody_for_good() -> None:
    tries = Tries()
    for n in range(3 * MAX_NAMES):
        tries.refused(Door.LOGIN, f"user{n}", n)
    assert len(tries._known) <= MAX_NAMES
    for n in range(TRIES):
        tries.refused(Door.LOGIN, "ada", n)
    assert "login:ada" in {finding.subject for finding in tries.take()}


def test_address_is_read_out_of_an_endpoint_and_nothing_else_is_one() -> None:
    assert address_of("203.0.113.5:4711") == ipaddress.ip_address("203.0.113.5")
    assert address_of("[2001:db8::1]:1") == ipaddress.ip_address("2001:db8::1")
    assert [address_of(text) for text in ("", "x", "node:1", "1.2.3:4")] == [None] * 4
