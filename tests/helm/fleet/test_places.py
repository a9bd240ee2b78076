"""Where machines stand: names and degrees that a map can show."""

from __future__ import annotations

import math

import pytest

from pharos.helm.errors import InvalidRequestError
from pharos.helm.fleet.places import MAX_PLACE, check_place, read_coordinates


@pytest.mark.parametrize(
    "place",
    [
        ("", None, None),
        ("Frankfurt, DE", 50.11, 8.68),
        ("København", None, None),
        ("", -90.0, 180.0),
        ("x" * MAX_PLACE, 90.0, -180.0),
    ],
)
def test_place_on_the_map_or_without_one_is_a_place(place: tuple[str, float | None, float | None]) -> None:
    check_place(*place)


@pytest.mark.parametrize(
    ("place", "says"),
    [
        (("x" * (MAX_PLACE + 1), None, None), "at most 80"),
        (("Paris\n", None, None), "printable"),
        ((" Paris", None, None), "printable"),
        (("Paris", 48.86, None), "or neither"),
        (("Paris", None, 2.35), "or neither"),
        (("Paris", 90.1, 0.0), "latitude"),
        (("Paris", 0.0, -180.1), "longitude"),
        (("Paris", math.nan, 0.0), "latitude"),
        (("Paris", 0.0, math.inf), "longitude"),
    ],
)
def test_what_no_map_can_show_is_refused(place: tuple[str, float | None, float | None], says: str) -> None:
    with pytest.raises(InvalidRequestError, match=says):
        check_place(*place)


def test_coordinates_are_read_north_before_east() -> None:
    assert read_coordinates("50.11,8.68") == (50.11, 8.68)
    assert read_coordinates("-33.87, 151.21") == (-33.87, 151.21)


@pytest.mark.parametrize("text", ["", "50.11", "50.11;8.68", "north,east", "1,2,3", "91,0", "nan,0"])
def test_what_is_no_pair_of_degrees_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequestError):
        read_coordinates(text)
