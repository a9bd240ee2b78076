"""What a peer used of its lease is counted once, whatever becomes of engine and process."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest

from pharos.buoy.dataplane.base import PeerCounters
from pharos.buoy.quota import QuotaMeter
from pharos.wire.desired import Peer, QuotaLease
from pharos.wire.errors import StateFileError
from pharos.wire.files import StateFile
from pharos.wire.ids import DeviceId
from tests.support.strategies import peer_of

ONE = DeviceId("device-1")


def limited(lease: int = 1, octets: int = 1_000) -> dict[DeviceId, Peer]:
    return {ONE: attrs.evolve(peer_of(1), quota=QuotaLease(id=lease, octets=octets))}


def counted(received: int, sent: int = 0) -> list[PeerCounters]:
    return [PeerCounters(device_id=ONE, last_handshake=1, received=received, sent=sent)]


def test_both_directions_count_from_when_the_lease_was_first_seen(tmp_path: Path) -> None:
    meter, peers = QuotaMeter(tmp_path), limited()
    meter.read({ONE: peer_of(1)}, counted(500))
    meter.read(peers, counted(600))
    assert meter.used(ONE) == 0
    meter.read(peers, counted(900, 300))
    assert meter.used(ONE) == 600
    assert not meter.is_over(peers[ONE])
    meter.read(peers, counted(1_300, 300))
    assert meter.is_over(peers[ONE])


def test_another_lease_counts_from_nothing_and_a_larger_one_of_the_same_id_goes_on(tmp_path: Path) -> None:
    meter = QuotaMeter(tmp_path)
    meter.read(limited(), counted(0))
    meter.read(limited(), counted(1_000))
    assert meter.is_over(limited()[ONE])
    assert not meter.is_over(limited(octets=2_000)[ONE])
    meter.read(limited(lease=2), counted(1_000))
    assert meter.used(ONE) == 0


def test_engine_that_counts_anew_loses_nothing(tmp_path: Path) -> None:
    meter, peers = QuotaMeter(tmp_path), limited()
    meter.read(peers, counted(0))
    meter.read(peers, counted(700))
    # Cut and taken back, and another time with another key.
    meter.read(peers, [])
    meter.read(peers, counted(100))
    assert meter.used(ONE) == 800
    meter.read(peers, counted(50))
    assert meter.used(ONE) == 850


def test_usage_survives_a_restart(tmp_path: Path) -> None:
    meter = QuotaMeter(tmp_path)
    meter.read(limited(), counted(0))
    meter.read(limited(), counted(700))
    meter.save()
    again = QuotaMeter(tmp_path)
    again.read(limited(), counted(100))
    assert again.used(ONE) == 800


def test_peer_that_is_gone_is_in_no_file_any_more(tmp_path: Path) -> None:
    meter = QuotaMeter(tmp_path)
    meter.read(limited(), counted(5))
    meter.save()
    meter.read({}, [])
    assert meter.changed
    meter.save()
    assert ONE not in (tmp_path / "usage.json").read_text()


@pytest.mark.parametrize(
    "body", [{}, {"used": None}, {"used": {"device-1": 3}}, {"used": {"device-1": [1, -1]}}, {"used": {"a": ["1", 2]}}]
)
def test_damaged_file_is_refused(tmp_path: Path, body: dict[str, object]) -> None:
    StateFile(tmp_path / "usage.json", "pharos/buoy-usage/v1", "").save(body)
    with pytest.raises(StateFileError, match="count anew"):
        QuotaMeter(tmp_path)
