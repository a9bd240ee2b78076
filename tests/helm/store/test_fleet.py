"""The fleet's own row: what only grows, grows by one and never twice."""

from __future__ import annotations

import pytest

from pharos.helm.errors import NotInitialisedError
from pharos.helm.store.fleet import get_fleet, get_secret, next_revision, next_term, put_secret
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


def test_change_of_one_device_alters_nobody_elses_profile() -> None:
    with fleet_in_memory() as (db, _):
        next_revision(db)
        before = db.execute("SELECT revision, profiles_revision FROM fleet").fetchone()
        assert before["revision"] == before["profiles_revision"]
        next_revision(db, profiles=False)
        after = db.execute("SELECT revision, profiles_revision FROM fleet").fetchone()
        assert tuple(after) == (before["revision"] + 1, before["profiles_revision"])


def test_secret_is_found_by_name() -> None:
    with core_in_memory() as db:
        put_secret(db, "sample", 3, b"wrapped")
        assert get_secret(db, "sample") == (3, b"wrapped")
        with pytest.raises(NotInitialisedError, match="'other'"):
            get_secret(db, "other")
