"""Where addresses are, out of a real MaxMind file."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Any

import netaddr
import pytest
from mmdb_writer import MMDBWriter

from pharos.helm.anomalies.facts import USUAL_ACCURACY_KM, Place
from pharos.helm.anomalies.places import open_places, place_of
from pharos.helm.errors import InvalidRequestError

BERLIN = {
    "city": {"names": {"en": "Berlin"}},
    "country": {"names": {"en": "Germany"}},
    "location": {"latitude": 52.52, "longitude": 13.4, "accuracy_radius": 20},
}


def write_file(path: Path, places: dict[str, Any]) -> Path:
    writer = MMDBWriter(ip_version=4, database_type="Test-City")
    for network, record in places.items():
        writer.insert_network(netaddr.IPSet([network]), record)
    writer.to_db_file(str(path))
    return path


def test_address_is_found_with_its_label_and_radius_and_a_stranger_is_not(tmp_path: Path) -> None:
    path = write_file(tmp_path / "places.mmdb", {"203.0.113.0/24": BERLIN})
    with open_places(path) as places:
        assert places.locate(ipaddress.ip_address("203.0.113.9")) == Place(52.52, 13.4, "Berlin, Germany", 20)
        assert places.locate(ipaddress.ip_address("198.51.100.1")) is None
        # In a file of IPv4 addresses there are no others.
        assert places.locate(ipaddress.ip_address("2001:db8::1")) is None


@pytest.mark.parametrize(
    "record",
    [None, 5, "x", {}, {"location": 1}, {"location": {"latitude": "a", "longitude": 1}},
     {"location": {"latitude": 91, "longitude": 0}}, {"location": {"latitude": 0}}],
)  # fmt: skip
def test_record_without_a_location_is_no_place(record: Any) -> None:
    assert place_of(record) is None


def test_place_without_a_name_is_called_by_its_degrees() -> None:
    place = place_of({"location": {"latitude": 1.25, "longitude": -2}, "city": {"names": {"en": "a\nb"}}})
    assert place == Place(1.25, -2.0, "1.2, -2.0", USUAL_ACCURACY_KM)


def test_file_that_is_none_is_said_so(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.mmdb"
    wrong.write_bytes(b"no such thing")
    for path in (wrong, tmp_path / "absent.mmdb"):
        with pytest.raises(InvalidRequestError, match="no MaxMind file"), open_places(path):
            pass
