"""The plan of a split tunnel: what is said of it is checked, bounded, and fits system-wide mode."""

from __future__ import annotations

import ipaddress
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pharos.caravel.managed import ManagedSplit, SplitMode
from pharos.caravel.system.plan import EVERYWHERE, SystemPlan
from pharos.caravel.system.split import MAX_CGROUPS, MAX_DOMAINS, SplitPlan, domain_of
from pharos.wire.errors import ConfigError

PLAN = SystemPlan(addresses=("10.7.0.2/16",), resolvers=("10.7.0.1",), outside=("192.0.2.0/24",))


def test_a_table_is_read_whole() -> None:
    plan = SplitPlan.from_table(
        {
            "mode": "exclude",
            "routes": ["198.51.100.0/24", "2001:db8::/32"],
            "domains": ["Example.org.", "*.Bücher.example"],
            "users": ["www-data", 1000, "2000-2999"],
            "cgroups": ["/user.slice/", "system.slice/nginx.service"],
            "own_resolvers": True,
        }
    )
    assert plan.excludes
    assert plan.own_resolvers
    assert plan.domains == ("example.org", "*.xn--bcher-kva.example")
    assert plan.users == ("www-data", "1000", "2000-2999")
    assert plan.cgroups == ("user.slice", "system.slice/nginx.service")


@pytest.mark.parametrize(
    ("table", "why"),
    [
        ({"mode": "both"}, "must be off, exclude or include"),
        ({"mode": "exclude", "apps": ["x"]}, "'apps' is no key"),
        ({"routes": ["192.0.2.0/24"]}, 'write mode = "exclude"'),
        ({"mode": "include"}, "nothing would go in"),
        ({"mode": "exclude", "routes": ["192.0.2.1/24"]}, "has host bits set"),
        ({"mode": "exclude", "routes": "192.0.2.0/24"}, "a list of texts"),
        ({"mode": "exclude", "domains": ["a..b"]}, "is no domain"),
        ({"mode": "exclude", "domains": ["*"]}, "is no domain"),
        ({"mode": "exclude", "domains": ["a.b; flush ruleset"]}, "is no domain"),
        ({"mode": "exclude", "domains": [7]}, "a list of texts"),
        ({"mode": "exclude", "users": ["a b"]}, "is no user"),
        ({"mode": "exclude", "users": ["9-7"]}, "is not a range"),
        ({"mode": "exclude", "users": ["4294967295"]}, "is not a range"),
        ({"mode": "exclude", "users": [True]}, "a list of texts"),
        ({"mode": "exclude", "cgroups": ["../x"]}, "is no control group"),
        ({"mode": "exclude", "cgroups": ['a" accept']}, "is no control group"),
        ({"mode": "exclude", "cgroups": ["/"]}, "is no control group"),
        ({"mode": "exclude", "cgroups": [f"g{n}" for n in range(MAX_CGROUPS + 1)]}, "no more than"),
        ({"mode": "exclude", "domains": [f"d{n}.org" for n in range(MAX_DOMAINS + 1)]}, "no more than"),
        ({"mode": "exclude", "own_resolvers": "yes"}, "true or false"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_sentence(table: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigError, match=r"^split: .*") as caught:
        SplitPlan.from_table(table)
    assert why in str(caught.value)


def test_what_an_organisation_says_is_checked_likewise() -> None:
    said = ManagedSplit(mode=SplitMode.EXCLUDE, domains=("example.org",), users=("backup",))
    assert SplitPlan.from_managed(said).users == ("backup",)
    with pytest.raises(ConfigError):
        SplitPlan.from_managed(ManagedSplit(mode=SplitMode.EXCLUDE, users=("-",)))


def test_excluded_networks_are_outside_beside_those_that_are_already() -> None:
    fitted = SplitPlan(mode=SplitMode.EXCLUDE, routes=("198.51.100.0/24",), users=("0",)).fit(PLAN)
    assert set(fitted.outside) == {ipaddress.ip_network("192.0.2.0/24"), ipaddress.ip_network("198.51.100.0/24")}
    assert fitted.whole
    assert fitted.guard_dns


def test_included_networks_alone_need_no_marks_and_leave_names_alone() -> None:
    fitted = SplitPlan(mode=SplitMode.INCLUDE, routes=("198.51.100.0/24",)).fit(PLAN)
    assert fitted.everything
    assert fitted.routes == (ipaddress.ip_network("198.51.100.0/24"),)
    assert not fitted.guard_dns


@pytest.mark.parametrize(("more", "guarded"), [({"domains": ("a.org",)}, False), ({"users": ("0",)}, True)])
def test_who_goes_in_alone_is_marked_and_his_names_are_asked_inside(more: dict[str, Any], guarded: bool) -> None:
    plan = SplitPlan(mode=SplitMode.INCLUDE, **more)
    fitted = plan.fit(PLAN)
    assert not fitted.everything
    assert fitted.routes == tuple(map(ipaddress.ip_network, EVERYWHERE))
    assert fitted.guard_dns is guarded
    assert plan.asks_outside is not guarded


def test_no_split_changes_nothing() -> None:
    assert SplitPlan().fit(PLAN) == PLAN
    assert not SplitPlan().by_mark


@given(st.text(max_size=300))
def test_any_text_is_a_domain_or_refused(text: str) -> None:
    try:
        found = domain_of(text)
    except ConfigError:
        return
    assert domain_of(found) == found
    assert set(found) <= set("abcdefghijklmnopqrstuvwxyz0123456789-_.*")


@given(
    st.dictionaries(
        st.sampled_from(["mode", "routes", "domains", "users", "cgroups", "own_resolvers", "x"]),
        st.one_of(st.text(), st.integers(), st.booleans(), st.none(), st.lists(st.one_of(st.text(), st.integers()))),
    )
)
def test_any_table_is_a_plan_or_refused(table: dict[str, Any]) -> None:
    with suppress(ConfigError):
        SplitPlan.from_table(table)
