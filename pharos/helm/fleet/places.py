"""Where a machine stands, as an operator says it."""

from __future__ import annotations

import math
from typing import Final

from pharos.helm.errors import InvalidRequestError

PLACE: Final = ("place", "latitude", "longitude")
MAX_PLACE: Final = 80
MAX_LATITUDE: Final = 90.0
MAX_LONGITUDE: Final = 180.0


def check_place(place: str, latitude: float | None, longitude: float | None) -> None:
    """Check a place's name, and where it is on a map: degrees north and degrees east, both or neither.

    Raises: InvalidRequestError.
    """
    if len(place) > MAX_PLACE or place != place.strip() or not place.isprintable():
        raise InvalidRequestError(f"a place has at most {MAX_PLACE} printable characters")
    if (latitude is None) != (longitude is None):
        raise InvalidRequestError("say latitude and longitude, or neither of them")
    for what, value, most in (("latitude", latitude, MAX_LATITUDE), ("longitude", longitude, MAX_LONGITUDE)):
        if value is not None and not (math.isfinite(value) and -most <= value <= most):
            raise InvalidRequestError(f"a {what} is a number of degrees from -{most:g} to {most:g}, not {value:g}")


def read_coordinates(text: str) -> tuple[float, float]:
    """Read ``50.11,8.68``: degrees north, then degrees east.

    Raises: InvalidRequestError — it is something else.
    """
    try:
        latitude, longitude = map(float, text.split(","))
    except ValueError:
        raise InvalidRequestError(f"{text!r} is not a latitude and a longitude such as 50.11,8.68") from None
    check_place("", latitude, longitude)
    return latitude, longitude
