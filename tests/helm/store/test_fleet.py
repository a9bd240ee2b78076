"""The fleet's own row: what only grows, grows by one and never twice."""

from __future__ import annotations

import sqlite3

import pytest

from pharos.helm.errors import NotInitialisedError
from pharos.helm.store.database import transact
from pharos.helm.store.fleet import get_fleet, get_secret, next_revision, next_term, put_secret, take_host
from tests.support.helm import core_in_memory, fleet_in_memory


def test_store_without_a_fleet_says_so_with_the_way_out() -> None:
    with core_in_memory() as db, pytest.raises(NotInitialisedError, match="helm init"):
        get_fleet(db)


def test_term_and_revision_grow_by_one() -> None:
    with fleet_in_memory() as (db, _):
        before = get_fleet(db)
        assert [next_term(db), next_term(db)] == [before.term + 1, before.term + 2]
        assert [next_revision(db), next_revision(db)] == [before.revision + 1, before.revision + 2]
        after = get_fleet(db)
        assert (after.term, after.revision, after.epoch) == (before.term + 2, before.revision + 2, before.epoch)


def test_hosts_begin_after_the_nodes_own_and_are_never_given_twice() -> None:
    def take_and_fail(db: sqlite3.Connection) -> None:
        take_host(db)
        raise ZeroDivisionError

    with fleet_in_memory() as (db, _):
        assert [take_host(db), take_host(db)] == [2, 3]
        with pytest.raises(ZeroDivisionError):
            transact(db, take_and_fail)
        # Nobody got host 4 out of the transaction that failed.
        assert take_host(db) == 4


def test_secret_is_found_by_name() -> None:
    with core_in_memory() as db:
        put_secret(db, "sample", 3, b"wrapped")
        assert get_secret(db, "sample") == (3, b"wrapped")
        with pytest.raises(NotInitialisedError, match="'other'"):
            get_secret(db, "other")
