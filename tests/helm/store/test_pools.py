"""An address is given once and never again, from whichever pool has any left."""

from __future__ import annotations

import ipaddress
import sqlite3

import pytest

from pharos.helm.errors import ConflictError
from pharos.helm.fleet.pools import add_pool, prefer_pool
from pharos.helm.model.pools import Pool
from pharos.helm.store.database import Database, transact
from pharos.helm.store.pools import list_pools, take_addresses
from tests.support.helm import fleet_in_memory, sample_act


def small(db: Database, name: str = "small", network4: str = "10.99.0.0/29") -> Pool:
    return add_pool(db, sample_act(), {"name": name, "network4": network4})


def test_hosts_begin_after_the_nodes_own_and_are_never_given_twice() -> None:
    def take_and_fail(db: sqlite3.Connection) -> None:
        take_addresses(db)
        raise ZeroDivisionError

    with fleet_in_memory() as (db, _):
        assert [take_addresses(db)[0] for _ in range(2)] == ["10.86.0.2", "10.86.0.3"]
        with pytest.raises(ZeroDivisionError):
            transact(db, take_and_fail)
        # Nobody got host 4 out of the transaction that failed.
        assert take_addresses(db)[0] == "10.86.0.4"


def test_pool_has_more_than_255_hosts() -> None:
    with fleet_in_memory() as (db, _):
        db.execute("UPDATE pools SET next_host = 65534")
        (pool,) = list_pools(db)
        address4, address6 = take_addresses(db)
        assert address4 == "10.86.255.254", "the last one before the broadcast address"
        assert ipaddress.ip_address(address6) == ipaddress.ip_network(pool.network6)[65534]


def test_preferred_pool_is_used_up_first_and_the_others_take_what_does_not_fit() -> None:
    with fleet_in_memory() as (db, _):
        pool = small(db)
        assert take_addresses(db)[0] == "10.86.0.2"
        prefer_pool(db, sample_act(), pool.id, 1)
        assert [take_addresses(db)[0] for _ in range(6)] == [
            *("10.99.0.2", "10.99.0.3", "10.99.0.4", "10.99.0.5", "10.99.0.6"),
            "10.86.0.3",
        ]


def test_when_every_pool_is_used_up_the_error_names_them_and_the_way_out() -> None:
    with fleet_in_memory() as (db, _):
        small(db)
        db.execute("UPDATE pools SET next_host = last_host + 1")
        with pytest.raises(ConflictError, match=r"devices \(10\.86\.0\.0/16\), small .*helm pools add"):
            take_addresses(db)
