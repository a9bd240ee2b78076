"""Nothing has become twice as slow, or as large: ratios against `bench/baselines.json`. (3 s; as a journey 2 min)"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench._all_results import ROOT
from bench.gate import PARTS, Baseline, Fallen, judge, read_baselines, twice, write_baselines

LESS, MORE = Baseline(2.0, at_least=False), Baseline(2.0, at_least=True)


@pytest.mark.parametrize(
    ("baseline", "value", "falls"),
    [
        (LESS, 4.0, False),
        (LESS, 4.01, True),
        (LESS, 0.1, False),
        (MORE, 1.0, False),
        (MORE, 0.99, True),
        (MORE, 9, False),
    ],
)
def test_ratio_falls_beyond_a_factor_of_two(baseline: Baseline, value: float, falls: bool) -> None:
    assert baseline.falls(value) is falls
    assert bool(judge({"a.b": value}, {"a.b": baseline})) is falls


def test_ratio_that_is_not_measured_has_fallen() -> None:
    assert judge({}, {"a.b": LESS}) == [Fallen("a.b", None, LESS)]


def test_only_what_falls_twice_has_fallen() -> None:
    rounds = iter([{"a.x": 9.0, "a.y": 1.0}, {"a.x": 3.0, "a.y": 9.0}])
    figures, fallen = twice(lambda: next(rounds), {"a.x": LESS, "a.y": LESS})
    assert figures == {"a.x": 3.0, "a.y": 1.0}
    assert not fallen
    figures, fallen = twice(lambda: {"a.x": 9.0}, {"a.x": LESS})
    assert [each.name for each in fallen] == ["a.x"]


def test_nothing_is_measured_twice_without_need() -> None:
    rounds = iter([{"a.x": 3.0}])
    assert twice(lambda: next(rounds), {"a.x": LESS}) == ({"a.x": 3.0}, [])


def test_baselines_are_written_as_they_are_read(tmp_path: Path) -> None:
    path = tmp_path / "baselines.json"
    write_baselines(path, {"a.x": LESS, "a.y": MORE}, {"a.x": 3.0})
    assert read_baselines(path) == {"a.x": Baseline(3.0, at_least=False), "a.y": MORE}
    write_baselines(path, read_baselines(), {})
    assert path.read_text() == (ROOT / "bench" / "baselines.json").read_text()


def test_every_part_has_baselines_and_every_baseline_a_part() -> None:
    assert {name.partition(".")[0] for name in read_baselines()} == PARTS.keys()


def gate(*words: str) -> subprocess.CompletedProcess[str]:
    """Run the gate as CI and people do."""
    command = [sys.executable, "-m", "bench.gate", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.journey
@pytest.mark.parametrize("part", PARTS)
def test_ratios_are_within_twice_their_baselines(part: str) -> None:
    done = gate(part)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["figures"]


@pytest.mark.journey
def test_gate_is_red_where_the_product_was_three_times_better(tmp_path: Path) -> None:
    """The same measurement, held against what would be a build without a slowdown."""
    name = "import.import_ratio"
    path = tmp_path / "baselines.json"
    write_baselines(path, read_baselines(), {name: read_baselines()[name].value / 3})
    done = gate("import", "--baselines", str(path))
    assert done.returncode == 1
    assert f"fallen: {name} is " in done.stdout
