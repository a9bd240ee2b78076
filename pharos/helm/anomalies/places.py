"""Where an address is, by a MaxMind file that the operator brings (GeoLite2-City or any other with locations)."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import maxminddb

from pharos.helm.anomalies.facts import USUAL_ACCURACY_KM, Address, Place
from pharos.helm.errors import InvalidRequestError

# A hundred thousand devices sit behind far fewer addresses; an entry is some 300 bytes.
_KEPT: Final = 65_536


class Places:
    """An open file; ``open_places`` makes it."""

    def __init__(self, reader: maxminddb.Reader) -> None:
        self._reader = reader
        self.locate = functools.lru_cache(maxsize=_KEPT)(self._locate)

    def _locate(self, address: Address) -> Place | None:
        try:
            record: Any = self._reader.get(address)
        except (ValueError, maxminddb.InvalidDatabaseError):
            # An IPv6 address in a file of IPv4, or a damaged part of the file: not known.
            return None
        return place_of(record)


@contextmanager
def open_places(path: Path) -> Iterator[Places]:
    """Open a MaxMind file while the block lasts.

    Raises: InvalidRequestError — it is not there, not readable, or no such file.
    """
    try:
        reader = maxminddb.open_database(path.expanduser())
    except (OSError, RuntimeError, ValueError, maxminddb.InvalidDatabaseError) as error:
        raise InvalidRequestError(f"{path} is no MaxMind file that can be read: {error}") from error
    with reader:
        yield Places(reader)


def place_of(record: Any) -> Place | None:
    """Return what a record of the file says; None if it says no location."""
    location = record.get("location") if isinstance(record, dict) else None
    if not isinstance(location, dict):
        return None
    latitude, longitude = location.get("latitude"), location.get("longitude")
    if not isinstance(latitude, int | float) or not isinstance(longitude, int | float):
        return None
    if not (-90 <= latitude <= 90 and -180 <= longitude <= 180):
        return None
    radius = location.get("accuracy_radius")
    return Place(
        float(latitude),
        float(longitude),
        _label(record) or f"{latitude:.1f}, {longitude:.1f}",
        float(radius) if isinstance(radius, int | float) and radius >= 0 else USUAL_ACCURACY_KM,
    )


def _label(record: dict[str, Any]) -> str:
    names = []
    for part in ("city", "country"):
        entry = record.get(part)
        named = entry.get("names") if isinstance(entry, dict) else None
        name = named.get("en") if isinstance(named, dict) else None
        if isinstance(name, str) and name.isprintable():
            names.append(name)
    return ", ".join(names)
