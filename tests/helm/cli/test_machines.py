"""A node's engines and its machine, as people read them."""

from __future__ import annotations

from typing import Any

import pytest

from pharos.helm.cli.machines import said_engine, said_machine
from pharos.helm.cli.states import print_shown
from pharos.wire.units import GIB, MIB

MACHINE = {
    "load": 0.5,
    "load5": 0.4,
    "processors": None,
    "memory_bytes": 1024 * MIB,
    "memory_available_bytes": 300 * MIB,
    "disk_bytes": 20 * GIB,
    "disk_free_bytes": 512 * MIB,
}


def test_engine_is_said_with_its_driver_and_its_trouble() -> None:
    engine = {"protocol": "amneziawg", "driver": "kernel", "trouble": None}
    assert said_engine(engine) == "amneziawg by kernel"
    assert said_engine(engine | {"trouble": "no interface"}) == "amneziawg by kernel (no interface)"


@pytest.mark.parametrize(
    ("unknown", "said"),
    [
        ({}, "load 0.50, 300 MiB of 1024 MiB memory free, 512 MiB of 20 GiB disk free"),
        ({"memory_bytes": None, "memory_available_bytes": None}, "load 0.50, 512 MiB of 20 GiB disk free"),
        (
            {"processors": 2},
            "load 0.50 on 2 processors, 300 MiB of 1024 MiB memory free, 512 MiB of 20 GiB disk free",
        ),
        ({"disk_bytes": None, "disk_free_bytes": None}, "load 0.50, 300 MiB of 1024 MiB memory free"),
    ],
)
def test_machine_is_said_as_far_as_it_is_known(unknown: dict[str, Any], said: str) -> None:
    assert said_machine(MACHINE | unknown) == said


def test_node_is_shown_in_words_and_a_trouble_moves_no_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    engine = {"protocol": "amneziawg", "driver": "kernel", "trouble": "gone\x1b[2J"}
    print_shown({"name": "amsterdam", "engines": [engine], "machine": MACHINE}, as_json=False)
    shown = capsys.readouterr().out
    assert "engines  amneziawg by kernel (gone\N{REPLACEMENT CHARACTER}[2J)" in shown
    assert "machine  load 0.50" in shown
