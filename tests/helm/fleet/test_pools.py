"""Networks of pools are private, apart from each other, and no address that was given ever changes."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pharos.helm.errors import ConflictError, InvalidRequestError, StaleVersionError
from pharos.helm.fleet.pools import add_pool, change_pool, prefer_pool, remove_pool, warnings_of
from pharos.helm.model.pools import Pool
from pharos.helm.profiles.build import node_addresses
from pharos.helm.store.database import Database
from pharos.helm.store.fleet import get_fleet
from pharos.helm.store.pools import POOLS, list_pools, take_addresses
from pharos.helm.store.records import get_record
from tests.support.helm import enrol_sample_device, fleet_in_memory, revoke_sample_device, sample_act
from tests.support.strategies import quick


def add(db: Database, network4: str, network6: str | None = None, name: str = "branch") -> Pool:
    return add_pool(db, sample_act(), {"name": name, "network4": network4, "network6": network6})


def first(db: Database) -> Pool:
    return next(pool for pool in list_pools(db) if pool.name == "devices")


def test_pool_without_an_ipv6_network_gets_the_next_of_the_fleets_own_prefix() -> None:
    with fleet_in_memory() as (db, _):
        pools = [first(db), *(add(db, f"10.{87 + number}.0.0/16", name=f"p{number}") for number in range(3))]
        networks = [ipaddress.IPv6Network(pool.network6) for pool in pools]
        assert len(set(networks)) == 4
        assert len({network.supernet(new_prefix=48) for network in networks}) == 1
        assert {network.prefixlen for network in networks} == {64}


@pytest.mark.parametrize(
    "network4",
    ["", "10.87.0.0", "10.87.0.1/16", "10.87.0.0/30", "10.0.0.0/7", "8.8.0.0/16", "169.254.0.0/16", "fd00::/64", "x"],
)
def test_ipv4_network_that_devices_could_not_use_is_refused(network4: str) -> None:
    with fleet_in_memory() as (db, _), pytest.raises(InvalidRequestError):
        add(db, network4)


@pytest.mark.parametrize(
    "network6", ["fd00::1/64", "fe80::/64", "2001:db8::/64", "fd00::/47", "fd00::/105", "10.0.0.0/8"]
)
def test_ipv6_network_that_is_no_ula_is_refused(network6: str) -> None:
    with fleet_in_memory() as (db, _), pytest.raises(InvalidRequestError):
        add(db, "10.87.0.0/16", network6)


@pytest.mark.parametrize("network4", ["10.86.0.0/16", "10.86.3.0/24", "10.80.0.0/12", "10.0.0.0/8"])
def test_networks_of_two_pools_do_not_overlap(network4: str) -> None:
    with fleet_in_memory() as (db, _):
        with pytest.raises(ConflictError, match=r"overlaps 10\.86\.0\.0/16 of the pool devices"):
            add(db, network4)
        with pytest.raises(ConflictError, match="of the pool devices"):
            add(db, "10.87.0.0/16", first(db).network6)
        other = add(db, "10.87.0.0/16")
        with pytest.raises(ConflictError, match="overlaps"):
            change_pool(db, sample_act(), other.id, 1, {"network4": network4})


def test_usual_networks_of_other_people_are_warned_of() -> None:
    with fleet_in_memory() as (db, _):
        assert warnings_of(first(db)) == []
        assert any("home routers" in text for text in warnings_of(add(db, "192.168.1.0/24", name="a")))
        assert any("Docker" in text for text in warnings_of(add(db, "172.16.0.0/12", name="b")))


def test_pool_grows_in_place_and_what_was_given_stays() -> None:
    with fleet_in_memory() as (db, _):
        device = enrol_sample_device(db, 1)
        before = get_fleet(db)
        pool = change_pool(db, sample_act(), first(db).id, 1, {"network4": "10.86.0.0/15"})
        assert (pool.last_host, get_fleet(db).pool4) == (2**17 - 2, "10.86.0.0/15")
        assert node_addresses(get_fleet(db)) == node_addresses(before)
        assert take_addresses(db)[0] == "10.86.0.3" != device.address4


@pytest.mark.parametrize(
    "values", [{"network4": "10.84.0.0/14"}, {"network4": "10.90.0.0/16"}, {"network6": "fd00::/64"}]
)
def test_networks_do_not_move_under_devices_that_have_addresses_in_them(values: dict[str, str]) -> None:
    with fleet_in_memory() as (db, _):
        enrol_sample_device(db, 1)
        with pytest.raises(ConflictError, match="have to begin where they do"):
            change_pool(db, sample_act(), first(db).id, 1, values)


def test_first_pool_moves_as_long_as_nobody_is_in_it_and_the_nodes_own_addresses_move_with_it() -> None:
    with fleet_in_memory() as (db, _):
        before = get_fleet(db).revision
        change_pool(db, sample_act(), first(db).id, 1, {"network4": "10.120.0.0/16"})
        fleet = get_fleet(db)
        assert (fleet.pool4, fleet.revision) == ("10.120.0.0/16", before + 1)
        assert node_addresses(fleet)[0] == "10.120.0.1"
        assert take_addresses(db)[0] == "10.120.0.2"


def test_pool_is_shrunk_only_to_what_holds_every_host_that_was_given() -> None:
    with fleet_in_memory() as (db, _):
        pool = add(db, "10.87.0.0/16")
        db.execute("UPDATE pools SET next_host = 301 WHERE id = ?", (pool.id,))
        with pytest.raises(ConflictError, match="hold host 300"):
            change_pool(db, sample_act(), pool.id, 1, {"network4": "10.87.0.0/24"})
        assert change_pool(db, sample_act(), pool.id, 1, {"network4": "10.87.0.0/23"}).last_host == 510


def test_one_pool_is_preferred() -> None:
    with fleet_in_memory() as (db, _):
        pool = add(db, "10.87.0.0/16")
        with pytest.raises(StaleVersionError):
            prefer_pool(db, sample_act(), pool.id, 7)
        assert prefer_pool(db, sample_act(), pool.id, 1).preferred
        assert [(p.name, p.preferred, p.version) for p in list_pools(db)] == [
            ("branch", True, 2),
            ("devices", False, 2),
        ]


def test_pool_is_removed_once_it_is_empty_and_gives_no_address_again_when_it_comes_back() -> None:
    with fleet_in_memory() as (db, _):
        pool = prefer_pool(db, sample_act(), add(db, "10.87.0.0/29").id, 1)
        device = enrol_sample_device(db, 1)
        assert device.address4 == "10.87.0.2"
        with pytest.raises(ConflictError, match="prefer another pool first"):
            remove_pool(db, sample_act(), pool.id, pool.version)
        prefer_pool(db, sample_act(), first(db).id, 2)
        version = get_record(db, POOLS, pool.id).version
        with pytest.raises(ConflictError, match="still has 1 devices"):
            remove_pool(db, sample_act(), pool.id, version)
        revoke_sample_device(db, device.id)
        remove_pool(db, sample_act(), pool.id, version)
        again = add(db, "10.87.0.0/29")
        assert again.next_host == 3, "a revoked device had host 2"


def test_pool_of_the_nodes_own_addresses_stays() -> None:
    with fleet_in_memory() as (db, _):
        prefer_pool(db, sample_act(), add(db, "10.87.0.0/16").id, 1)
        with pytest.raises(ConflictError, match="the nodes have their own address"):
            remove_pool(db, sample_act(), first(db).id, 2)


@quick
@given(st.lists(st.tuples(st.integers(0, 255), st.integers(9, 29)), max_size=8))
def test_pools_never_share_an_address(wanted: list[tuple[int, int]]) -> None:
    with fleet_in_memory() as (db, _):
        for number, (octet, prefix) in enumerate(wanted):
            network = ipaddress.ip_network((f"10.{octet}.0.0", prefix), strict=False)
            try:
                add(db, str(network), name=f"p{number}")
            except ConflictError:
                continue
        for family in ("network4", "network6"):
            networks = [ipaddress.ip_network(getattr(pool, family)) for pool in list_pools(db)]
            for number, one in enumerate(networks):
                assert not any(one.overlaps(other) for other in networks[number + 1 :])
