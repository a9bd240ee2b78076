import datetime

from hypothesis import given
from hypothesis import strategies as st

from pharos.wire.errors import PeerRejectedError
from pharos.wire.pki.clockfloor import ClockFloor
from pharos.wire.pki.keys import certificate_to_der as der
from pharos.wire.pki.roles import Role
from pharos.wire.pki.verify import authorize_peer
from tests.support.pki import home_fleet, make_fleet, utc_now

HOME = home_fleet()
NOW = utc_now().replace(microsecond=0)
MINUTE, DAY = datetime.timedelta(minutes=1), datetime.timedelta(days=1)
LONG_AGO = datetime.datetime(1970, 1, 1, 0, 3, tzinfo=datetime.UTC)

times = st.integers(24 * 3600, 7 * 10**9).map(lambda second: datetime.datetime.fromtimestamp(second, datetime.UTC))


def test_right_clock_is_left_alone() -> None:
    floor = ClockFloor()
    floor.see_certificate(HOME.member(Role.NODE, now=NOW).certificate)
    floor.see_signature(NOW)
    for wall in (NOW, NOW + DAY, NOW - 4 * MINUTE):
        assert floor.now(wall) == wall
        assert floor.behind(wall) == datetime.timedelta(0)


def test_clock_that_went_back_is_lifted_to_the_floor() -> None:
    floor = ClockFloor()
    floor.see_signature(NOW)
    for wall in (NOW - DAY, NOW - 365 * DAY, LONG_AGO):
        assert floor.now(wall) == NOW - 5 * MINUTE
        assert floor.behind(wall) == NOW - 5 * MINUTE - wall


def test_signer_may_be_five_minutes_ahead() -> None:
    floor = ClockFloor()
    floor.see_signature(NOW + 5 * MINUTE)
    assert floor.now(NOW) == NOW
    floor.see_signature(NOW + 6 * MINUTE)
    assert floor.now(NOW) == NOW + MINUTE


def test_certificate_counts_from_when_it_was_issued() -> None:
    member = HOME.member(Role.NODE, now=NOW)
    floor = ClockFloor()
    floor.see_certificate(member.certificate)
    assert floor.floor == NOW - 5 * MINUTE == member.certificate.not_valid_before_utc
    # So a leaf that was issued this moment is never before its own floor.
    assert floor.now(LONG_AGO) >= member.certificate.not_valid_before_utc


@given(seen=st.lists(times), wall=times)
def test_floor_is_the_largest_time_seen_and_never_falls(seen: list[datetime.datetime], wall: datetime.datetime) -> None:
    floor = ClockFloor()
    last = floor.floor
    for time in seen:
        floor.see_signature(time)
        assert floor.floor >= last
        last = floor.floor
    latest = max((time - 5 * MINUTE for time in seen), default=last)
    assert floor.floor == latest
    assert floor.now(wall) == max(wall, latest)


def test_floor_survives_a_restart() -> None:
    before = ClockFloor()
    before.see_signature(NOW)
    assert before.worth_keeping
    kept = before.floor.timestamp()
    before.was_kept()
    assert before.kept == before.floor

    after = ClockFloor(floor=datetime.datetime.fromtimestamp(kept, datetime.UTC))
    assert after.now(LONG_AGO) == before.now(LONG_AGO)
    assert not after.worth_keeping
    after.see_signature(NOW + 59 * MINUTE)
    assert not after.worth_keeping
    after.see_signature(NOW + 60 * MINUTE)
    assert after.worth_keeping


def test_clock_set_back_revives_nothing_that_expired() -> None:
    fleet = make_fleet(now=NOW - 500 * DAY)
    expired = der(fleet.member(Role.NODE, now=NOW - 400 * DAY).certificate)

    def is_admitted(now: datetime.datetime) -> bool:
        try:
            authorize_peer(expired, trust=fleet.trust, roles={Role.NODE}, peer_id=None, now=now)
        except PeerRejectedError:
            return False
        return True

    set_back = NOW - 100 * DAY
    floor = ClockFloor()
    # Red: with no floor, the clock decides.
    assert is_admitted(floor.now(set_back))
    floor.see_signature(NOW)
    assert not is_admitted(floor.now(set_back))
