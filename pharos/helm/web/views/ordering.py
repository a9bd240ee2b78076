"""Which lines of a long list are shown, in which order, and how many there would be of each other kind; pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any, Generic, TypeVar

import attrs

from pharos.helm.errors import InvalidRequestError
from pharos.helm.store.pages import Query

L = TypeVar("L")
Predicate = Callable[[L], bool]


@attrs.frozen(kw_only=True)
class Ordering(Generic[L]):
    """By what one kind of list is sorted and filtered."""

    kind: str
    sorts: Mapping[str, Callable[[L], Any]]
    """What is compared, by the sort's name; None stands last in either direction."""
    facets: Mapping[str, Callable[[L], str]]
    """What lines are told apart by, each a filter that takes one value or several, with commas between."""
    words: Mapping[str, frozenset[str]]
    """The values that each facet has."""
    filters: frozenset[str]
    """The other filters."""
    first: str
    """The sort where none is asked for; with a hyphen, descending."""


@attrs.frozen(kw_only=True)
class Wish:
    """What a list is asked for, and all of it is known."""

    sort: str
    descending: bool
    facets: Mapping[str, frozenset[str]]
    filters: Mapping[str, str]


@attrs.frozen(kw_only=True)
class Chosen(Generic[L]):
    """The lines that are shown, in order."""

    lines: list[L]
    total: int
    """How many there are; more than the lines where a list is cut."""
    facets: dict[str, dict[str, int]]
    """How many lines there are of each value, of those that every other filter lets through."""


def read_wish(ordering: Ordering[Any], query: Query, *, sort_given: bool) -> Wish:
    """Return what a query asks of a list.

    Raises: InvalidRequestError — it is not sorted or filtered so.
    """
    sort, descending = query.sort, query.descending
    if not sort_given:
        sort, descending = ordering.first.removeprefix("-"), ordering.first.startswith("-")
    if sort not in ordering.sorts:
        raise InvalidRequestError(f"{ordering.kind} can be sorted by {', '.join(sorted(ordering.sorts))}, not {sort!r}")
    if unknown := query.filters.keys() - ordering.facets.keys() - ordering.filters:
        known = ", ".join(sorted(ordering.facets.keys() | ordering.filters))
        raise InvalidRequestError(f"{ordering.kind} can be filtered by {known}, not {', '.join(sorted(unknown))}")
    facets = {name: frozenset(query.filters[name].split(",")) for name in ordering.facets if name in query.filters}
    for name, values in facets.items():
        if strange := values - ordering.words[name]:
            words = ", ".join(sorted(ordering.words[name]))
            raise InvalidRequestError(f"{name} is {words}, not {', '.join(sorted(strange))}")
    filters = {name: value for name, value in query.filters.items() if name in ordering.filters and value}
    return Wish(sort=sort, descending=descending, facets=facets, filters=filters)


def choose(ordering: Ordering[L], lines: Iterable[L], predicates: Sequence[Predicate[L]], wish: Wish) -> Chosen[L]:
    """Return the lines that a wish is for; those that its sort takes for equal stay in the order in which they came."""
    left = list(lines)
    for predicate in predicates:
        left = list(filter(predicate, left))
    facets = {
        name: dict(sorted(Counter(map(value_of, _within(ordering, left, wish, but=name))).items()))
        for name, value_of in ordering.facets.items()
    }
    left = _within(ordering, left, wish)
    return Chosen(lines=sort_lines(ordering, left, wish), total=len(left), facets=facets)


def sort_lines(ordering: Ordering[L], lines: list[L], wish: Wish) -> list[L]:
    """Return lines in order; those of which the sort knows nothing stand last."""
    key = ordering.sorts[wish.sort]
    pairs = [(key(line), line) for line in lines]
    known = [pair for pair in pairs if pair[0] is not None]
    # Sorting is stable, in reverse too.
    known.sort(key=itemgetter(0), reverse=wish.descending)
    return [line for _, line in known] + [line for value, line in pairs if value is None]


def _within(ordering: Ordering[L], lines: list[L], wish: Wish, *, but: str = "") -> list[L]:
    """Return the lines that a wish's facets let through, all of them or all but one."""
    for name, values in wish.facets.items():
        if name != but:
            facet = ordering.facets[name]
            lines = [line for line in lines if facet(line) in values]
    return lines


def contains(part: str) -> Callable[[str | None], bool]:
    """Return what tells whether a text has this part, whatever its case."""
    folded = part.casefold()
    return lambda text: text is not None and folded in text.casefold()


def is_named(wanted: str) -> Callable[[str | None, str | None], bool]:
    """Return what tells whether something, by its id and its name, is the one that is wanted by either."""
    folded = wanted.casefold()
    return lambda id_, name: id_ == wanted or (name is not None and name.casefold() == folded)
