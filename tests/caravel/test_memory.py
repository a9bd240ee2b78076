"""What works where is remembered, bounded, told to nobody, and nothing depends on it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pharos.caravel.tunnel.memory import FILE_NAME, FORGET_AFTER, MAX_NETWORKS, MAX_WAYS, NetworkMemory
from pharos.wire.profile import AMNEZIAWG

NOW = 1_800_000_000.0
HOME = "wlan0 192.0.2.1 02:00:00:00:00:01"
WAY = ("n1", AMNEZIAWG)


def test_success_is_remembered_for_that_network_alone(tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    NetworkMemory(path).note_worked(HOME, WAY, NOW, 0.1)
    again = NetworkMemory(path)
    assert again.of(HOME)[WAY].works(NOW + 60)
    assert again.of("another") == {}


def test_file_tells_no_network_and_is_its_owners(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        NetworkMemory(tmp_path / name / FILE_NAME).note_worked(HOME, WAY, NOW, 0.1)
    texts = [(tmp_path / name / FILE_NAME).read_text() for name in ("a", "b")]
    assert not any(part in text for text in texts for part in ("192.0.2.1", "wlan0", "02:00:00"))
    one, other = (set(json.loads(text)["networks"]) for text in texts)
    assert not one & other, "two devices in one network have no name in common"
    assert (tmp_path / "a" / FILE_NAME).stat().st_mode & 0o077 == 0


def test_failure_after_a_success_is_remembered_and_a_success_after_it_too() -> None:
    memory = NetworkMemory()
    memory.note_worked(HOME, WAY, NOW, 0.1)
    memory.note_failed(HOME, {WAY}, NOW + 1)
    assert not memory.of(HOME)[WAY].works(NOW + 2)
    memory.note_worked(HOME, WAY, NOW + 3, 0.3)
    assert memory.of(HOME)[WAY].works(NOW + 4)
    assert memory.of(HOME)[WAY].seconds == pytest.approx(0.2)


def test_it_is_bounded_and_old_networks_are_forgotten(tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    memory = NetworkMemory(path)
    for number in range(MAX_NETWORKS + 10):
        memory.note_worked(f"network {number}", WAY, NOW + number, 0.1)
    assert len(json.loads(path.read_text())["networks"]) == MAX_NETWORKS
    assert memory.of("network 0") == {}
    for number in range(MAX_WAYS + 10):
        memory.note_worked(HOME, (f"n{number}", AMNEZIAWG), NOW + 100, 0.1)
    assert len(memory.of(HOME)) == MAX_WAYS
    memory.note_worked("today", WAY, NOW + 200 + FORGET_AFTER, 0.1)
    assert list(json.loads(path.read_text())["networks"]) == [memory._name("today")]


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '{"v": 2}', '{"v": 1, "salt": "zz", "networks": {}}', '{"v": 1, "salt": 5, "networks": 1}'],
)
def test_damaged_file_is_as_good_as_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / FILE_NAME
    path.write_text(text)
    memory = NetworkMemory(path)
    assert memory.of(HOME) == {}
    memory.note_worked(HOME, WAY, NOW, 0.1)
    assert WAY in NetworkMemory(path).of(HOME)


def test_directory_that_cannot_be_written_keeps_nobody_from_connecting(tmp_path: Path) -> None:
    memory = NetworkMemory(tmp_path / "gone" / FILE_NAME)
    memory.note_worked(HOME, WAY, NOW, 0.1)
    assert WAY in memory.of(HOME)
