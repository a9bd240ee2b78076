"""Lines are filtered, counted and sorted as asked; what a sort knows nothing of stands last."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from pharos.helm.errors import InvalidRequestError
from pharos.helm.store.pages import Query
from pharos.helm.web.views.ordering import Chosen, Ordering, choose, contains, is_named, read_wish


class Ship(NamedTuple):
    name: str
    flag: str
    berth: int | None


SHIPS: Ordering[Ship] = Ordering(
    kind="ships",
    sorts={"name": lambda ship: ship.name.casefold(), "berth": lambda ship: ship.berth},
    facets={"flag": lambda ship: ship.flag, "moored": lambda ship: "no" if ship.berth is None else "yes"},
    words={"flag": frozenset({"de", "nl"}), "moored": frozenset({"yes", "no"})},
    filters=frozenset({"q"}),
    first="-berth",
)
FLEET = [Ship("Ada", "de", 2), Ship("bob", "nl", None), Ship("Cid", "de", 1), Ship("Dora", "nl", 2)]


def chosen(sort: str | None = None, **filters: str) -> Chosen[Ship]:
    query = Query(
        sort=(sort or "created_at").removeprefix("-"), descending=bool(sort and sort[0] == "-"), filters=filters
    )
    wish = read_wish(SHIPS, query, sort_given=sort is not None)
    has = contains(wish.filters.get("q", ""))
    return choose(SHIPS, FLEET, [lambda ship: has(ship.name)], wish)


def names(found: Chosen[Ship]) -> list[str]:
    return [ship.name for ship in found.lines]


def test_equals_stay_as_they_came_and_the_unknown_is_last_in_either_direction() -> None:
    assert names(chosen("berth")) == ["Cid", "Ada", "Dora", "bob"]
    assert names(chosen("-berth")) == ["Ada", "Dora", "Cid", "bob"]
    assert names(chosen()) == names(chosen("-berth"))


def test_case_counts_for_nothing() -> None:
    assert names(chosen("name")) == ["Ada", "bob", "Cid", "Dora"]
    assert names(chosen("-name", q="D")) == ["Dora", "Cid", "Ada"]


def test_facet_counts_what_every_other_filter_lets_through() -> None:
    found = chosen("name", flag="de", q="d")
    assert (names(found), found.total) == (["Ada", "Cid"], 2)
    assert found.facets == {"flag": {"de": 2, "nl": 1}, "moored": {"yes": 2}}
    assert chosen("name", moored="yes,no", flag="nl").facets == {
        "flag": {"de": 2, "nl": 2},
        "moored": {"no": 1, "yes": 1},
    }


@pytest.mark.parametrize(
    ("sort", "filters", "says"),
    [
        ("length", {}, "ships can be sorted by berth, name, not 'length'"),
        (None, {"crew": "x"}, "ships can be filtered by flag, moored, q, not crew"),
        (None, {"flag": "de,fr"}, "flag is de, nl, not fr"),
        (None, {"flag": ""}, "flag is de, nl, not "),
    ],
)
def test_what_a_list_does_not_know_is_refused(sort: str | None, filters: dict[str, str], says: str) -> None:
    with pytest.raises(InvalidRequestError, match=says):
        chosen(sort, **filters)


def test_name_or_id_is_meant_whole_and_a_part_in_any_case() -> None:
    is_lighthouse = is_named("Roter Sand")
    assert is_lighthouse("x", "roter sand")
    assert is_lighthouse("Roter Sand", None)
    assert not is_lighthouse("x", "Roter Sand 2")
    assert contains("ÜBER")("Drüber")
    assert not contains("ü")(None)
