"""What a REALITY server is told is the difference, and no server waits for another one's port."""

from __future__ import annotations

import ipaddress

import attrs

from pharos.buoy.dataplane.base import RealityEndpoint, RealityPlan, RealityUser
from pharos.buoy.dataplane.realityplan import Place, Told, assigned, change_of, hosts_of
from pharos.wire.desired import Policy
from pharos.wire.ids import DeviceId
from tests.support.strategies import reality_of

PLACE = Place(hosts=("127.0.0.1",))
ONE = RealityEndpoint(port=443, parameters=reality_of(1), private_key=bytes(32))
TWO = RealityEndpoint(port=2053, parameters=reality_of(2), private_key=bytes(32))
THREE = RealityEndpoint(port=2083, parameters=reality_of(3), private_key=bytes(32))
PHONE, LAPTOP = (
    RealityUser(device_id=DeviceId(name), user_id=name.encode().ljust(16, b"."), rate_limit=8_000)
    for name in ("phone", "laptop")
)
PLAN = RealityPlan(endpoints=(ONE,), users={PHONE.device_id: PHONE})


def told(endpoint: RealityEndpoint | None) -> Told:
    return Told(endpoint=endpoint)


def test_endpoint_before_stays_on_its_server_whatever_comes_beside_it() -> None:
    assert assigned((ONE, TWO), [None, None, None]) == [ONE, TWO, None]
    assert assigned((ONE, THREE, TWO), [told(ONE), told(TWO), None]) == [ONE, TWO, THREE]
    assert assigned((ONE, THREE), [told(ONE), told(TWO), told(THREE)]) == [ONE, None, THREE]
    assert assigned((), [told(ONE), told(TWO), None]) == [None, None, None]


def test_server_that_knows_nothing_is_told_everything() -> None:
    policy = Policy(internet=False, closed=("198.51.100.0/24",))
    change = change_of(ONE, attrs.evolve(PLAN, policy=policy), None, PLACE)
    assert change is not None
    assert (change.listen, change.replace_users) == ((("127.0.0.1", 443),), True)
    assert (change.internet, change.closed_networks) == (False, (ipaddress.ip_network("198.51.100.0/24"),))
    (user,) = change.users
    assert (user.name, user.user_id, user.send_rate, user.receive_rate) == ("phone", PHONE.user_id, 1_000, 1_000)


def test_server_that_is_the_plan_already_is_told_nothing() -> None:
    before = Told(endpoint=ONE, policy=PLAN.policy, users=PLAN.users)
    assert change_of(ONE, PLAN, before, PLACE) is None
    assert change_of(None, PLAN, told(None), PLACE) is None
    assert change_of(None, PLAN, None, PLACE) is None


def test_user_who_comes_or_goes_is_all_that_is_said() -> None:
    before = Told(endpoint=ONE, policy=PLAN.policy, users=PLAN.users)
    later = attrs.evolve(PLAN, users={LAPTOP.device_id: LAPTOP})
    change = change_of(ONE, later, before, PLACE)
    assert change is not None
    assert (change.listen, change.private_key, change.replace_users) == (None, None, False)
    assert [(user.name, user.remove) for user in change.users] == [("laptop", False), ("phone", True)]


def test_endpoint_that_is_served_no_more_is_closed_and_its_users_go() -> None:
    change = change_of(None, PLAN, Told(endpoint=TWO, users=PLAN.users), PLACE)
    assert change is not None
    assert (change.listen, change.replace_users, change.users) == ((), True, ())


def test_every_address_is_of_both_families() -> None:
    assert hosts_of("0.0.0.0") == ("0.0.0.0", "::")
    assert hosts_of("192.0.2.7") == ("192.0.2.7",)
