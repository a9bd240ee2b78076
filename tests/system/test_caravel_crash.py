"""System-wide mode killed at every step of its way in and out: what comes after puts back exactly what was changed."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.system.caravelhost import CLIENT
from tests.system.lab.network import open_lab

pytestmark = pytest.mark.system


async def killed_at_each_step(folder: Path, *more: str) -> list[dict[str, Any]]:
    with trio.fail_after(120):
        async with open_lab(folder) as lab:
            said = await lab.run(CLIENT, sys.executable, "-m", "tests.system.dyinghost", str(folder), *more)
    return [json.loads(line) for line in said.splitlines()]


async def test_what_is_not_noted_is_found_not_to_be_put_back(tmp_path: Path) -> None:
    *_, last = await killed_at_each_step(tmp_path, "forgetful")
    assert "ip rule" in last["wrong"] or "ip route show table all" in last["wrong"]
    assert not last["ended"]


async def test_a_machine_killed_at_any_step_is_put_back_as_it_was(tmp_path: Path) -> None:
    steps = await killed_at_each_step(tmp_path)
    assert not [step for step in steps if step["wrong"]]
    assert [step["ended"] for step in steps] == [False] * (len(steps) - 1) + [True]
    # Once it is up the kill switch holds to the last, wherever it is cut short.
    held = [step["held"] for step in steps]
    up, down = held.index(True), len(held) - held[::-1].index(True)
    assert all(held[up:down])
    assert (up, len(held) - down) < (6, 4), held
